"""What a story says and leaves out, on histories written by hand and on runs."""

import inspect
import re
from contextlib import suppress
from pathlib import Path

import attrs
import pytest

from chaosharness.brokers import RabbitMQ
from chaosharness.checkers import Finding, Property, never_charged_twice, never_stuck
from chaosharness.counterexample import Counterexample
from chaosharness.externals.gateway import Gateway
from chaosharness.faults import (
    FAULTS,
    ClockSkew,
    Crash,
    Delay,
    Duplicate,
    ErrorReply,
    LostReply,
    LostRequest,
    NetworkPartition,
    Poison,
    Redeliver,
)
from chaosharness.kernel.history import KINDS, History
from chaosharness.kernel.site import Site
from chaosharness.reporting.story import decisions
from chaosharness.reporting.story.arguments import argument_names
from chaosharness.reporting.story.lanes import Cast, lane_of, life_of
from chaosharness.reporting.story.narrator import _TELLERS, Narrator
from chaosharness.reporting.story.select import kept, origin, ranked
from chaosharness.reporting.story.sentences import fault_in_words, sufferings
from chaosharness.reporting.story.tell import Gap, tell
from chaosharness.schedule import Schedule
from chaosharness.system import System
from tests.reporting.shops import CRASH, Order, double_charge, everything, found, second_mail, small
from tests.reporting.story.tales import Tale


def handwritten(*raw, faults=(), events=(), passing=None, **words):
    """Return a counterexample whose history is given, event by event."""
    return Counterexample(
        property="p",
        system="s",
        schedule=Schedule(faults),
        items=({"id": "o1"}, {"id": "o2"}),
        findings=(Finding("it broke", events, 1),),
        digest="",
        history=History(list(raw)),
        passing=None if passing is None else History(list(passing)),
        **words,
    )


def charge(at_ms, cause, *, key=None, number=1):
    data = {"method": "charge", "order": "o1", "cents": 5, "key": key, "id": number}
    return (at_ms, "effect", "bank", "pay.on/bank.charge", 1, number, cause, data)


def state(name, **tables):
    return (9, "state", name, "", 0, 0, -1, {"tables": tables})


# ---- why


def test_each_kind_of_key_is_spoken_of():
    def said(first, second):
        history = charge(1, -1, key=first), charge(2, -1, key=second, number=2)
        return tell(handwritten(*history, events=(0, 1))).cause.words

    asks = "pay.on asks for bank.charge 2 times, "
    assert said(None, None) == (
        f"{asks}and no request carries an idempotency key: bank takes each for new."
    )
    assert said("k1", "k2") == (
        f"{asks}with another idempotency key each time (k1 and k2): bank sees no repetition."
    )
    assert said("k1", "k1") == (
        f"{asks}under one idempotency key (k1), and bank did it again 1 ms later: it has forgotten "
        "the key by then, or never looks at it."
    )


def test_a_message_acknowledged_before_it_was_handled_is_spoken_of():
    system = small()
    before = System("early")
    bus, bank = system.resources["bus"], before.add(Gateway("bank"))
    before.add(bus)

    @before.service("payments")
    def payments(env):
        gateway = env.client(bank)

        def on_order(order: Order):
            gateway.charge(order.id, order.cents)

        env.consume(bus, "orders", on_order, acknowledge="before")

    @before.entry(examples=[Order("o1", 500)])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order.id)

    run = before.run(None, Schedule([LostRequest(Site("payments.on_order/bank.charge"))]))
    one = handwritten(
        *run.history.raw, faults=run.schedule, passing=before.run().history.raw, minimal=True
    )
    said = " ".join(tell(one).why)
    assert "payments gets no answer to bank.charge for item 1 (o1): the request is lost" in said
    assert "after o1 from orders was acknowledged: nobody tries again" in said
    assert "In the passing run, and not here, bank does: charge order=o1 cents=500." in said


