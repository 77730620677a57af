"""A third party of the user's own: what is an effect, and what a ledger says of it."""

from decimal import Decimal

import pytest

from chaosharness import External, Gateway, Kafka, System, check, explore, never_twice
from chaosharness.reporting import to_text


class Sms:
    """A provider that takes a reference of the caller's, and knows a repeat by it."""

    def __init__(self, *, says_so: bool) -> None:
        self.says_so = says_so
        self.requests = 0  # so that even a repeat leaves it another than it was
        self.sent: dict[str, str] = {}

    def send(self, to, text, reference):
        self.requests += 1
        if reference in self.sent and self.says_so:
            return External.unchanged(self.sent[reference])
        return self.sent.setdefault(reference, f"sms-{len(self.sent) + 1}")


class Crm:
    """Keeps what it is told: to be told the same again changes nothing."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}

    def put(self, id, name):
        if self.names.get(id) == name:
            return External.unchanged()
        self.names[id] = name

    def delete(self, id):
        self.names.pop(id, None)

    def pay(self, id, method):
        self.names[id] = method


def wired(server, use):
    """A service that hands each message to `use(client, message)`."""
    system = System("wired")
    bus = system.add(Kafka("bus", topics={"tasks": 1}, idempotent_producer=False))
    party = system.add(External("party", server))

    @system.service("worker", replicas=2)
    def worker(env):
        client = env.client(party)

        def on_task(task: dict):
            env.note("answered", value=use(client, task))

        env.consume(bus, "tasks", on_task, on_error="dead-letter", retries_max=20)

    @system.entry(examples=[{"id": "c1"}])
    def submit(env, task):
        env.publisher(bus)("tasks", task, key=task["id"])

    return system


def send(client, task):
    return client.send("+41 1", "it is on its way", reference=task["id"])


def test_a_repeat_that_the_third_party_recognises_is_no_effect():
    system = wired(lambda: Sms(says_so=True), send)
    assert explore(system, faults_max=2, runs_max=5_000).result == "holds"


def test_a_repeat_that_it_says_nothing_of_is_one_and_the_report_says_how_to():
    system = wired(lambda: Sms(says_so=False), send)
    found = explore(system, faults_max=1).counterexamples
    assert [one.property for one in found] == ["idempotent"]
    assert found[0].findings[0].group == ("effect twice", "party.send")
    assert "External.unchanged" in " ".join(to_text(found[0]).split())


def test_the_caller_gets_the_value_and_knows_nothing_of_it():
    def twice(client, task):
        return [send(client, task), send(client, task)]

    history = wired(lambda: Sms(says_so=True), twice).run().history
    [note] = history.of("note")
    assert note.data["value"] == ["sms-1", "sms-1"]
    assert len([*history.of("effect")]) == 1


def test_what_is_so_already_is_no_effect():
    check(wired(Crm, lambda client, task: client.put(task["id"], "Ann")), faults_max=1)


@pytest.mark.parametrize("ids", [("1", "2"), (1, 2)])
def test_an_argument_named_id_tells_two_effects_apart(ids):
    def use(client, task):
        for one in ids:
            client.delete(one)

    run = wired(Crm, use).run()
    run.check(never_twice("party", "delete"))
    assert [event.data["id"] for event in run.history.of("effect")] == [*ids]


def test_an_argument_named_id_is_shown():
    found = explore(wired(Crm, lambda client, task: client.delete(7)), faults_max=1)
    text = to_text(found.counterexamples[0])
    assert "party did delete(id=7) twice" in text
    assert "ledger: delete id=7" in text


def test_an_argument_named_method_does_not_hide_what_was_asked_for():
    run = wired(Crm, lambda client, task: client.pay(task["id"], method="card")).run()
    [effect] = run.history.of("effect")
    assert effect.data == {"method": "pay", "id": "c1", "method_": "card"}
    [call] = run.history.of("call")
    assert call.data["method"] == "pay"


@pytest.mark.parametrize("cents", [None, "500", float("nan"), float("inf"), [500]])
@pytest.mark.parametrize("method", ["charge", "refund"])
def test_an_amount_that_is_no_number_is_told_to_the_caller(method, cents):
    heard = asked_of_a_gateway(method, cents)
    assert heard == [f"{method}: cents must be a number, not {cents!r}"]


@pytest.mark.parametrize("cents", [500, 0, 4.5, Decimal("5.00")])
def test_an_amount_that_is_a_number_is_taken(cents):
    assert asked_of_a_gateway("charge", cents) == []


def asked_of_a_gateway(method, cents):
    """Return what a handler hears that asks a gateway for so many cents."""
    system = System("bad amounts")
    bus = system.add(Kafka("bus", topics={"tasks": 1}))
    bank = system.add(Gateway("bank"))
    heard = []

    @system.service("worker")
    def worker(env):
        client = env.client(bank)

        def on_task(task):
            try:
                getattr(client, method)("o1", cents)
            except TypeError as error:
                heard.append(str(error))

        env.consume(bus, "tasks", on_task)

    @system.entry(examples=[1])
    def submit(env, task):
        env.publisher(bus)("tasks", task)

    system.run()
    return heard
