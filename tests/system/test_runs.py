"""A run: a pure function, chaos then calm, and a verdict instead of a hang."""

import asyncio
import os
import subprocess
import sys
from contextlib import suppress
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosharness import (
    Budget,
    Crash,
    Delay,
    ErrorReply,
    Gateway,
    Kafka,
    LostReply,
    LostRequest,
    NetworkPartition,
    Pause,
    Rebalance,
    Schedule,
    Site,
    System,
    check,
)
from chaosharness.errors import IllegalFault, InvalidDefinition, UnserialisablePayload

CHARGE = "payments.on_order/bank.charge"
DELIVER = "bus.orders/deliver to payments"
COMMIT = "payments.on_order/bus.commit"


def shop(*, key=True, replicas=1, budget=None):
    system = System("shop", budget=budget)
    bus = system.add(Kafka("bus", {"orders": 4}))
    bank = system.add(Gateway("bank"))

    @system.service("payments", replicas=replicas)
    def payments(env):
        client = env.client(bank)

        def on_order(order):
            client.charge(order["id"], order["cents"], key=order["id"] if key else None)

        env.consume(bus, "orders", on_order)

    @system.entry(examples=[{"id": "o1", "cents": 500}, {"id": "o2", "cents": 700}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def charges(run):
    return [event.data["order"] for event in run.history.of("effect")]


def with_heartbeat(loop, *, background):
    """A service that handles orders, and publishes a heartbeat every 30 s for ever."""
    system = System("heart", budget=Budget(calm_ms=600_000))
    bus = system.add(Kafka("bus", {"orders": 1, "beats": 1}))

    @system.service("orders")
    def orders(env):
        env.consume(bus, "orders", lambda order: env.note("done"), on_error="dead-letter")
        env.main(loop(env, env.publisher(bus)), background=background)

    @system.service("watch")
    def watch(env):
        env.consume(bus, "beats", lambda beat: env.note("alive"), on_error="dead-letter")

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def plain_beat(env, publish):
    def beat():
        while True:
            with suppress(ConnectionError, TimeoutError):
                publish("beats", {})
            env.sleep(30)

    return beat


def asyncio_beat(env, publish):
    async def beat():
        while True:
            with suppress(ConnectionError, TimeoutError):
                await publish("beats", {})
            await asyncio.sleep(30)

    return beat


@pytest.mark.parametrize("loop", [plain_beat, asyncio_beat])
def test_a_heartbeat_in_the_background_keeps_no_run_going(loop):
    run = with_heartbeat(loop, background=True).run()
    assert run.ending.verdict == "quiet"
    notes = [event.data["what"] for event in run.history.of("note")]
    assert sorted(notes) == ["alive", "done"]
    pause = Pause(Site("orders.<lambda>/handle"), lasting=100_000)
    run = with_heartbeat(loop, background=True).run(None, Schedule([pause]))
    assert len([one for one in run.history.of("note") if one.data["what"] == "alive"]) == 4
    assert with_heartbeat(loop, background=False).run().ending.verdict == "budget"


def test_a_heartbeat_in_the_background_is_struck_like_anything_else():
    check(with_heartbeat(plain_beat, background=True), faults_max=1)


def test_an_entry_that_fails_by_itself_is_a_mistake_and_no_green_result():
    system = System("shop")

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        return order["cents"]

    with pytest.raises(InvalidDefinition, match=r"entry 'place' of 'shop' raised KeyError.*o1"):
        system.run()
    with pytest.raises(InvalidDefinition) as caught:
        system.run()
    assert isinstance(caught.value.__cause__, KeyError)


def test_an_entry_may_fail_under_faults():
    system = System("desk")

    @system.service("prices")
    def prices(env):
        env.serve("price", lambda item: 500)

    @system.entry(examples=["book"])
    def ask(env, item):
        env.call("prices", "price", item)

    down = Crash(Site("prices.<lambda>/handle"), down="long")
    run = system.run(None, Schedule([down]))
    assert [event.operation for event in run.history.of("raised")] == ["client.ask"]


def test_in_calm_each_order_is_charged_once():
    run = shop().run()
    assert charges(run) == ["o1", "o2"]
    assert run.ending.verdict == "quiet"


def test_a_crash_after_the_charge_charges_again():
    crash = Crash(Site(CHARGE, "after"))
    run = shop(key=False).run(schedule=Schedule([crash]))
    assert charges(run).count("o1") == 2
    assert run.unused == ()


def test_an_idempotency_key_makes_up_for_it():
    run = shop(key=True).run(schedule=Schedule([Crash(Site(CHARGE, "after"))]))
    assert charges(run) == ["o1", "o2"]


def test_a_lost_request_did_not_happen_and_a_lost_reply_did():
    for fault, times in ((LostRequest(Site(CHARGE)), 0), (LostReply(Site(CHARGE, "after")), 1)):
        run = shop(key=False).run(schedule=Schedule([fault]))
        before_retry = [
            event
            for event in run.history.of("effect")
            if event.at_ms < 10_000 and event.entity == 1
        ]
        assert len(before_retry) == times
        unknown = [e for e in run.history.of("reply") if e.data["outcome"] == "unknown"]
        assert [event.data["happened"] for event in unknown] == [bool(times)]


def test_a_rebalance_before_the_commit_delivers_again():
    run = shop(key=False).run(schedule=Schedule([Rebalance(Site(COMMIT))]))
    assert charges(run).count("o1") == 2
    fenced = [event for event in run.history.of("nack") if event.entity == 1]
    assert fenced[0].data["error"].startswith("fenced")


def test_a_crashed_service_that_is_down_for_long_restarts_in_calm():
    run = shop().run(schedule=Schedule([Crash(Site(CHARGE, "after"), down="long")]))
    phase = next(run.history.of("phase")).index
    starts = [event.index for event in run.history.of("start")]
    assert len(starts) == 2
    assert starts[1] > phase
    assert sorted(charges(run)) == ["o1", "o2"]


def test_a_network_partition_heals_at_the_latest_in_calm():
    cut = NetworkPartition(Site(CHARGE), lasting="long")
    run = shop().run(schedule=Schedule([cut]))
    assert sorted(charges(run)) == ["o1", "o2"]
    assert run.ending.verdict == "quiet"


def test_a_fault_that_finds_no_site_is_said_to_be_unused():
    lonely = Crash(Site(CHARGE, "after", entity=9))
    run = shop().run(schedule=Schedule([lonely]))
    assert run.unused == (lonely,)
    assert run.digest() == shop().run().digest()


FAULTS = st.sampled_from(
    [
        Crash(Site(CHARGE, "after")),
        Crash(Site(CHARGE, "after", entity=2), down="long"),
        LostReply(Site(CHARGE, "after", attempt=2)),
        ErrorReply(Site(CHARGE, entity=2)),
        Delay(Site(DELIVER), lasting="timeout"),
        Pause(Site(CHARGE, "after", entity=2), lasting="long"),
        Rebalance(Site(COMMIT)),
        Delay(Site(CHARGE), lasting="timeout"),
    ]
)


@settings(deadline=None)
@given(st.lists(FAULTS, max_size=4), st.integers(1, 2))
def test_a_run_is_a_pure_function(faults, replicas):
    schedule = Schedule(faults)
    first = shop(replicas=replicas).run(schedule=schedule)
    second = shop(replicas=replicas).run(schedule=schedule)
    assert first.digest() == second.digest()
    assert first.ending.verdict == "quiet"
    assert sorted(charges(first)) == ["o1", "o2"]


@settings(deadline=None)
@given(st.lists(FAULTS, min_size=1, max_size=3, unique=True))
def test_each_fault_strikes_once_and_at_its_own_site(faults):
    run = shop().run(schedule=Schedule(faults))
    struck = [event.data["fault"] for event in run.history.of("fault")]
    assert len(struck) == len(set(struck))
    assert set(struck) | {str(fault) for fault in run.unused} == {str(f) for f in faults}


PROGRAM = dedent("""
    from chaosharness import Crash, Schedule, Site
    from test_runs import CHARGE, shop
    crash = Crash(Site(CHARGE, "after"))
    print(shop(key=False, replicas=3).run(schedule=Schedule([crash])).digest())
""")


def test_the_digest_is_the_same_in_other_processes_with_other_hash_seeds():
    here = os.path.dirname(__file__)
    outputs = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": here},
        ).stdout
        for seed in ("0", "1", "4242")
    }
    crash = Crash(Site(CHARGE, "after"))
    mine = shop(key=False, replicas=3).run(schedule=Schedule([crash])).digest()
    assert outputs == {mine + "\n"}