def test_both_copies_of_a_message_are_spoken_of():
    shop = System("copies")
    bus = shop.add(attrs.evolve(small().resources["bus"], idempotent_producer=False))
    bank = shop.add(Gateway("bank"))

    @shop.service("payments")
    def payments(env):
        gateway = env.client(bank)
        env.consume(bus, "orders", lambda order: gateway.charge(order["id"], 5))

    @shop.entry(examples=[Order("o1", 500)])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order.id)

    shop.claim(never_charged_twice(bank))
    one = found(shop, Duplicate(Site("client.place/bus.publish orders")))
    said = " ".join(tell(one).why)
    assert "bus delivers o1 from orders 2 times to payments: each copy is a message." in said
    assert "for a second copy of the message" in said


def test_a_queue_a_call_and_a_message_without_key():
    shop = System("rabbit shop")
    queue = shop.add(RabbitMQ("mq", queues=["orders"]))
    bank = shop.add(Gateway("bank"))

    @shop.service("payments", replicas=2)
    def payments(env):
        gateway = env.client(bank)

        def on_order(order: Order):
            env.call("pricing", "quote", {"id": order.id})
            gateway.charge(order.id, order.cents)

        env.consume(queue, "orders", on_order)

    @shop.service("pricing")
    def pricing(env):
        env.serve("quote", lambda order: 500)

    @shop.entry(examples=[Order("o1", 500)])
    def place(env, order):
        env.publisher(queue)("orders", order)

    shop.claim(never_charged_twice(bank))
    story = tell(found(shop, Redeliver(Site("mq.orders/deliver to payments", "after"))))
    told = [(step.source, step.target, step.words) for step in story.steps]
    assert ("client", "mq", "publishes a message for o1 to orders") in told
    assert ("payments#1", "pricing#1", "calls pricing.quote") in told
    assert (
        "mq",
        "",
        "takes back a message for o1 from orders, given to payments#1: connection lost",
    ) in told
    assert "while it was still being handled" in " ".join(story.why)
    assert [lane.name for lane in story.lanes] == [
        "client", "mq", "payments#1", "payments#2", "pricing", "bank"
    ]  # fmt: skip


def test_two_third_parties_are_not_one_that_was_asked_twice():
    def at(actor, at_ms):
        data = {"method": "charge", "order": "o1", "cents": 5, "key": "k", "id": 1}
        return (at_ms, "effect", actor, f"pay.on/{actor}.charge", 1, 1, -1, data)

    said = tell(handwritten(at("stripe", 1), at("adyen", 2), events=(0, 1))).cause.words
    assert said == "pay.on asks stripe and adyen for the same charge; neither knows of the other."


def test_the_one_field_in_which_requests_differ_is_named():
    def mail(number, token):
        data = {"method": "send", "order": "o1", "message_id": token}
        return (number, "effect", "mail", "pay.on/mail.send", 1, 1, -1, data)

    one, other = (f"163ddcb2-2f6c-4a17-aa95-4c09375ef46{end}" for end in "ab")
    said = tell(handwritten(mail(1, one), mail(2, other), events=(0, 1))).cause.words
    assert said == (
        "pay.on asks for mail.send 2 times, with another message_id each time: mail takes each for "
        "new."
    )


def test_an_exception_without_a_message_is_its_type():
    raw = (5, "raised", "pay#1", "pay.on/handle", 1, 1, -1, {"error": "TooSlowError: "})
    [step] = tell(handwritten(raw, events=(0,))).steps
    assert step.words == "on raises TooSlowError"


def test_rows_of_one_statement_are_told_apart():
    rows = [[900, "ann"], [1100, "bob"]]
    data = {"store": "db", "verb": "update", "table": "wallets", "params": rows}
    [step] = tell(
        handwritten((1, "write", "pay#1", "pay.on/db", 1, 1, -1, data), events=(0,))
    ).steps
    assert step.detail == '900, "ann"; 1100, "bob"'
    data = data | {"params": ("o1", '{"order":"o1"}')}
    [step] = tell(
        handwritten((1, "write", "pay#1", "pay.on/db", 1, 1, -1, data), events=(0,))
    ).steps
    assert step.detail == '"o1", {"order":"o1"}', "JSON needs no second pair of quotation marks"


