"""What becomes of messages: histories by hand, and the exact findings."""

import pytest

from chaosharness.brokers.message import POISON
from chaosharness.checkers import (
    Finding,
    messages,
    never_stuck,
    no_event_cycle,
    nothing_acknowledged_lost,
    order_per_key,
    poison_blocks_nobody,
    unhandled_exceptions_block_nobody,
)
from chaosharness.checkers.reading import Reading
from chaosharness.faults import LostRequest, Poison
from chaosharness.kernel.history import History
from chaosharness.kernel.site import Site
from chaosharness.schedule import Schedule
from tests.checkers.rights import own_loop
from tests.checkers.tales import Tale, is_tested, judge

LOST = nothing_acknowledged_lost()


def read_by(*groups: str, topic: str = "orders") -> Tale:
    tale = Tale()
    for group in groups:
        tale.reader(group, topic)
    return tale


# ---- lost messages


def test_a_message_that_every_group_handled_is_not_lost():
    tale = read_by("payments", "mail")
    message = tale.publish("orders")
    tale.handle(message, "payments")
    tale.handle(message, "mail")
    assert judge(LOST, tale.end()) == []
    assert is_tested(LOST, tale)


def test_a_message_acknowledged_before_it_was_handled_is_lost():
    calm = read_by("payments")
    calm.handle(calm.publish("orders"), "payments")
    tale = read_by("payments")
    message = tale.publish("orders")
    delivery = tale.deliver(message, "payments")
    ack = tale.ack(delivery, message)
    crash = tale.then("crash", ack)
    assert judge(LOST, tale.end(), calm.end()) == [
        Finding(
            "the 'orders' message for o1 was acknowledged before it was handled, and never "
            "handled by payments",
            (message, delivery, ack, crash),
            1,
            {"topic": "orders", "key": "o1", "group": "payments", "deliveries": 1},
        )
    ]


def test_it_is_no_loss_when_the_message_comes_again_and_is_handled():
    tale = read_by("payments")
    message = tale.publish("orders")
    tale.then("crash", tale.deliver(message, "payments"))
    tale.handle(message, "payments", to="payments#1/2")
    assert judge(LOST, tale.end()) == []


def test_a_message_skipped_after_an_error_is_lost():
    tale = read_by("payments")
    message = tale.publish("orders", None)
    raised = tale.fail(tale.deliver(message, "payments"), "KeyError: 'sku'")
    tale.ack(raised, message)
    [finding] = judge(LOST, tale.end())
    assert finding.summary == (
        "the 'orders' message of item 1 was acknowledged although its handler raised "
        "KeyError: 'sku', and never handled by payments"
    )


def test_a_dead_letter_is_not_lost():
    tale = read_by("payments")
    message = tale.publish("orders")
    raised = tale.fail(tale.deliver(message, "payments"), "KeyError: 'sku'")
    dead = tale.then("dead", raised, message=message, to="orders.DLT", error="KeyError")
    tale.ack(dead, message)
    assert judge(LOST, tale.end()) == []


def test_a_message_that_one_group_never_got_is_lost_to_that_group():
    tale = read_by("payments", "mail")
    message = tale.publish("orders")
    tale.handle(message, "payments")
    [finding] = judge(LOST, tale.end())
    assert finding.summary == "the 'orders' message for o1 was never delivered to mail"
    assert judge(nothing_acknowledged_lost(ignore=["mail"]), tale) == []
    assert judge(nothing_acknowledged_lost(ignore="orders"), tale) == []


def test_a_message_that_nobody_reads_cannot_be_lost():
    tale = read_by("payments")
    tale.publish("elsewhere")
    assert judge(LOST, tale.end()) == []
    assert not is_tested(LOST, tale)