# ---- verdicts instead of hangs


def test_a_handler_that_always_fails_ends_in_a_verdict_that_names_it():
    system = System("poor", budget=Budget(deliveries_max=10))
    bus = system.add(Kafka("bus", {"orders": 1}))

    @system.service("payments")
    def payments(env):
        def on_order(order):
            raise RuntimeError("no")

        env.consume(bus, "orders", on_order)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order)

    ending = system.run().ending
    assert ending.verdict == "budget"
    assert ending.reason == "bus.orders/deliver to payments handed out one message 10 times"


def test_an_event_cycle_ends_in_a_verdict_that_names_it():
    system = System("circle")
    bus = system.add(Kafka("bus", {"ping": 1, "pong": 1}))

    @system.service("player")
    def player(env):
        publish = env.publisher(bus)

        def on_ping(ball):
            publish("pong", ball)

        def on_pong(ball):
            publish("ping", ball)

        env.consume(bus, "ping", on_ping)
        env.consume(bus, "pong", on_pong)

    @system.entry(examples=[{"n": 1}])
    def serve(env, ball):
        env.publisher(bus)("ping", ball)

    ending = system.run().ending
    assert ending.verdict == "budget"
    assert ending.reason.startswith("an event cycle: ")
    assert "ping → pong → ping" in ending.reason or "pong → ping → pong" in ending.reason