# ---- a fault and what it does to the code


def shop_with(handler):
    """Return a shop whose payments do as they are told, and charge."""
    shop = System("shop")
    bus = shop.add(RabbitMQ("mq", queues=["orders", "paid"]))
    bank = shop.add(Gateway("bank"))

    @shop.service("payments", replicas=2)
    def payments(env):
        gateway = env.client(bank)
        publish = env.publisher(bus)

        def on_order(order: Order):
            handler(order, gateway, publish)

        env.consume(bus, "orders", on_order)

    @shop.entry(examples=[Order("o1", 500)])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order.id)

    shop.claim(Property("p", lambda evidence: [Finding("it broke", (len(evidence.history) - 1,))]))
    return shop


def test_a_request_that_is_lost_or_late_is_one_arrow_and_not_also_one_that_arrives():
    def pay(order, gateway, publish):
        try:
            gateway.charge(order.id, order.cents)
        except TimeoutError:
            publish("paid", {"id": order.id, "paid": False}, key=order.id)

    shop = shop_with(pay)
    site = Site("payments.on_order/bank.charge")
    lost = tell(found(shop, LostRequest(site)))
    arrows = [step for step in lost.steps if step.target == "bank"]
    assert [(step.words, step.detail, step.tone) for step in arrows] == [
        ("the request is lost: bank.charge", "order=o1 cents=500", "lost")
    ]
    assert "does not raise: it goes on, and returns." in " ".join(lost.why)
    late = tell(found(shop, Delay(site, lasting="timeout")))
    arrows = [step for step in late.steps if step.target == "bank"]
    assert [(step.words.partition(",")[0], step.fault) for step in arrows] == [
        ("late: bank.charge", 1)
    ]
    told = [step.words for step in late.steps]
    assert "waits in vain: no answer to bank.charge (it has not happened yet)" in told
    assert "payments#1 gives up waiting; then bank does it after all." in late.why


def test_a_refusal_is_an_answer_and_not_a_lost_one():
    def pay(order, gateway, publish):
        gateway.charge(order.id, order.cents)

    shop = shop_with(pay)
    site = Site("payments.on_order/bank.charge")
    [step] = [one for one in tell(found(shop, ErrorReply(site))).steps if one.fault]
    assert (step.source, step.target, step.tone) == ("bank", "payments#1", "trouble")
    assert len(step.events) == 2, "the answer is told with the fault that made it"


def test_an_answer_of_somebody_else_is_told_by_itself():
    fault = LostReply(Site("pay.on/office.reserve", "after"))
    struck = (2, "fault", "pay#1", "pay.on/office.reserve", 1, 1, -1, {"fault": str(fault)})
    refused = {"outcome": "failed", "error": "Declined"}
    reply = (3, "reply", "pay#1", "pay.on/bank.charge", 1, 1, 0, refused)
    steps = tell(handwritten(struck, reply, faults=(fault,), events=(0, 1))).steps
    assert [step.kind for step in steps] == ["fault", "reply"]


def test_a_redelivery_from_a_queue_shows_both_deliveries_and_what_was_done_at_each():
    def pay(order, gateway, publish):
        gateway.charge(order.id, order.cents)

    shop = shop_with(pay)
    story = tell(found(shop, Redeliver(Site("mq.orders/deliver to payments", "after"))))
    told = [(step.source, step.target) for step in story.steps]
    assert told.count(("mq", "payments#1")) + told.count(("mq", "payments#2")) == 2
    assert [step.words for step in story.steps if step.kind == "effect"] == [
        "ledger 1: charge order=o1 cents=500",
        "ledger 2: charge order=o1 cents=500",
    ]
    assert [step.extra for step in story.steps if step.kind == "effect"] == [False, True]
    assert any("mq delivers o1 from orders again" in one for one in story.why)


