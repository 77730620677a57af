"""Which ids are looked at, where, and what is no loss; who asks back, and who only tells."""

import pytest

from chaosharness import (
    Kafka,
    KeyValue,
    RabbitMQ,
    System,
    event_graph,
    events_say_enough,
    every_event_carries_an_id,
    ids_travel,
)

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SAME_TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-b7ad6b7169203331-01"
OTHER_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def passing_on(first, then, *, broker=Kafka, value=None, answer=None):
    """Return a system whose handler publishes with other words than it was given."""
    system = System("passing-on")
    names = ["orders", "paid"]
    bus = system.add(
        Kafka("bus", dict.fromkeys(names, 1)) if broker is Kafka else RabbitMQ("bus", names)
    )

    @system.service("payments")
    def payments(env):
        publish = env.publisher(bus)
        env.consume(bus, "orders", lambda order: publish("paid", answer or {"done": True}, **then))

    @system.entry(examples=[1])
    def place(env, number):
        env.publisher(bus)("orders", value or {"n": number}, **first)

    return system


def headers(**words):
    return {"headers": words}


LOST = [
    (headers(correlation_id="r1"), {}, "without the correlation id r1 of orders"),
    (
        headers(correlation_id="r1"),
        headers(correlation_id="r2"),
        "with another correlation id than orders: r2, not r1",
    ),
    (headers(traceparent=TRACE), headers(traceparent=OTHER_TRACE), "with another correlation id"),
    (
        headers(message_id="m1"),
        headers(causation_id="m9"),
        "says that it follows from m9, and follows from orders m1",
    ),
    (
        headers(message_id="m1", causation_id="m0"),
        headers(message_id="m2"),
        "without saying that it follows from orders m1",
    ),
]
KEPT = [
    (headers(message_id="m1"), headers(message_id="m2")),  # nobody speaks of causes
    (headers(**{"Nats-Msg-Id": "m1"}), headers(causation_id="m1")),
    (headers(message_id="m1", event_id="e1"), headers(causation_id="e1")),
    (headers(correlation_id="r1"), headers(**{"Correlation-ID": "r1"})),
    (headers(traceparent=TRACE), headers(traceparent=SAME_TRACE)),
    (
        headers(message_id="m1", correlation_id="r1"),
        headers(message_id="m2", correlation_id="r1", causation_id="m1"),
    ),
]


@pytest.mark.parametrize(("first", "then", "words"), LOST)
def test_an_id_that_is_lost_or_changed_is_a_finding(first, then, words):
    with pytest.raises(AssertionError, match=words):
        passing_on(first, then).run().check(ids_travel())


def test_a_cause_that_is_named_in_the_claim_has_to_be_said_from_the_first_event_on():
    first, then = headers(message_id="m1"), headers(message_id="m2")
    with pytest.raises(AssertionError, match="without saying that it follows from orders m1"):
        passing_on(first, then).run().check(ids_travel(causation="caused-by"))
    then = headers(message_id="m2", caused_by="m1")
    passing_on(first, then).run().check(ids_travel(causation="caused-by"))


@pytest.mark.parametrize("more", [{"specversion": "1.0"}, {"detail-type": "Placed"}])
def test_an_envelope_of_cloudevents_or_eventbridge_has_an_id(more):
    value, then = {"id": "e1", **more}, headers(causation_id="e1")
    passing_on({}, then, value=value).run().check(ids_travel())
    with pytest.raises(AssertionError, match="follows from e0, and follows from orders e1"):
        passing_on({}, headers(causation_id="e0"), value=value).run().check(ids_travel())


@pytest.mark.parametrize(("first", "then"), KEPT)
def test_an_id_that_goes_along_is_none(first, then):
    run = passing_on(first, then).run()
    run.check(ids_travel())
    assert ids_travel().is_tested(run.evidence())


def test_without_any_id_nothing_was_put_to_the_test():
    run = passing_on({}, {}).run()
    assert ids_travel().findings(run.evidence()) == []
    assert not ids_travel().is_tested(run.evidence())


def test_an_id_may_stand_in_the_payload_or_among_the_properties_of_a_message():
    with_payload = {"value": {"correlation_id": "r1"}}
    with pytest.raises(AssertionError, match="without the correlation id r1"):
        passing_on({}, {}, **with_payload).run().check(ids_travel())
    passing_on({}, {}, **with_payload, answer={"correlationId": "r1"}).run().check(ids_travel())
    first = {"correlation_id": "r1"}
    with pytest.raises(AssertionError, match="without the correlation id r1"):
        passing_on(first, {}, broker=RabbitMQ).run().check(ids_travel())
    passing_on(first, first, broker=RabbitMQ).run().check(ids_travel())


@pytest.mark.parametrize("message", [5, None, ["a"], "no json", '{"correlation_id": "r1"}'])
def test_a_payload_that_looks_like_an_envelope_of_sns_may_hold_anything(message):
    value = {"Type": "Notification", "TopicArn": "arn:news", "Message": message}
    run = passing_on({}, {}, value=value).run()
    lost = [finding.summary for finding in ids_travel().findings(run.evidence())]
    assert len(lost) == (1 if "r1" in str(message) else 0)


def test_an_own_name_and_events_that_begin_something_new():
    first = headers(**{"X-Tenant-Request": "r1"})
    system = passing_on(first, {})
    system.run().check(ids_travel())
    with pytest.raises(AssertionError, match="without the correlation id r1"):
        system.run().check(ids_travel(correlation="x-tenant-request"))
    system.run().check(ids_travel(correlation="x-tenant-request", ignore=["paid"]))


def test_an_id_in_a_header_is_one_that_an_event_carries():
    run = passing_on(headers(order="o1"), headers(order="o1"), value={"cents": 5}).run()
    run.check(every_event_carries_an_id())


# ---- asking back


def shop(*, changes=False, of="orders"):
    """Return a system in which parcels calls somebody about an order that is paid."""
    system = System("shop")
    bus = system.add(Kafka("bus", {"paid": 1}))
    office = system.add(KeyValue("office"))

    def desk(env):
        rows = env.connect(office)

        def find(order):
            if changes:
                rows.put(order, {"id": order, "seen": True})
            return rows.get(order)

        env.serve("find", find)

    @system.service("orders")
    def orders(env):
        rows, publish = env.connect(office), env.publisher(bus)

        def pay(order):
            rows.put(order["id"], order)
            publish("paid", {"id": order["id"]})

        env.serve("pay", pay)
        desk(env)

    system.service("others")(desk)

    @system.service("parcels")
    def parcels(env):
        env.consume(bus, "paid", lambda paid: env.call(of, "find", paid["id"]))

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.call("orders", "pay", order)

    return system


def test_who_asks_the_sender_without_changing_anything_asks_back():
    run = shop().run()
    with pytest.raises(AssertionError, match=r"asks orders\.find back to understand paid"):
        run.check(events_say_enough())
    [(handler, _, _)] = event_graph(run.history).asks_back()
    assert handler.name.startswith("parcels.")
    run.check(events_say_enough(ignore=["orders.find"]))


@pytest.mark.parametrize("words", [{"changes": True}, {"of": "others"}])
def test_a_command_and_a_question_to_somebody_else_are_no_asking_back(words):
    run = shop(**words).run()
    run.check(events_say_enough())
    assert event_graph(run.history).asks_back() == []


def test_who_is_called_reacts_to_the_call_and_not_to_the_event():
    text = event_graph(shop().run().history).text()
    assert "orders.find → orders.find" in text or "paid → orders.find" not in text
    assert "paid → parcels.<lambda> does orders.find" in text
