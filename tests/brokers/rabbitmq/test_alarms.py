"""An alarm of the broker: who publishes is not read, who consumes goes on."""

from __future__ import annotations

from chaosharness import BrokerAlarm, RabbitMQ, Schedule, Site, System, explore

PUBLISH = "relay.send/bus.publish orders"


def relay(send, *, items=("a",), **options):
    """A service that publishes as `send(env, publish, item)` says, and one that consumes."""
    system = System("relay", arrival_ms=1)
    bus = system.add(RabbitMQ("bus", queues=["work", "orders"], **options))

    @system.service("relay")
    def relaying(env):
        publish = env.publisher(bus)
        shared = env.publisher(bus, connection="one")

        def send_one(item: str):
            send(env, publish if item != "shared" else shared, item)

        send_one.__name__ = "send"
        env.consume(bus, "work", send_one, connection="one", prefetch=10)

    @system.service("shop")
    def shop(env):
        env.consume(bus, "orders", lambda order: env.note("got", order=order))

    @system.entry(examples=list(items))
    def place(env, item: str):
        env.publisher(bus)("work", item)

    return system


def struck(system, lasting, operation=PUBLISH, entity=1):
    alarm = BrokerAlarm(Site(operation, entity=entity), lasting=lasting)
    return system.run(None, Schedule([alarm]))


def got(run):
    return [event.data["order"] for event in run.history.of("note") if event.data["what"] == "got"]


def stored(run, queue="orders"):
    events = run.history.of("publish")
    return [event.at_ms for event in events if queue in event.data["queues"]]


def test_a_publisher_hangs_until_the_alarm_is_over():
    run = struck(relay(lambda env, publish, item: publish("orders", item)), 5_000)
    [at_ms] = stored(run)
    assert 5_000 <= at_ms < 5_010
    assert got(run) == ["a"]
    assert next(run.history.of("handled")).at_ms >= 5_000, "it waited"


def test_who_waits_no_longer_has_published_all_the_same():
    """The bytes were written: whoever tries again has published twice."""
    run = struck(relay(lambda env, publish, item: publish("orders", item)), 60_000)
    assert got(run) == ["a", "a"]
    replies = [event for event in run.history.of("reply") if event.operation == PUBLISH]
    assert replies[0].at_ms // 1_000 == 30, "no confirm for 30 s"


def test_others_that_publish_wait_too_in_their_order():
    run = struck(relay(lambda env, publish, item: publish("orders", item), items="abc"), 5_000)
    assert got(run) == ["a", "b", "c"]
    assert min(stored(run)) >= 5_000


def test_without_confirms_nobody_waits():
    def send(env, publish, item):
        publish("orders", item)
        env.note("sent", at_ms=env.now_ms())

    run = struck(relay(send, confirms=False), 5_000)
    sent = [e.at_ms for e in run.history.of("note") if e.data["what"] == "sent"]
    assert sent[0] < 10
    assert min(stored(run)) >= 5_000


def test_confirms_that_are_read_later_come_later():
    def send(env, publish, item):
        publish.send("orders", item)
        env.note("sent", at_ms=env.now_ms())
        [confirm] = publish.confirms(timeout_s=20)
        env.note("confirmed", at_ms=env.now_ms(), acked=confirm.acked)

    run = struck(relay(send), 5_000)
    notes = {e.data["what"]: e.at_ms for e in run.history.of("note")}
    assert notes["sent"] < 10
    assert notes["confirmed"] >= 5_000


def test_on_a_shared_connection_acknowledgements_wait_too():
    def send(env, publish, item):
        if item == "shared":
            publish("orders", item)

    apart = struck(relay(send, items=["shared", "other"]), 5_000)
    acks = {event.entity: event.at_ms for event in apart.history.of("ack")}
    assert acks[2] >= 5_000, "the one that publishes nothing is on the same connection"


def test_a_search_tries_it_where_the_broker_says_so():
    def send(env, publish, item):
        publish("orders", item)

    system = relay(send, searched=(BrokerAlarm,))
    run = system.run()
    assert BrokerAlarm in run.surfaces[PUBLISH].searched_before
    campaign = explore(system, faults_max=1, kinds=[BrokerAlarm])
    assert any("broker alarm" in cell for cell in campaign.coverage.cells)