def test_a_second_try_that_does_nothing_is_said_to_do_nothing():
    seen = set()

    def pay(order, gateway, publish):
        if order.id in seen:
            return
        seen.add(order.id)
        publish("paid", {"id": order.id}, key=order.id)

    shop = shop_with(pay)
    site = Site("payments.on_order/mq.publish paid")
    seen.clear()
    run = shop.run(None, Schedule([ErrorReply(site)]))
    again = [event for event in run.history.of("deliver") if event.data["times"] == 2]
    assert again
    one = handwritten(*run.history.raw, faults=run.schedule, minimal=True)
    story = tell(one)
    words = [step.words for step in story.steps]
    assert any(one.endswith("returns without having done anything") for one in words)
    assert "returns without having done anything." in " ".join(story.why)


def test_a_fault_after_all_that_is_found_is_spoken_of_where_it_is_needed():
    fault = Crash(Site("pay.on/bank.refund"))
    struck = (2, "fault", "pay#1", "pay.on/bank.refund", 1, 1, -1, {"fault": str(fault)})
    history = charge(1, -1), struck
    needed = tell(handwritten(*history, faults=(fault,), events=(0,), minimal=True))
    assert any("crashes before bank.refund" in one for one in needed.why)
    assert any(step.fault for step in needed.steps)
    assert not tell(handwritten(*history, faults=(fault,), events=(0,))).why


def test_messages_of_one_name_are_told_apart_by_what_they_say():
    def sent(at, value, cause=-1):
        data = {"broker": "mq", "topic": "replies", "key": "o1", "value": value}
        return (at, "publish", "stock#1", "stock.on/mq.publish replies", 1, at, cause, data)

    def handed(at, message):
        data = {"message": message, "to": "saga#1", "group": "replies", "times": 1}
        return (at, "deliver", "mq", "mq.replies/deliver to saga", 1, at, message, data)

    two = tell(handwritten(sent(1, b'{"a":1}'), handed(2, 0), sent(3, b'{"a":2}'), handed(4, 2),
                           events=(1, 3)))  # fmt: skip
    assert [step.detail for step in two.steps if step.kind == "deliver"] == ["a=1", "a=2"]
    same = tell(handwritten(sent(1, b'{"a":1}'), handed(2, 0), events=(1,)))
    assert [step.detail for step in same.steps if step.kind == "deliver"] == [""]


def test_a_copy_and_an_unreadable_message_are_called_so():
    data = {"broker": "mq", "topic": "orders", "key": "o1", "value": b"{}"}
    first = (1, "publish", "client", "client.place/mq.publish orders", 1, 1, -1, data)
    second = (*first[:6], 0, data)
    told = [step.words for step in tell(handwritten(first, second, events=(0, 1))).steps]
    assert told == ["publishes o1 to orders", "publishes o1 to orders (2nd copy)"]
    garbage = tell(
        found(small(), Poison(Site("client.place/bus.publish orders")), claim=never_stuck())
    )
    words = {step.words.partition(" again")[0] for step in garbage.steps if step.kind == "deliver"}
    assert words == {"delivers an unreadable message from orders"}


def test_what_reads_the_same_at_once_is_told_once():
    def taken(message):
        data = {"message": message, "from": "pay#1", "why": "timed out"}
        return (9, "nack", "mq", "", 1, 0, -1, data)

    sent = [(1, "publish", "client", f"client.place/mq.publish {n}", 1, n, -1,
             {"broker": "mq", "topic": "orders", "key": "o1"}) for n in (1, 2, 3)]  # fmt: skip
    story = tell(handwritten(*sent, taken(0), taken(1), taken(2), events=(3, 4, 5)))
    assert [step.words for step in story.steps if step.kind == "nack"] == [
        "takes back o1 from orders, given to pay#1: timed out (3 times)"
    ]


