"""Let go of, passed over, taken back: each condition has a history that lacks it alone."""

import pytest

from chaosharness.checkers import Finding
from chaosharness.reporting.story.causes.handed import (
    let_go,
    never_again,
    offset_passed,
    passed_over,
    taken_back,
)
from tests.reporting.story.tales import Tale, case, of_the_end, shown

LOST = Finding("never charged", (), 1, kind="effect lost", place="bank.charge")


def charged(*, item=1, group="pay"):
    """The run that passes: the message is handled, and the bank charges."""
    tale = Tale()
    given = tale.deliver(tale.publish(entity=item), group=group)
    call = tale.call("bank.charge", given)
    tale.effect(call)
    tale.ack(tale.handled(tale.reply(call)))
    return tale.end()


# ---- let go of


def dropped(*, item=1, poison=False, early=False, twice=False):
    tale = Tale()
    message = tale.publish(entity=item, value=b"\x00poison" if poison else None)
    given = tale.deliver(message)
    words = {"message": message, "queue": "pay", "reason": "max deliveries", "to": []}
    if early:
        tale.handled(given)
    else:
        tale.raised(given)
    tale.add("dead", "bus", "", message, **words)
    deeds = [asked_for(tale, tale.deliver(tale.publish())) for _ in range(2)] if twice else []
    return tale.end(), message, deeds


def asked_for(tale, cause):
    call = tale.call("bank.charge", cause)
    return tale.effect(call)


def test_a_message_that_was_let_go_of_is_told_by_what_the_run_that_passes_makes_of_it():
    history, message, _ = dropped()
    words = "bus let go of o1 from orders (max deliveries) after it had been handed out once"
    assert words in let_go(case(history, LOST, charged())).words
    assert words in let_go(case(history, shown("lost", [message]))).words


def test_what_nothing_is_missing_of_was_not_let_go_of():
    history, _, _ = dropped()
    assert let_go(case(history, LOST, charged(group="else"))) is None
    mail = Finding("never sent", (), 1, kind="effect lost", place="mail.send")
    assert let_go(case(history, mail, charged())) is None


def test_what_is_of_another_item_or_was_handled_before_was_not_let_go_of():
    history, message, _ = dropped(item=2)
    assert let_go(case(history, Finding("lost", (len(history) - 1,), 1), charged(item=2))) is None
    history, message, _ = dropped(early=True)
    assert let_go(case(history, shown("lost", [message]))) is None


def test_what_was_done_too_often_was_not_let_go_of():
    history, message, deeds = dropped(twice=True)
    assert let_go(case(history, shown("twice", [message, *deeds]))) is None


# ---- passed over


def loop(
    *,
    handler=False,
    acks="after",
    raises=False,
    who="pay#1",
    again="",
    out="failed",
    item=1,
    before=False,
):
    """A main loop is refused something, and commits."""
    tale = Tale()
    message = tale.publish(entity=item)
    if before:
        tale.handled(tale.deliver(message))
    given = tale.deliver(message, times=1 + before)
    call = tale.call("bank.charge", given, who=who)
    if acks == "before":
        tale.ack(given)
    last = tale.add("reply", who, f"{who.partition('#')[0]}.on/bank.charge", call, outcome=out)
    if again:
        tale.reply(tale.call("bank.charge", last, attempt=2), again)
    if raises:
        tale.raised(last)
    if handler:
        tale.handled(last)
    if acks == "after":
        tale.ack(last)
    return tale.end()


@pytest.mark.parametrize(("out", "how"), [("failed", "was refused"), ("unknown", "got no answer")])
def test_a_loop_that_commits_past_what_failed_is_told(out, how):
    found = passed_over(case(loop(out=out), LOST, charged()))
    assert found.words.startswith(f"pay.on {how}")
    assert "for o1 from orders, and acknowledged it all the same" in found.words


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"handler": True}, id="a handler was told"),
        pytest.param({"acks": ""}, id="it was not acknowledged"),
        pytest.param({"acks": "before"}, id="it was acknowledged before"),
        pytest.param({"raises": True}, id="it raised"),
        pytest.param({"who": "other#1"}, id="another service was refused"),
        pytest.param({"again": "ok"}, id="it asked again"),
        pytest.param({"before": True}, id="it had been handled before"),
        pytest.param({"out": "ok"}, id="nothing failed"),
    ],
)
def test_a_loop_that_stays_or_asks_again_is_not_told(near):
    assert passed_over(case(loop(**near), LOST, charged())) is None


def test_what_failed_again_did_not_come_right_and_another_item_is_not_told():
    assert passed_over(case(loop(again="failed"), LOST, charged())).kind == "refused"
    assert passed_over(case(loop(item=2), LOST, charged(item=2))) is None


def test_what_failed_and_is_not_missed_was_not_passed_over():
    mail = Finding("never sent", (), 1, kind="effect lost", place="mail.send")
    assert passed_over(case(loop(), mail, charged())) is None
    assert passed_over(case(loop(), LOST)) is None


