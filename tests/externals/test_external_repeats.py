"""Third parties of the user's own: which calls are effects, and what the ledger says of them."""

import pytest

from chaosharness import External, RabbitMQ, System, assumed, explore, never_twice


class Keyed:
    """Sends each reference once, and says nothing if it is asked again."""

    def __init__(self):
        self.sent = {}

    def send(self, to, id):
        self.sent[id] = to


class Careless(Keyed):
    """Sends again."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def send(self, to, id):
        super().send(to, id)
        self.count += 1


class Stub:
    """Keeps no state, so that nobody can say what it would do."""

    def send(self, to, id): ...


def mailing(server, *, letters=(("ada", 1),)):
    system = System("mailing")
    bus = system.add(RabbitMQ("bus", queues=["letters"]))
    mail = system.add(External("mail", server))

    @system.service("mailer")
    def mailer(env):
        client = env.client(mail)

        def on_letter(letter):
            for to, number in letter:
                client.send(to, number)

        env.consume(bus, "letters", on_letter)

    @system.entry(examples=[[*letters]])
    def write(env, letter):
        env.publisher(bus)("letters", letter)

    return system


def once(system):
    [one] = assumed(system)[:1]
    return explore(system, properties=[one], faults_max=1).result


@pytest.mark.parametrize(
    ("server", "result"), [(Keyed, "holds"), (Careless, "violated"), (Stub, "violated")]
)
def test_what_changes_nothing_the_second_time_is_no_effect(server, result):
    assert once(mailing(server)) == result


def test_a_server_that_outlives_its_run_is_not_called_to_find_out():
    one = Keyed()
    assert once(mailing(lambda: one)) == "violated"


def test_an_argument_named_id_is_the_users():
    run = mailing(Keyed, letters=(("ada", 1), ("ada", 2))).run()
    assert [event.data["id"] for event in run.history.of("effect")] == [1, 2]
    run.check(never_twice("mail"))


def test_an_argument_named_method_does_not_hide_the_method():
    class Till:
        def pay(self, order, method): ...

    system = System("shop")
    till = system.add(External("till", Till))

    @system.entry(examples=["o1"])
    def pay(env, order):
        env.client(till).pay(order, method="card")

    [effect] = system.run().history.of("effect")
    assert effect.data == {"method": "pay", "order": "o1", "method_": "card"}


def test_a_third_party_is_called_as_often_as_it_is_asked_and_no_more():
    calls = []

    class Post:
        def __init__(self):
            self.sent = {}

        def send(self, to, id):
            calls.append(id)
            self.sent[id] = to

    run = mailing(Post, letters=(("ada", 1), ("ada", 1), ("ada", 2))).run()
    assert calls == [1, 1, 2]
    assert [event.data["id"] for event in run.history.of("effect")] == [1, 2]