def loop_shop(work):
    """A shop whose payments are a loop: `work(env, consumer, delivery, charge)` for each."""
    shop = System("loop shop")
    queue = shop.add(RabbitMQ("mq", queues=["orders"]))
    bank = shop.add(Gateway("bank", timeout_ms=1_000))

    @shop.service("payments")
    def payments(env):
        consumer, client = env.consumer(queue, "orders", prefetch=2), env.client(bank)

        def loop():
            for delivery in consumer:
                work(env, consumer, delivery, client.charge)

        env.main(loop)

    @shop.entry(examples=[Order("o1", 500), Order("o2", 500)])
    def place(env, order):
        env.publisher(queue)("orders", order, key=order.id)

    shop.claim(never_charged_twice(bank))
    return shop


def test_who_gave_a_message_back_is_spoken_of():
    def work(env, consumer, delivery, charge):
        try:
            charge(delivery.value["id"], 5)
        except TimeoutError:
            consumer.nack(delivery)
        else:
            consumer.ack(delivery)

    fault = LostReply(Site("payments.loop/bank.charge", "after"))
    said = " ".join(tell(found(loop_shop(work), fault)).why)
    assert "mq delivers o1 from orders again, to payments, because payments gave it back." in said


def test_missed_heartbeats_are_spoken_of():
    def work(env, consumer, delivery, charge):
        charge(delivery.value["id"], 5)
        env.sleep(119)
        with suppress(ConnectionError):
            consumer.ack(delivery)

    fault = NetworkPartition(Site("mq.orders/deliver to payments", entity=2), lasting=140_000)
    said = " ".join(tell(found(loop_shop(work), fault)).why)
    assert "to payments, because the connection had missed its heartbeats." in said


# ---- what is told, and what is not


def test_of_the_least_important_the_middle_is_left_out():
    assert kept({1: 0, **dict.fromkeys(range(2, 12), 3)}, 5) == [1, 2, 3, 10, 11]


def test_what_must_be_told_is_told_and_the_rest_only_where_there_is_room():
    history = everything().history
    finding = everything().findings[0]
    ranks = ranked(history, finding)
    few = kept(ranks, 4)
    assert set(finding.events) <= set(few)
    assert few == sorted(few)
    assert set(few) < set(kept(ranks, 40))
    assert len(kept(dict.fromkeys(range(500), 0), 40)) == 40


def test_a_story_begins_with_the_message_that_everything_goes_back_to():
    one = second_mail()
    first = origin(one.history, list(one.findings[0].events))
    assert one.history[first].data["topic"] == "shipped"
    assert origin(one.history, []) == -1


def test_every_event_is_told_or_counted():
    """Nothing vanishes: an event is in a step, in a gap, or behind the scenes."""
    one = everything()
    story = tell(one)
    told = [index for step in story.steps for index in step.events]
    gaps = [index for part in story.parts if isinstance(part, Gap) for index in part.events]
    assert len(set(told)) == len(told)
    assert not set(told) & set(gaps)
    silent = {event.kind for event in one.history} & {"start", "rebalance", "phase", "state", "end"}
    for event in one.history:
        assert event.index in {*told, *gaps} or event.kind in silent


def test_every_kind_of_event_can_be_told_however_little_is_known_of_it():
    assert _TELLERS.keys() | {"poll", "state", "tables"} == KINDS.keys()
    for kind in KINDS:
        for data in ({}, {"message": 77, "to": "x#1", "error": "e", "why": "w", "x": 1}):
            raw = (1, kind, "pay#1", "pay.on/bank.charge", 1, 1, -1, data)
            if kind in ("deliver", "rebalance", "end"):  # these always say what they must
                continue
            assert tell(handwritten(raw, events=(0,))).parts or kind == "state"