def test_what_another_service_was_refused_for_a_message_was_not_passed_over_by_its_loop():
    usual = Tale()
    given = usual.deliver(usual.publish())
    usual.effect(usual.call("bank.charge", given, who="other#1"))
    usual.ack(given)
    assert passed_over(case(loop(who="other#1"), LOST, usual.end())) is None


# ---- an offset that speaks for what was not done


def batch(*, swapped=False, before=False, queue=False):
    """Two records are fetched, and one is acknowledged; the finding is about the other."""
    tale = Tale()
    one, two = tale.publish(), tale.publish(key="o2")
    if queue:
        for message in (one, two):
            tale.raw[message][7]["queues"] = ["pay"]
    mine, done = (two, one) if swapped else (one, two)
    if before:  # the later one was acknowledged before the earlier one was handed out
        tale.ack(tale.deliver(done))
        given = tale.deliver(mine)
    else:
        given = tale.deliver(mine)
        tale.ack(tale.deliver(done))
    return case(tale.end(), shown("acknowledged, never done", [given]))


def test_an_offset_beyond_a_message_is_told():
    assert offset_passed(batch()).kind == "ack"


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"swapped": True}, id="the offset is an earlier one"),
        pytest.param({"before": True}, id="it was committed before it was handed out"),
        pytest.param({"queue": True}, id="a queue has no offsets"),
    ],
)
def test_an_offset_before_a_message_or_an_acknowledgement_of_a_queue_is_not_told(near):
    assert offset_passed(batch(**near)) is None


# ---- taken back, each time


def taken(*, broker="bus", who="pay#1", late=False, of=0, cut="handed out too often", done=True):
    """A broker takes a message back while it is being handled, three times."""
    tale = Tale()
    first, other = tale.publish(), tale.publish(key="o2")
    for attempt in (1, 2, 3):
        given = tale.deliver(first, times=attempt)
        words = {"message": (first, other)[of], "why": "lease over", "from": who}
        if late and done:
            tale.handled(given)
        tale.add("nack", broker, "", first, **words)
        if done and not late:
            tale.handled(given)
    return tale.end(cut), first


@pytest.mark.parametrize("points", [True, False])
def test_work_that_takes_longer_than_it_may_is_told(points):
    history, _ = taken()
    given = [event.index for event in history.of("deliver")]
    finding = shown("stuck", given[:1]) if points else of_the_end(history)
    assert taken_back(case(history, finding)).kind == "lease"


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"broker": "pay#1"}, id="it gave it back itself"),
        pytest.param({"who": "pay#2"}, id="it was taken from another"),
        pytest.param({"of": 1}, id="another message was taken back"),
        pytest.param({"late": True}, id="it was done by then"),
        pytest.param({"done": False}, id="it was never done"),
        pytest.param({"cut": ""}, id="the run came to rest"),
    ],
)
def test_work_that_was_in_time_or_that_ended_is_not_told(near):
    history, _ = taken(**near)
    assert taken_back(case(history, of_the_end(history))) is None


def test_the_message_that_kept_a_run_going_is_the_one_that_came_most_often():
    history, _ = taken()
    raw = list(history.raw)
    tale = Tale()
    tale.raw = raw[:-2]
    often = tale.publish(key="o9")
    for attempt in range(1, 6):
        tale.raised(tale.deliver(often, times=attempt))
    history = tale.end("handed out too often")
    assert taken_back(case(history, of_the_end(history))) is None


# ---- pending, and acknowledged by the broker


def left(*, by_broker=False, before=False, twice=False, whose="bus", other=0):
    """A message of a queue is handed out once; its handler raises, and it stays there."""
    tale = Tale()
    message = tale.publish(queues=["pay"])
    if before:
        tale.add("ack", "bus", "", message, message=message)
    given = tale.deliver(message)
    if by_broker:
        tale.add("ack", whose, "", message, message=message + other)
    tale.raised(given)
    deeds = [asked_for(tale, tale.deliver(tale.publish())) for _ in range(2)] if twice else []
    return tale.end(), given, deeds


@pytest.mark.parametrize(
    ("made", "kind", "words"),
    [
        ({}, "pending", "Nobody acknowledged it, and nobody takes it up: it stays pending."),
        ({"before": True}, "pending", "it stays pending."),
        ({"by_broker": True, "whose": "pay#2"}, "pending", "it stays pending."),
        ({"by_broker": True, "other": -1}, "pending", "it stays pending."),
        ({"by_broker": True}, "ack", "bus counted it as acknowledged when it handed it out"),
    ],
)
def test_what_stays_pending_and_what_a_broker_counted_as_done_are_told_apart(made, kind, words):
    history, given, _ = left(**made)
    for found in (case(history, shown("lost", [given])), case(history, LOST, charged())):
        assert never_again(found).kind == kind
        assert words in never_again(found).words


def test_what_was_done_too_often_is_not_pending():
    history, given, deeds = left(twice=True)
    assert never_again(case(history, shown("twice", [given, *deeds]))) is None


def test_what_nothing_is_missing_of_is_not_pending():
    history, _, _ = left()
    assert never_again(case(history, LOST, charged(group="else"))) is None
