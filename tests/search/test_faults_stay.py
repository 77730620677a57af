"""A fault that is removed moves no other: each strikes at the same message, or not at all."""

import pytest

from chaosharness import (
    Crash,
    Duplicate,
    ErrorReply,
    FailedCommit,
    Kafka,
    KeyValue,
    LostReply,
    LostRequest,
    Pause,
    RabbitMQ,
    Redeliver,
    Schedule,
    Site,
    System,
)
from chaosharness.search.marks import Sight
from chaosharness.search.sites import Catalogue
from chaosharness.strategies.sizes import option_of

TOPICS = ("orders", "lines", "events")
KINDS = (ErrorReply, FailedCommit, LostRequest, LostReply, Duplicate, Redeliver, Pause, Crash)
LINES = "orders.on_order/bus.publish lines"
PUT = "stock.on_line/shelf.put"


def kafka():
    return Kafka("bus", dict.fromkeys(TOPICS, 1), idempotent_producer=False)


def rabbit():
    return RabbitMQ("bus", queues=list(TOPICS))


def several(broker, *, retries=False):
    """Return a system in which several messages of one item come by the same operations."""
    system = System("several")
    bus = system.add(broker)
    shelf = system.add(KeyValue("shelf"))
    log = system.add(KeyValue("log"))

    @system.service("orders")
    def orders(env):
        send = env.publisher(bus)

        def on_order(order: dict):
            for line in ("a", "b"):
                try:
                    send("lines", {"line": line})
                except (TimeoutError, ConnectionError):
                    if not retries:
                        raise
                    send("lines", {"line": line})
            send("events", {"event": "ordered"})

        env.consume(bus, "orders", on_order)

    @system.service("stock")
    def stock(env):
        shelves = env.connect(shelf)
        send = env.publisher(bus)

        def on_line(line: dict):
            shelves.put(line["line"], 1)
            send("events", {"event": f"took {line['line']}"})

        env.consume(bus, "lines", on_line)

    @system.service("audit")
    def audit(env):
        entries = env.connect(log)

        def on_event(event: dict):
            entries.put(event["event"], 1)

        env.consume(bus, "events", on_event)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order)

    return system


def in_hand(history, event):
    """Return what the message says that code had in hand, or a broker, at an event; or None."""
    published = event.cause if event.actor == "bus" else -1
    while published < 0 <= event.cause:
        event = history[event.cause]
        if event.kind == "deliver":
            published = event.data["message"]
    return history[published].data["value"] if published >= 0 else None


def struck(run):
    """Return at which message each fault of a run struck."""
    history = run.history
    return {event.data["fault"]: in_hand(history, event) for event in history.of("fault")}


def mild(catalogue, run):
    return [
        fault
        for place, times in run.attempts.items()
        for fault in catalogue.all_at(place, min(times, 3))
        if option_of(fault) == 0 and not fault.site.operation.startswith("client.")
    ]


@pytest.mark.parametrize("retries", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("broker", [kafka, rabbit])
def test_removing_one_of_two_faults_leaves_the_other_at_its_message(broker, retries):
    system = several(broker(), retries=retries)
    catalogue = Catalogue(kinds=KINDS)
    calm = system.run()
    catalogue.learn(Sight(calm))
    pairs = both = 0
    alone = {}
    first = mild(catalogue, calm)
    for one in first:
        run = system.run(None, Schedule([one]))
        catalogue.learn(Sight(run))
        alone[str(one)] = struck(run)
        assert not run.unused
        for other in mild(catalogue, run):
            pair = system.run(None, Schedule([one, other]))
            places = struck(pair)
            if len(places) < 2:
                continue
            both += 1
            if str(other) not in alone:
                alone[str(other)] = struck(system.run(None, Schedule([other])))
            for name in (str(one), str(other)):
                kept = alone[name].get(name, places[name])
                assert kept == places[name], f"{name} strikes elsewhere without the other of {pair}"
            pairs += str(other) in alone[str(other)]
    assert both > 1_000
    assert pairs > both / 2, "most faults strike without the other as well"


@pytest.mark.parametrize("broker", [kafka, rabbit])
def test_the_second_line_is_struck_whatever_befalls_the_first(broker):
    system = several(broker())
    second = FailedCommit(Site(PUT, message=f"2 of {LINES}"))
    here = [
        struck(system.run(None, Schedule([second, *others])))[str(second)]
        for others in (
            [],
            [Crash(Site(PUT, message=f"1 of {LINES}"))],
            [FailedCommit(Site(PUT, message=f"1 of {LINES}", attempt=at)) for at in (1, 2, 3)],
        )
    ]
    assert len(set(here)) == 1
    assert here[0] == b'{"line":"b"}'


def test_a_site_without_a_message_means_the_first_to_get_there():
    system = several(kafka())
    plain, exact = (FailedCommit(Site(PUT, message=name)) for name in ("", f"1 of {LINES}"))
    one, other = (struck(system.run(None, Schedule([fault]))) for fault in (plain, exact))
    assert list(one.values()) == list(other.values())


def test_a_copy_has_a_name_of_its_own_and_moves_no_numbers():
    system = several(kafka())
    twice = Duplicate(Site(LINES))
    names = [
        name
        for operation, _, name in system.run(None, Schedule([twice])).attempts
        if operation == PUT
    ]
    assert [name.partition(" from ")[0] for name in names] == [
        f"1 of {LINES}",
        f"1 (copy 2) of {LINES}",
        f"2 of {LINES}",
    ]


def test_every_message_is_struck_by_one_fault():
    system = several(kafka())
    run = system.run(None, Schedule([FailedCommit(Site(PUT, message="every"))]))
    assert len(list(run.history.of("fault"))) == 2


def test_what_a_search_offers_says_which_message_only_where_there_are_several():
    catalogue = Catalogue(kinds=(ErrorReply, FailedCommit))
    run = several(kafka()).run()
    catalogue.learn(Sight(run))
    spelled = {
        (fault.site.operation, fault.site.message)
        for place, times in run.attempts.items()
        for fault in catalogue.all_at(place, times)
    }
    assert spelled == {
        (LINES, ""),
        ("orders.on_order/bus.publish events", ""),
        (PUT, f"1 of {LINES}"),
        (PUT, f"2 of {LINES}"),
        ("stock.on_line/bus.publish events", f"1 of {LINES}"),
        ("stock.on_line/bus.publish events", f"2 of {LINES}"),
        ("audit.on_event/log.put", "1 of orders.on_order/bus.publish events"),
        ("audit.on_event/log.put", f"1 of stock.on_line/bus.publish events from 1 of {LINES}"),
        ("audit.on_event/log.put", f"1 of stock.on_line/bus.publish events from 2 of {LINES}"),
    }