def test_while_the_run_goes_on_only_what_was_acknowledged_is_lost():
    tale = read_by("payments")
    late = tale.publish("orders", "o1")
    tale.deliver(late, "payments")
    tale.publish("orders", "o2")
    assert judge(LOST, tale.end("budget", "too many events")) == []
    assert not is_tested(LOST, tale)


def test_poison_is_nobodys_loss():
    tale = read_by("payments")
    message = tale.publish("orders", None, value=POISON["garbage"])
    raised = tale.fail(tale.deliver(message, "payments"), "DecodeError: no JSON")
    tale.ack(raised, message)
    assert judge(LOST, tale.end()) == []


def test_a_history_from_a_file_reads_the_same():
    tale = read_by("payments")
    tale.publish("orders", None, value=POISON["garbage"])
    tale.publish("orders", "o1")
    again = History.from_json(tale.end().to_json())
    [finding] = judge(LOST, again)
    assert finding == judge(LOST, tale)[0]


def loop(tale: Tale, message: int, *, commit_first: bool, crash: bool) -> int:
    """Tell what a main loop does with a message: it says nowhere that it has handled it."""
    at = tale.deliver(message, "payments")
    if commit_first:
        at = tale.ack(at, message)
    if crash:
        return tale.then("crash", at)
    at = tale.then("call", at, "payments.main/bank.charge")
    at = tale.then("reply", at, "payments.main/bank.charge", outcome="ok")
    return at if commit_first else tale.ack(at, message)


def test_a_main_loop_that_commits_first_and_crashes_loses_the_message():
    calm = read_by("payments")
    loop(calm, calm.publish("orders"), commit_first=True, crash=False)
    tale = read_by("payments")
    loop(tale, tale.publish("orders"), commit_first=True, crash=True)
    assert judge(LOST, calm.end(), calm) == []
    [finding] = judge(LOST, tale.end(), calm)
    assert finding.summary == (
        "the 'orders' message for o1 was acknowledged before it was processed "
        "(payments.main/bank.charge never happened) by payments"
    )


def test_a_main_loop_that_commits_last_and_crashes_then_has_lost_nothing():
    calm = read_by("payments")
    loop(calm, calm.publish("orders"), commit_first=False, crash=False)
    tale = read_by("payments")
    tale.then("crash", loop(tale, tale.publish("orders"), commit_first=False, crash=False))
    assert judge(LOST, tale.end(), calm.end()) == []


def test_a_commit_of_everything_polled_loses_what_was_not_begun():
    calm = read_by("payments")
    first, second = calm.publish("orders", "o1"), calm.publish("orders", "o2", entity=2)
    for message in (first, second):
        loop(calm, message, commit_first=True, crash=False)
    tale = read_by("payments")
    first, second = tale.publish("orders", "o1"), tale.publish("orders", "o2", entity=2)
    one = tale.deliver(first, "payments")
    tale.deliver(second, "payments")
    at = tale.ack(one, None)
    at = tale.then("call", at, "payments.main/bank.charge")
    tale.then("crash", at)
    [finding] = judge(LOST, tale.end(), calm.end())
    assert finding.summary.startswith("the 'orders' message for o2 was acknowledged before")


def two_in_hand(*, works: int) -> Tale:
    """Tell of a loop with two messages in hand, which works in the name of the second."""
    tale = read_by("payments")
    first, second = tale.publish("orders", "o1"), tale.publish("orders", "o2", entity=2)
    one, at = tale.deliver(first, "payments"), tale.deliver(second, "payments")
    for _ in range(works):
        at = tale.then("call", at, "payments.main/bank.charge")
    tale.then("ack", at, "payments.main/bus.commit", message=first)
    tale.then("crash", one)
    return tale


def test_work_done_in_the_name_of_another_message_in_hand_counts():
    calm = read_by("payments")
    for message in (calm.publish("orders", "o1"), calm.publish("orders", "o2", entity=2)):
        loop(calm, message, commit_first=False, crash=False)
    assert judge(LOST, two_in_hand(works=1).end(), calm.end()) == []
    [finding] = judge(LOST, two_in_hand(works=0).end(), calm)
    assert finding.summary.startswith("the 'orders' message for o1 was acknowledged before")