@pytest.mark.parametrize(
    ("commands", "words"),
    [
        (["ScheduleActivityTask charge"], "decides: schedules activity charge"),
        (
            ["ScheduleActivityTask charge", "StartTimer 30s"],
            "decides: schedules activity charge, starts a timer of 30s",
        ),
        (["RequestCancelActivityTask charge"], "decides: asks for the end of activity charge"),
        (["CancelTimer"], "decides: cancels a timer"),
        (["StartChildWorkflowExecution Refund"], "decides: starts child workflow Refund"),
        (
            ["RecordMarker", "UpsertWorkflowSearchAttributes"],
            "decides: records which version of its code it runs",
        ),
        (["CompleteWorkflowExecution"], "decides: completes the workflow"),
        (["FailWorkflowExecution"], "decides: fails the workflow"),
        (["Unheard of"], "decides: Unheard of"),
        ([], "decides: nothing new, and waits"),
    ],
)
def test_what_a_workflow_decides_is_told_in_words(commands, words):
    place = "orders.OrderSaga/store decision"
    raw = (1, "decide", "orders#1", place, 1, 1, -1, {"commands": commands})
    history = History([raw])
    assert Narrator(history, Cast(history)).tell(history[0]).words == words


def test_every_command_that_the_model_of_temporal_knows_has_words():
    forms = pytest.importorskip("chaosharness.orchestrators.temporal.forms")
    text = Path(inspect.getfile(forms)).read_text()
    known = set(re.findall(r'yield "(\w+)"', text)) | {"RejectUpdate", "RecordLocalActivity"}
    assert {"ScheduleActivityTask", "StartTimer", "CompleteWorkflowExecution"} <= known
    assert known == decisions._WORDS.keys()


# ---- words for faults


@pytest.mark.parametrize("kind", FAULTS)
def test_every_fault_is_a_sentence_and_has_words_in_a_picture(kind):
    fault = kind(Site("payments.on_order/bank.charge", attempt=2))
    sentence = fault_in_words(fault, "item 1 (o1)")
    assert sentence.endswith(".")
    assert kind in (ClockSkew, *_without_item()) or "item 1 (o1)" in sentence
    assert sufferings(fault).words.strip() == sufferings(fault).words


def _without_item():
    return [kind for kind in FAULTS if kind.__name__ == "Redeploy"]


def test_faults_read_like_this():
    charged = Site("payments.on_order/bank.charge", "after", attempt=2)
    assert fault_in_words(Crash(charged, down="long"), "item 1 (o1)") == (
        "payments crashes after bank.charge (attempt 2) for item 1 (o1), "
        "and stays down until the calm."
    )
    poison = Poison(Site("client.place/bus.publish orders"), content="unknown-schema")
    assert fault_in_words(poison, "") == (
        "A message of an unknown schema is stored in orders just ahead of the message."
    )


def test_a_fault_that_found_no_site_is_said_to_have_found_none():
    unused = Crash(Site("payments.gone/bank.charge"))
    story = tell(attrs.evolve(double_charge(), schedule=Schedule([CRASH, unused])))
    assert [fault.struck for fault in story.faults] == [False, True]


# ---- lanes


def test_a_lane_is_a_replica_through_all_its_lives():
    assert lane_of("payments#2/3") == "payments#2"
    assert life_of("payments#2/3") == 3
    assert life_of("payments#2") == 1
    cast = Cast(everything().history)
    assert cast.name("payments#2/2") == "payments#2"
    assert cast.name("inventory#1") == "inventory", "there is one only"
    assert cast.peer("payments.on_order/payments-db.commit") == "payments-db"
    roles = {lane.name: lane.role for lane in cast.lanes.values()}
    assert roles["events"] == "broker"
    assert roles["stock"] == "store"
    assert roles["mailer"] == "third party"


