"""Publishing without waiting: confirms that come in ranges, late, refused or never."""

import pytest

from chaosharness import (
    Delivery,
    Gateway,
    Queue,
    RabbitMQ,
    Schedule,
    Site,
    System,
    never_charged_twice,
    smallest,
)
from chaosharness.brokers import ChannelClosed
from chaosharness.errors import IllegalFault, InvalidDefinition
from chaosharness.faults import Delay, Duplicate, ErrorReply, LostReply, LostRequest
from chaosharness.machines.rabbitmq.confirms import Confirm, Confirms

# ---- the frames


def test_what_is_due_together_is_one_frame_up_to_the_first_that_is_open():
    confirms = Confirms()
    tags = [confirms.published() for _ in range(6)]
    assert tags == [1, 2, 3, 4, 5, 6]
    for tag in (1, 2, 4, 6):
        confirms.settle(tag, acked=True)
    assert confirms.frames() == [
        Confirm(2, True, True),
        Confirm(4, False, True),
        Confirm(6, False, True),
    ]
    confirms.settle(5, acked=False)
    confirms.settle(3, acked=True)
    confirms.settle(3, acked=True)
    assert confirms.frames() == [Confirm(3, True, True), Confirm(5, False, False)]
    assert confirms.frames() == []


def test_a_refusal_ends_the_range():
    confirms = Confirms()
    for acked in (True, False, True):
        confirms.settle(confirms.published(), acked=acked)
    assert confirms.frames() == [
        Confirm(1, True, True),
        Confirm(3, False, True),
        Confirm(2, False, False),
    ]


# ---- in runs

NAMES = ("o1", "o2", "o3")


def relay(*, asynchronous=False, queue=None):
    """Sends what it is told in one go, then reads the confirms."""
    system = System("relay")
    bus = system.add(RabbitMQ("bus", queues={"in": Queue(), "out": queue or Queue()}))

    @system.service("relay")
    def build(env):
        publish = env.publisher(bus)

        def on_batch(names: list):
            for name in names:
                env.note("sent", tag=publish.send("out", name, key=name))
            try:
                while frames := publish.confirms(timeout_s=5):
                    for one in frames:
                        env.note("confirm", tag=one.tag, multiple=one.multiple, acked=one.acked)
            except ChannelClosed as error:
                env.note("lost", why=error.reply_text)
                env.note("sent", tag=publish.send("out", "again"))

        async def on_batch_later(names: list):
            for name in names:
                env.note("sent", tag=await publish.send("out", name, key=name))
            while frames := await publish.confirms(timeout_s=5):
                for one in frames:
                    env.note("confirm", tag=one.tag, multiple=one.multiple, acked=one.acked)

        env.consume(bus, "in", on_batch_later if asynchronous else on_batch)

    @system.entry(examples=[[*NAMES]])
    def place(env, names):
        env.publisher(bus)("in", names)

    return system


def heard(run):
    return [
        (event.data["tag"], event.data["multiple"], event.data["acked"])
        for event in run.history.of("note")
        if event.data["what"] == "confirm"
    ]


def stored(run):
    return [
        event.data["value"].decode()
        for event in run.history.of("publish")
        if event.data["topic"] == "out"
    ]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_in_calm_one_frame_confirms_all(asynchronous):
    run = relay(asynchronous=asynchronous).run()
    assert stored(run) == [*NAMES]
    assert heard(run) == [(3, True, True)]


def test_a_late_confirm_comes_behind_those_of_later_messages():
    late = Delay(Site("relay.on_batch/bus.publish out", "after"), lasting=1_000)
    run = relay().run(None, Schedule([late]))
    assert stored(run) == [*NAMES]
    assert heard(run) == [(2, False, True), (3, False, True), (1, True, True)]


def test_a_refused_message_is_told_apart():
    run = relay().run(None, Schedule([ErrorReply(Site("relay.on_batch/bus.publish out"))]))
    assert stored(run) == ["o2", "o3"]
    assert heard(run) == [(2, False, True), (3, False, True), (1, False, False)]
    run = relay(queue=Queue(length_max=1, overflow="reject-publish")).run()
    assert heard(run) == [(1, True, True), (2, False, False), (3, False, False)]


@pytest.mark.parametrize(("kind", "there"), [(LostReply, ["o1"]), (LostRequest, [])])
def test_a_lost_connection_leaves_all_open_messages_without_an_answer(kind, there):
    phase = "after" if kind is LostReply else "before"
    run = relay().run(None, Schedule([kind(Site("relay.on_batch/bus.publish out", phase))]))
    assert stored(run) == [*there, *NAMES], "the whole batch came again"
    [raised] = run.history.of("raised")
    assert "bus.publish out: channel closed: connection lost" in raised.data["error"]


# ---- clients that send again by themselves


def shop(*, by_order, resends=True):
    system = System("shop")
    bus = system.add(RabbitMQ("bus", queues=["desk", "orders"], resends=resends))
    bank = system.add(Gateway("bank"))

    @system.service("desk")
    def desk(env):
        publish = env.publisher(bus)

        def on_wish(wish: dict):
            publish("orders", wish, key=wish["id"])

        env.consume(bus, "desk", on_wish, on_unreadable="skip")

    @system.service("pay")
    def pay(env):
        client = env.client(bank)

        def on_order(order: dict, delivery: Delivery):
            message = str(delivery.message.published)
            client.charge(order["id"], 500, key=order["id"] if by_order else message)

        env.consume(bus, "orders", on_order, on_unreadable="skip")

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("desk", order, key=order["id"])

    return system


def test_a_client_that_sends_again_makes_two_messages():
    twice = Schedule([Duplicate(Site("desk.on_wish/bus.publish orders"))])
    run = shop(by_order=False).run(None, twice)
    deliveries = [one for one in run.history.of("deliver") if one.data["topic"] == "orders"]
    assert [event.data["redelivered"] for event in deliveries] == [False, False]
    assert len({event.data["message"] for event in deliveries}) == 2
    with pytest.raises(AssertionError, match="charged twice"):
        run.check(never_charged_twice("bank"))
    shop(by_order=True).run(None, twice).check(never_charged_twice("bank"))


def test_it_is_searched_and_nowhere_else_legal():
    claim = never_charged_twice("bank")
    assert smallest(shop(by_order=False), claim, faults_max=1) is not None
    surface = shop(by_order=True).run().surfaces["desk.on_wish/bus.publish orders"]
    assert Duplicate in surface.searched_before
    assert smallest(shop(by_order=True), claim, faults_max=1) is None
    with pytest.raises(IllegalFault, match="never happen"):
        shop(by_order=True, resends=False).run(
            None, Schedule([Duplicate(Site("desk.on_wish/bus.publish orders"))])
        )
    with pytest.raises(InvalidDefinition, match="resends what is not confirmed"):
        RabbitMQ("bus", [], resends=True, confirms=False)