# ---- queues


def queued(*queues: str) -> tuple[Tale, int]:
    tale = Tale()
    return tale, tale.publish("orders", queues=list(queues))


def test_a_message_acknowledged_by_the_broker_and_never_handled_is_lost():
    calm, message = queued("orders")
    calm.handle(message, "orders", to="payments#1")
    tale, message = queued("orders")
    delivery = tale.deliver(message, "orders", to="payments#1")
    tale.add("ack", "bus", cause=delivery, message=message, automatic=True)
    tale.then("crash", delivery)
    [finding] = judge(LOST, tale.end(), calm.end())
    assert finding.summary == (
        "the 'orders' message for o1 was acknowledged before it was handled, and never handled "
        "by orders"
    )


@pytest.mark.parametrize(("to", "lost"), [([], 1), (["parked"], 0)])
def test_a_message_that_its_queue_dropped_is_lost_unless_it_was_put_aside(to, lost):
    tale, message = queued("orders")
    tale.fail(tale.deliver(message, "orders", to="payments#1"), "KeyError: 'sku'")
    words = {"queue": "orders", "reason": "rejected", "to": to}
    tale.add("dead", "bus", cause=message, message=message, **words)
    found = judge(LOST, tale.end())
    assert len(found) == lost
    if lost:
        assert found[0].summary == (
            "the 'orders' message for o1 was dropped (rejected), with nowhere to put it, by orders"
        )


def test_a_queue_that_nobody_reads_is_where_messages_are_put_aside():
    tale, message = queued("orders", "parked")
    tale.handle(message, "orders", to="payments#1")
    assert judge(LOST, tale.end()) == []


def test_a_queue_that_is_read_in_the_calm_run_only_is_read():
    calm, message = queued("orders")
    calm.handle(message, "orders", to="payments#1")
    tale, message = queued("orders")
    [finding] = judge(LOST, tale.end(), calm.end())
    assert finding.summary == "the 'orders' message for o1 was never delivered to orders"


def test_in_a_queue_a_later_acknowledgement_says_nothing_of_an_earlier_message():
    tale, first = queued("orders")
    second = tale.publish("orders", "o2", queues=["orders"])
    tale.deliver(first, "orders", to="payments#1")
    tale.handle(second, "orders", to="payments#2")
    [finding] = judge(LOST, tale.end())
    assert "neither handled nor dead-lettered" in finding.summary


# ---- poison


def poisoned(*, blocked: bool, quiet: bool = True) -> Tale:
    tale = read_by("payments")
    poison = tale.publish("orders", None, value=POISON["garbage"], entity=0)
    message = tale.publish("orders", "o1")
    tale.publish("orders", "o2", entity=2)
    raised = tale.fail(tale.deliver(poison, "payments"), "DecodeError")
    if blocked:
        tale.fail(tale.deliver(poison, "payments"), "DecodeError")
    else:
        tale.then("dead", raised, message=poison, to="orders.DLT")
        tale.handle(message, "payments")
        tale.handle(message + 1, "payments")
    tale.end() if quiet else tale.end("budget", "handed out too often")
    return tale


@pytest.mark.parametrize("quiet", [True, False])
def test_messages_behind_poison_are_found(quiet):
    assert judge(poison_blocks_nobody(), poisoned(blocked=True, quiet=quiet)) == [
        Finding(
            "a message on 'orders' that payments could not read, given 2 times, is in the way "
            "for ever: 2 behind it",
            (1, 2, 3, 4, 5, 7),
            1,
            {
                "group": "payments",
                "topic": "orders",
                "error": "DecodeError",
                "given": 2,
                "behind": 2,
            },
        )
    ]
    assert judge(poison_blocks_nobody(ignore="payments"), poisoned(blocked=True)) == []