def test_a_handler_that_passes_ports_for_ever_ends_in_a_verdict_that_names_it():
    system = System("busy", budget=Budget(events_max=50_000))
    bus = system.add(Kafka("bus", {"orders": 1, "log": 1}))

    @system.service("chatty")
    def chatty(env):
        publish = env.publisher(bus)

        def on_order(order):
            while True:
                publish("log", order)

        env.consume(bus, "orders", on_order)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order)

    ending = system.run().ending
    assert ending.verdict == "spinning"
    assert ending.reason == "chatty.on_order passed 5,000 ports in one go"


def test_a_loop_that_only_looks_lets_the_system_become_quiet():
    system = System("relay")
    bus = system.add(Kafka("bus", {"orders": 1}))

    @system.service("relay")
    def relay(env):
        publish = env.publisher(bus)
        todo = [1, 2, 3]

        def loop():
            while True:
                if todo:
                    publish("orders", {"n": todo.pop()})
                env.sleep(5)

        env.main(loop)

    @system.entry(examples=[])
    def nothing(env, item):
        raise AssertionError("there are no items")

    run = system.run()
    assert run.ending.verdict == "quiet"
    assert len(list(run.history.of("publish"))) == 3


def test_a_loop_that_never_stops_changing_things_is_not_quiet():
    system = System("clock", budget=Budget(calm_ms=60_000, chaos_ms=60_000))
    bus = system.add(Kafka("bus", {"ticks": 1}))

    @system.service("clock")
    def clock(env):
        publish = env.publisher(bus)

        def tick():
            while True:
                publish("ticks", {})
                env.sleep(1)

        env.main(tick)

    @system.entry(examples=[])
    def nothing(env, item):
        raise AssertionError("there are no items")

    ending = system.run().ending
    assert ending.verdict == "budget"
    assert "not quiet after 60 s of calm" in ending.reason
    assert "clock.tick" in ending.reason


def test_a_timer_far_away_still_goes_off():
    system = System("patient")
    bus = system.add(Kafka("bus", {"orders": 1}))

    @system.service("expiry")
    def expiry(env):
        publish = env.publisher(bus)

        def expire():
            env.sleep(3 * 24 * 3600)
            publish("orders", {"expired": True})

        env.main(expire)

    @system.entry(examples=[])
    def nothing(env, item):
        raise AssertionError("there are no items")

    budget = Budget(chaos_ms=10 * 24 * 3600 * 1000)
    assert len(list(system.run(budget=budget).history.of("publish"))) == 1


# ---- mistakes


def test_an_illegal_fault_is_refused():
    with pytest.raises(IllegalFault, match=r"can never happen in a real deployment\. Legal before"):
        shop().run(schedule=Schedule([Rebalance(Site(CHARGE))]))


def test_the_client_does_not_crash():
    crash = Crash(Site("client.place/bus.publish orders", "after"))
    with pytest.raises(IllegalFault, match=r"client\.place"):
        shop().run(schedule=Schedule([crash]))


