"""A system that goes on between steps."""

import attrs
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    precondition,
    rule,
    run_state_machine_as_test,
)

from chaosharness import (
    Crash,
    Gateway,
    Kafka,
    Live,
    LostReply,
    Poison,
    Schedule,
    Site,
    System,
    eventually,
    never_stuck,
    replay,
    schedules,
)
from chaosharness.errors import InvalidDefinition, PropertyViolated

CHARGE = "payments.on_placed/bank.charge"
HANDLED = "payments.on_placed/bus.commit"


@attrs.frozen
class Place:
    id: str


@attrs.frozen
class Cancel:
    id: str


def shop(name, *, remembers):
    """Charge what is placed and refund what is cancelled, if it is known that it was charged."""
    system = System(name)
    bus = system.add(Kafka("bus", topics={"placed": 1, "cancelled": 1}))
    bank = system.add(Gateway("bank"))

    @system.service("payments")
    def payments(env):
        client, charged = env.client(bank), set()

        def on_placed(order: dict):
            client.charge(order["id"], 500, key=order["id"])
            charged.add(order["id"])

        def on_cancelled(order: dict):
            if remembers or order["id"] in charged:
                client.refund(order["id"], 500, key=f"back {order['id']}")

        env.consume(bus, "placed", on_placed)
        env.consume(bus, "cancelled", on_cancelled)

    @system.entry(examples=[Place("o1"), Cancel("o1")])
    def come_in(env, item):
        topic = "placed" if isinstance(item, Place) else "cancelled"
        env.publisher(bus)(topic, {"id": item.id}, key=item.id)

    def is_paid_back(history):
        kinds = [event.data["method"] for event in history.of("effect")]
        wanted = sum(1 for event in history.of("arrive") if "placed" in topic_of(history, event))
        gone = sum(1 for event in history.of("arrive") if "cancelled" in topic_of(history, event))
        return kinds.count("charge") == wanted and kinds.count("refund") == min(gone, wanted)

    system.claim(eventually("what is cancelled is paid back", is_paid_back))
    return system


def topic_of(history, arrival):
    published = (one for one in history.of("publish") if one.cause == arrival.index)
    return next((one.operation for one in published), "")


forgets, knows = shop("forgets", remembers=False), shop("knows", remembers=True)


def test_memory_goes_on_from_step_to_step():
    live = Live(forgets)
    live.send(Place("o1"))
    live.check()
    live.send(Cancel("o1"))
    live.check()
    assert [one["method"] for one in live.books.ledger("bank")] == ["charge", "refund"]
    assert {one.kind for one in live.events} >= {"arrive", "effect"}
    assert all(one.entity in (0, 2) for one in live.events)


def test_a_step_finds_the_system_as_the_one_before_has_left_it():
    live = Live(forgets)
    first = live.send(Place("o1"), LostReply(Site(CHARGE, "after")))
    known = [one for one in first.history.raw if one[1] not in ("phase", "end", "state")]
    second = live.send(Cancel("o1"))
    assert [*second.history.raw[: len(known)]] == known


def test_a_crash_between_two_steps_is_what_it_takes():
    live = Live(forgets)
    live.send(Place("o1"), Crash(Site(HANDLED, "after")))
    live.check()
    live.send(Cancel("o1"))
    with pytest.raises(PropertyViolated, match="paid back") as told:
        live.check()
    found = told.value.counterexample
    assert found.schedule == Schedule([Crash(Site(HANDLED, "after"))])
    assert found.items == ({"id": "o1"}, {"id": "o1"})
    assert found.target == "tests.search.test_live:forgets.settled"
    again = replay(found)
    assert (str(again.verdict), again.same_history) == ("failing", True)


def test_trouble_is_over_before_the_next_step():
    live = Live(forgets)
    live.send(Place("o1"), Crash(Site("payments.on_placed/handle"), down="long"))
    live.check()
    live.send(Cancel("o1"))
    live.check()


def test_faults_that_are_not_needed_are_left_out():
    live = Live(forgets)
    live.send(Place("o1"), Crash(Site(HANDLED, "after")))
    live.send(Cancel("o1"), LostReply(Site("payments.on_cancelled/bank.refund", "after")))
    with pytest.raises(PropertyViolated) as told:
        live.check()
    assert len(told.value.counterexample.schedule) == 1


def test_faults_of_a_step_strike_at_its_item():
    live = Live(knows)
    live.send(Place("o1"))
    run = live.send(Place("o2"), Schedule([LostReply(Site(CHARGE, "after"))]))
    assert [one.entity for one in run.history.of("fault")] == [2]
    assert live.faults == [LostReply(Site(CHARGE, "after", entity=2))]


def machine_of(system):
    class Shop(RuleBasedStateMachine):
        def __init__(self):
            super().__init__()
            self.live = Live(system)

        placed = Bundle("placed")

        @precondition(lambda self: len(self.live.items) % 2 == 0)  # one order at a time
        @rule(
            target=placed,
            schedule=schedules(system, faults_max=1, items_max=1, kinds=(Crash,)),
        )
        def place(self, schedule):
            name = f"o{len(self.live.items) + 1}"
            self.live.send(Place(name), schedule)
            self.live.check()
            return name

        @rule(name=consumes(placed))
        def cancel(self, name):
            self.live.send(Cancel(name))
            self.live.check()

    return Shop


SETTINGS = settings(
    max_examples=250,
    stateful_step_count=4,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def test_a_state_machine_finds_two_steps_and_a_fault_between_them():
    # what is drawn depends on which modules are loaded, and one in eight finds nothing in 250
    enough = settings(SETTINGS, max_examples=2_500)
    with pytest.raises(PropertyViolated) as told:
        run_state_machine_as_test(machine_of(forgets), settings=enough)
    found = told.value.counterexample
    assert found.items == ({"id": "o1"}, {"id": "o1"})
    assert found.schedule == Schedule([Crash(Site(HANDLED, "after"))])


def test_the_right_one_is_left_alone_by_a_state_machine():
    run_state_machine_as_test(machine_of(knows), settings=SETTINGS)


def test_a_step_after_one_that_never_settled_says_why_and_what_to_do():
    live = Live(knows)
    live.send(Place("o1"), Poison(Site("client.come_in/bus.publish placed")))
    live.check()  # nothing was claimed about that
    with pytest.raises(InvalidDefinition) as told:
        live.send(Cancel("o1"))
    words = str(told.value)
    assert words.startswith("step 2 of 'knows' cannot begin (at tests/search/test_live.py:")
    assert "step 1 had not settled an hour after it came, since bus.placed/deliver to" in words
    assert "handed out one message 200 times. If that is a mistake, claim it" in words
    with pytest.raises(PropertyViolated, match="200 times"):
        live.check(never_stuck())  # as it says
    assert [one.id for one in live.items] == ["o1"]


def test_mistakes_are_said():
    with pytest.raises(InvalidDefinition, match="Live takes a System"):
        Live("shop")
    live = Live(knows)
    with pytest.raises(InvalidDefinition, match=r"Live\.check before the first send"):
        live.check()
    with pytest.raises(InvalidDefinition, match="'boom' is neither a fault nor a Schedule"):
        live.send(Place("o1"), "boom")
    assert live.items == []