def test_what_waits_behind_poison_is_blocked_and_not_lost():
    assert judge(LOST, poisoned(blocked=True)) == []


def test_poison_that_is_put_aside_blocks_nobody_for_long():
    tale = poisoned(blocked=False)
    assert judge(poison_blocks_nobody(), tale) == []
    assert judge(poison_blocks_nobody(tries_max=1), tale) == []
    [finding] = judge(poison_blocks_nobody(tries_max=0), tale)
    assert finding.summary.endswith("is in the way for more than 0 tries: 2 behind it")
    assert is_tested(poison_blocks_nobody(), tale)
    assert not is_tested(poison_blocks_nobody(), read_by("payments"))


def test_poison_in_nobodys_way_is_found_only_while_the_run_goes_on():
    tale = read_by("payments")
    poison = tale.publish("orders", None, value=POISON["garbage"])
    tale.deliver(poison, "payments")
    assert judge(poison_blocks_nobody(), tale.end()) == []


def test_a_loop_that_passed_poison_and_lost_its_last_commit_keeps_nobody_waiting():
    system = own_loop()
    poison = Poison(Site("client.place/bus.publish orders", entity=3))
    lost = LostRequest(Site("payments.main/bus.commit", entity=3))
    run = system.run(None, Schedule([poison, lost]))
    assert not run.unused
    run.check(poison_blocks_nobody())


def test_a_loop_that_ended_at_poison_has_handled_nothing_of_the_batch():
    calm = read_by("payments")
    calm.then("write", calm.deliver(calm.publish("orders", "o1"), "payments"), "payments.main/db")
    tale = read_by("payments")
    poison = tale.publish("orders", None, value=POISON["garbage"])
    message = tale.publish("orders", "o1")
    tale.deliver(poison, "payments")
    given = tale.deliver(message, "payments")
    [finding] = judge(poison_blocks_nobody(), tale.end(), calm.end())
    assert finding.summary.endswith("is in the way for ever: 1 behind it")
    tale.raw.pop()
    tale.then("write", given, "payments.main/db")
    assert judge(poison_blocks_nobody(), tale.end(), calm) == []


def test_a_later_offset_speaks_for_poison_that_a_loop_left_out():
    tale = read_by("payments")
    poison = tale.publish("orders", None, value=POISON["garbage"])
    message = tale.publish("orders", "o1")
    tale.then("raised", tale.deliver(poison, "payments"), "payments.main/bus.poll", error="no")
    given = tale.deliver(message, "payments")
    acked = tale.then("ack", given, "payments.main/bus.commit", message=message)
    tale.then("crash", acked)
    assert judge(poison_blocks_nobody(), tale.end()) == []


def test_a_loop_that_died_of_poison_has_not_passed_it():
    tale = read_by("payments")
    poison = tale.publish("orders", None, value=POISON["garbage"])
    message = tale.publish("orders", "o1")
    given = tale.deliver(poison, "payments")
    tale.deliver(message, "payments")
    tale.then("crash", given)
    [finding] = judge(poison_blocks_nobody(), tale.end())
    assert finding.summary.endswith("is in the way for ever: 1 behind it")


@pytest.mark.parametrize(("tries", "found"), [(1, 0), (2, 0), (3, 1)])
def test_poison_in_nobodys_way_is_to_blame_only_where_it_is_tried_again_and_again(tries, found):
    tale = read_by("payments")
    poison = tale.publish("orders", None, value=POISON["garbage"])
    for _ in range(tries):
        tale.fail(tale.deliver(poison, "payments"), "DecodeError")
    assert len(judge(poison_blocks_nobody(), tale.end("budget", "something else"))) == found


