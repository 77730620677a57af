"""A call that did not happen: judged where nobody decided to do without it, and only there."""

import asyncio
from contextlib import suppress

import pytest

from chaosharness import External, KeyValue, Queue, RabbitMQ, System, explore, idempotent


class Mail:
    def __init__(self):
        self.sent = {}

    def send(self, to):
        self.sent[to] = True


def mailing(handler, *, main=None, **options):
    """A service that sends a mail for each letter, in the manner of `handler(client, box)`."""
    system = System("mailing")
    bus = system.add(
        RabbitMQ(
            "bus", queues={"letters": Queue("quorum", dead_letter="parked"), "parked": Queue()}
        )
    )
    mail = system.add(External("mail", Mail))

    @system.service("mailer")
    def mailer(env):
        box = []
        if main is not None:
            env.main(lambda: main(env, env.client(mail), box))
        env.consume(bus, "letters", handler(env.client(mail), box), **options)

    @system.entry(examples=["ada"])
    def write(env, to):
        env.publisher(bus)("letters", to)

    return system


def is_broken(system):
    return explore(system, properties=[idempotent()], faults_max=1).result == "violated"


def waits(client, box):
    async def on_letter(to):
        await client.send(to)

    return on_letter


def does_not_wait(client, box):
    async def on_letter(to):
        box.append(asyncio.create_task(client.send(to)))

    return on_letter


def gives_up(client, box):
    def on_letter(to):
        with suppress(TimeoutError, ConnectionError):
            client.send(to)

    return on_letter


def gives_up_in_a_task(client, box):
    async def send(to):
        with suppress(TimeoutError, ConnectionError):
            await client.send(to)

    async def on_letter(to):
        box.append(asyncio.create_task(send(to)))

    return on_letter


def puts_aside(client, box):
    def on_letter(to):
        client.send(to)

    return on_letter


def test_the_message_comes_again():
    assert not is_broken(mailing(waits))


@pytest.mark.parametrize("manner", [gives_up, gives_up_in_a_task])
def test_who_gives_up_and_tells_nobody_has_forgotten_it(manner):
    system = mailing(manner)
    [found] = explore(system, properties=[idempotent()], faults_max=1).counterexamples
    assert found.findings[0].kind in ("forgotten", "effect lost")
    optional = idempotent(optional=["mail.send"])
    assert explore(system, properties=[optional], faults_max=1).result == "holds"


def test_a_message_put_aside_is_a_decision():
    assert not is_broken(mailing(puts_aside, on_error="reject"))


def test_an_error_in_a_task_that_nobody_waits_for_is_nobodys_decision():
    assert is_broken(mailing(does_not_wait))


def test_so_is_one_that_ends_a_main_loop():
    def keeps(client, box):
        return box.append

    def pump(env, client, box):
        while True:
            while box:
                client.send(box.pop())
            env.sleep(1)

    assert is_broken(mailing(keeps, main=pump))


@pytest.mark.parametrize("confirms", [True, False])
def test_what_is_published_without_a_confirm_is_missed(confirms):
    system = System("shop")
    bus = system.add(RabbitMQ("bus", queues=["orders", "paid"], confirms=confirms))
    store = system.add(KeyValue("store"))

    @system.service("payments")
    def payments(env):
        publish = env.publisher(bus)
        env.consume(bus, "orders", lambda order: publish("paid", order))

    @system.service("books")
    def books(env):
        kept = env.connect(store)
        env.consume(bus, "paid", lambda order: kept.put(str(order), "paid"))

    @system.entry(examples=["o1"])
    def place(env, order):
        env.publisher(bus)("orders", order)

    assert is_broken(system) is not confirms