def test_a_queue_that_a_library_calls_is_a_broker_all_the_same():
    published = (0, "publish", "client", "client.place/queues.publish", 1, 1, -1)
    deleted = (1, "call", "payments#1", "payments.main/queues.delete_message", 1, 1, 0, {})
    asked = (2, "call", "payments#1", "payments.main/bank.charge", 1, 1, 0, {})
    raws = [(*published, {"broker": "queues", "topic": "orders"}), deleted, asked]
    roles = {name: lane.role for name, lane in Cast(History(raws)).lanes.items()}
    assert (roles["queues"], roles["bank"]) == ("broker", "third party")


def test_lanes_can_be_put_in_order():
    one = attrs.evolve(double_charge(), lifelines=("bank", "bus"))
    assert tell(one).lane_names() == ("bank", "bus", "client", "payments#1", "payments#2")


# ---- ledger and state


def test_rows_that_differ_show_the_columns_that_differ():
    here = state("db", orders=[{"id": "o1", "status": "pending", "cents": 5}], log=[])
    there = state("db", orders=[{"id": "o1", "status": "paid", "cents": 5}], log=[{"id": 1}])
    [held] = tell(handwritten(here, events=(0,), passing=[there])).states
    assert held.found
    assert [(one.name, one.here, one.passing) for one in held.values] == [
        ("orders / o1", "status=pending", "status=paid"),
        ("log / 1", "", "id=1"),
    ]


def test_rows_with_the_same_first_column_stay_apart():
    rows = [{"id": "o1", "sku": "book"}, {"id": "o1", "sku": "lamp"}, {"id": "o1", "sku": "lamp"}]
    [held] = tell(handwritten(state("db", moves=rows))).states
    assert [one.name for one in held.values] == [
        "moves / o1",
        "moves / o1, lamp",
        "moves / o1, lamp (2)",
    ]


def test_a_row_that_is_there_twice_is_no_other_row():
    row = {"order": "o1", "cents": 500}
    here, there = state("db", invoices=[row, row]), state("db", invoices=[row])
    [held] = tell(handwritten(here, events=(0,), passing=[there])).states
    assert [(one.name, one.passing) for one in held.values] == [("invoices / o1 (2)", "")]


def test_what_a_ledger_lacks_and_what_it_has_too_much_of():
    refund = (3, "effect", "bank", "", 1, 1, -1, {"method": "refund", "order": "o1"})
    one = handwritten(
        charge(1, -1), charge(2, -1, number=2), events=(0, 1), passing=[charge(1, -1), refund]
    )
    [ledger] = tell(one).ledgers
    assert [entry.expected for entry in ledger.entries] == [True, False]
    assert ledger.missing == ("refund order=o1",)


def test_arguments_without_a_name_are_called_as_the_ledger_calls_them():
    def asked(arguments, **entry):
        call = (0, "call", "shop#1", "shop.on/hotel.book", 1, 1, -1, {})
        call = (*call[:7], {"method": "book", "arguments": arguments})
        done = (1, "effect", "hotel", "shop.on/hotel.book", 1, 1, 0, {"method": "book", **entry})
        return argument_names(History([call, done]))["hotel.book"]

    assert asked(["t1", 2], trip="t1", nights=2) == ("trip", "nights")
    assert asked(["a", "a"], of="a", to="a") == ("of", "to")
    assert asked(["t1", "k"], trip="t1", cents=5) == ("trip", "")
    assert asked(["[argument]"], trip="***") == ("",)


def test_a_queue_and_a_service_of_one_name_are_told_apart():
    tale = Tale()
    for topic in ("pay", "orders"):
        tale.handled(tale.deliver(tale.publish(topic)))
    history = tale.end()
    narrator = Narrator(history, Cast(history), (), lambda entity: f"o{entity}")
    told = [narrator.tell(event).words for event in history.of("publish", "deliver")]
    assert told == [
        "publishes o1 to bus.pay",
        "delivers o1 from bus.pay",
        "publishes o1 to orders",
        "delivers o1 from orders",
    ]