def test_poison_that_a_main_loop_rejects_blocks_nobody():
    tale, message = queued("orders")
    poison = tale.publish("orders", None, value=POISON["garbage"], queues=["orders"], entity=0)
    later = tale.publish("orders", "o2", queues=["orders"], entity=2)
    delivery = tale.deliver(poison, "orders", to="payments#1")
    nack = tale.then("nack", delivery, "payments.main/bus.nack", message=poison, requeue=False)
    for other in (message, later):
        tale.ack(tale.deliver(other, "orders", to="payments#1"), other)
    unsettled = tale.raw.copy()
    tale.then("dead", nack, actor="bus", message=poison, queue="orders", reason="rejected", to=[])
    assert judge(poison_blocks_nobody(), tale.end()) == []
    tale.raw = unsettled  # and one that stays in its hand is in nobody's way
    assert judge(poison_blocks_nobody(), tale.end()) == []


# ---- a handler that raises for ever


def raising(times: int, *, verdict: str = "budget", end: str = "") -> Tale:
    tale = read_by("payments")
    message = tale.publish("orders", "o1")
    tale.publish("orders", "o2", entity=2)
    raised = -1
    for _ in range(times):
        delivery = tale.deliver(message, "payments")
        raised = tale.fail(delivery, "ZeroDivisionError: division by zero")
    if end == "dead":
        raised = tale.then("dead", raised, message=message, to="orders.DLT")
    if end:
        tale.ack(raised, message)
        tale.handle(message + 1, "payments")
    tale.end(verdict, "" if verdict == "quiet" else "handed out too often")
    return tale


def test_a_handler_that_raises_for_ever_is_found():
    assert judge(unhandled_exceptions_block_nobody(), raising(4)) == [
        Finding(
            "payments raised ZeroDivisionError: division by zero 4 times at the 'orders' message "
            "for o1, which is in the way for ever: 1 behind it",
            (1, 2, 3, 4, 10),
            1,
            {
                "group": "payments",
                "topic": "orders",
                "error": "ZeroDivisionError: division by zero",
                "given": 4,
                "behind": 1,
            },
        )
    ]


@pytest.mark.parametrize("end", ["dead", "skipped"])
def test_a_handler_that_raised_and_gave_up_blocks_only_so_long(end):
    tale = raising(4, verdict="quiet", end=end)
    assert judge(unhandled_exceptions_block_nobody(), tale) == []
    assert judge(unhandled_exceptions_block_nobody(tries_max=4), tale) == []
    assert len(judge(unhandled_exceptions_block_nobody(tries_max=3), tale)) == 1


@pytest.mark.parametrize("tale", [raising(2), poisoned(blocked=True)])
def test_few_exceptions_and_poison_are_not_its_business(tale):
    assert judge(unhandled_exceptions_block_nobody(), tale) == []


def test_an_exception_puts_it_to_the_test():
    assert is_tested(unhandled_exceptions_block_nobody(), raising(1))
    assert not is_tested(unhandled_exceptions_block_nobody(), raising(0))


# ---- order


def test_messages_of_one_key_handled_in_order_are_right():
    tale = Tale()
    first, second = tale.publish("orders"), tale.publish("orders")
    tale.handle(first, "payments")
    tale.handle(second, "payments")
    tale.handle(first, "payments")  # a redelivery, after it was handled
    assert judge(order_per_key(), tale) == []
    assert is_tested(order_per_key("orders"), tale)


def test_a_message_handled_before_an_earlier_one_of_its_key_is_found():
    tale = Tale()
    first, second = tale.publish("orders"), tale.publish("orders")
    tale.fail(tale.deliver(first, "payments"), "TimeoutError: no answer")
    _, early, _ = tale.handle(second, "payments")
    _, late, _ = tale.handle(first, "payments")
    assert judge(order_per_key(), tale) == [
        Finding(
            "payments handled the 'orders' message for o1 that was published later before the one "
            "that was published first",
            (first, second, early, late),
            1,
            {"group": "payments", "key": "o1", "topic": "orders"},
        )
    ]
    assert judge(order_per_key("elsewhere"), tale) == []