def test_a_payload_without_a_json_form_is_refused():
    system = shop()
    with pytest.raises(UnserialisablePayload, match="a message for 'orders' cannot be written"):
        system.run([{"id": "o1", "cents": object()}])


def test_a_factory_that_raises_is_named():
    system = shop()

    @system.service("broken")
    def broken(env):
        raise KeyError("DATABASE_URL")

    with pytest.raises(InvalidDefinition, match=r"broken/start raised KeyError: 'DATABASE_URL'"):
        system.run()


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda s: s.add(object()), "is no part of a system; add a broker"),
        (lambda s: s.add(Gateway("bank")), "has a part named 'bank' already"),
        (lambda s: s.add(Gateway("a/b")), "cannot be a name"),
        (lambda s: s.service("x", replicas=0), "needs at least 1 replica"),
        (lambda s: s.service("x")(None), "needs a function that builds it"),
        (
            lambda s: s.entry(examples=[])(print),
            "it may take items of several kinds",
        ),
        (lambda s: s.run(schedule=[1]), r"is not a Schedule .*write Schedule\(\[...\]\)"),
        (lambda s: s.run(Schedule()), "the workload comes first.*write schedule=..."),
        (lambda s: Kafka("k", {"t": 0}), "must have at least 1 log partition"),
        (lambda s: System(""), "a system needs a name"),
    ],
)
def test_mistakes_in_a_definition_say_what_to_do(mistake, words):
    with pytest.raises(InvalidDefinition, match=words):
        mistake(shop())


def test_a_port_outside_a_run_says_so():
    kept = []
    system = shop()

    @system.service("leaky")
    def leaky(env):
        kept.append(env)

    system.run()
    with pytest.raises((InvalidDefinition, BaseException)) as caught:
        kept[0].sleep(1)
    assert type(caught.value).__name__ in ("InvalidDefinition", "Abandoned")


@pytest.mark.parametrize(
    ("consume", "words"),
    [
        (lambda env, bus: env.consume(bus, "nowhere", len), "bus has no topic 'nowhere'"),
        (lambda env, bus: env.consume(bus, "orders", 7), "which is no function"),
        (lambda env, bus: env.consume(bus, "orders", lambda: 0), "must take the message"),
        (lambda env, bus: env.consume(object(), "orders", len), "is no part of system 'shop'"),
        (lambda env, bus: env.consume(bus, "orders", len, on_error="x"), "on_error"),
        (lambda env, bus: env.connect(bus), "'bus' is no store"),
        (lambda env, bus: env.publisher(bus)("nowhere", {}), "bus has no topic 'nowhere'"),
        (lambda env, bus: env.main(None), "which is no function"),
        (lambda env, bus: env.call("x", "y"), "no service serves x.y"),
    ],
)
def test_mistakes_in_a_service_stop_the_run(consume, words):
    system = shop()
    bus = system.resources["bus"]

    @system.service("wrong")
    def wrong(env):
        consume(env, bus)

    with pytest.raises(InvalidDefinition, match=words):
        system.run()


@pytest.mark.parametrize(
    "fault",
    [
        Pause(Site(CHARGE, "after"), lasting=10**8),
        Crash(Site(CHARGE, "after"), down=10**8),
        NetworkPartition(Site(CHARGE), lasting=10**8),
        Delay(Site(DELIVER), lasting=10**8),
    ],
    ids=lambda fault: fault.kind,
)
def test_no_trouble_outlasts_the_chaos(fault):
    run = shop().run(schedule=Schedule([fault]))
    calm = next(run.history.of("phase"))
    assert run.ending.verdict == "quiet"
    assert calm.at_ms <= Budget().chaos_ms
    assert run.history[-1].at_ms - calm.at_ms < 3_600_000
    assert sorted(charges(run)) == ["o1", "o2"]


def test_the_calm_run_is_that_of_the_very_workload():
    class Basket:
        def __init__(self, cents):
            self.cents = cents

        def __repr__(self):
            return "a basket"

    system = System("till")
    bank = system.add(Gateway("bank"))

    @system.entry(examples=[Basket(1)])
    def pay(env, basket):
        env.client(bank).charge("o1", basket.cents)

    charged = [
        effect.data["cents"]
        for cents in (500, 700)
        for effect in system.calm([Basket(cents)]).history.of("effect")
    ]
    assert charged == [500, 700]
    assert system.calm([Basket(700)]) is system.calm([Basket(700)])