def test_messages_acknowledged_at_once_are_in_order():
    tale = Tale()
    messages = [tale.publish("orders"), tale.publish("orders")]
    deliveries = [tale.deliver(message, "payments") for message in messages]
    tale.ack(deliveries[-1], None)
    assert judge(order_per_key(), tale) == []


def test_keys_groups_and_messages_without_a_key_have_no_order():
    tale = Tale()
    first, second = tale.publish("orders", "o1"), tale.publish("orders", "o2")
    third, fourth = tale.publish("orders", None), tale.publish("orders", None)
    for message in (fourth, third, second, first):
        tale.handle(message, "payments")
    assert judge(order_per_key(), tale) == []
    assert not is_tested(order_per_key(), tale)


def test_topics_named_together_are_one_order():
    tale = Tale()
    first, second = tale.publish("orders"), tale.publish("orders.retry")
    tale.handle(second, "payments")
    tale.handle(first, "payments")
    assert judge(order_per_key(), tale) == []
    assert len(judge(order_per_key(["orders", "orders.retry"]), tale)) == 1


# ---- cycles and standstill


def circle(turns: int) -> Tale:
    tale = Tale()
    cause = -1
    for _ in range(turns):
        cause = tale.deliver(tale.publish("ping", by="a.on_pong", cause=cause), "b")
        cause = tale.deliver(tale.publish("pong", by="b.on_ping", cause=cause), "a")
    return tale


def test_a_loop_that_publishes_again_and_again_is_no_circle():
    tale = Tale()
    cause = -1
    for _ in range(20):  # the relay of an outbox, which fails to write down that it published
        cause = tale.publish("orders", by="orders.relay", cause=cause)
    assert judge(no_event_cycle(), tale) == []


def test_events_that_go_in_a_circle_are_found():
    [finding] = judge(no_event_cycle(turns_max=2), circle(3))
    assert finding.summary == "events go in a circle: ping → pong → ping, 3 times round so far"
    assert finding.events == (4, 8)


def test_a_few_turns_are_no_circle():
    assert judge(no_event_cycle(), circle(10)) == []
    assert len(judge(no_event_cycle(), circle(11))) == 1
    assert is_tested(no_event_cycle(), circle(1))
    assert not is_tested(no_event_cycle(), Tale())


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("stuck", "the system is stuck: orders.main waits"),
        ("budget", "the system never came to rest: orders.main waits"),
        ("spinning", "the system spins: orders.main waits"),
    ],
)
def test_a_run_that_does_not_come_to_rest_is_found(verdict, words):
    tale = Tale()
    tale.end(verdict, "orders.main waits")
    data = {"verdict": verdict, "reason": "orders.main waits"}
    assert judge(never_stuck(), tale) == [Finding(words, (0,), 0, data)]


def test_a_quiet_run_is_not_stuck():
    assert judge(never_stuck(), Tale().end()) == []


def test_a_history_is_read_only_where_something_raised_or_is_poison(monkeypatch):
    read = []
    monkeypatch.setattr(messages, "read", lambda history: read.append(history) or Reading(history))
    claims = (unhandled_exceptions_block_nobody(), poison_blocks_nobody())

    def readings(tale: Tale) -> list[bool]:
        history, found = tale.end(), []
        for claim in claims:
            read.clear()
            tested = is_tested(claim, history)
            assert tested == bool(read)
            found.append(tested)
        return found

    calm, fails, poisoned = read_by("mail"), read_by("mail"), read_by("mail")
    calm.handle(calm.publish("orders"), "mail")
    assert readings(calm) == [False, False]
    fails.fail(fails.deliver(fails.publish("orders"), "mail"), "ValueError: no")
    assert readings(fails) == [True, False]
    poisoned.deliver(poisoned.publish("orders", value=POISON["garbage"]), "mail")
    assert readings(poisoned) == [False, True]
