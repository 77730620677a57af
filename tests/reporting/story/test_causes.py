"""Causes, on histories written by hand: what is said, and what is not guessed.

Beside each true case stand its near misses: the shape is there, and it is not why this was found.
"""

import pytest

from chaosharness.checkers import Finding
from chaosharness.kernel.history import History
from tests.reporting.story.tales import Tale, cause, kind, of_the_end, shown


def test_a_history_that_shows_no_pattern_has_no_cause():
    history = Tale().end(rows=[])
    assert cause(history, of_the_end(history)) is None
    assert cause(History([]), Finding("nothing")) is None


# ---- circles, and the order of undoing


def circle(*, found):
    tale = Tale()
    last = -1
    for _ in range(3):
        last = tale.publish("ours", cause=tale.deliver(tale.publish("theirs", cause=last)))
    aside = tale.effect(tale.call("bank.charge", tale.deliver(tale.publish("orders"))))
    inside = tale.effect(tale.call("bank.charge", tale.deliver(last)))
    history = tale.end("an event cycle: theirs → ours → theirs, 100 messages in a row")
    at = {"inside": inside, "aside": aside, "end": len(history) - 2}[found]
    return history, shown("too much", [at])


@pytest.mark.parametrize(("found", "told"), [("inside", "cycle"), ("end", "cycle"), ("aside", "")])
def test_a_circle_is_the_cause_of_what_came_of_it(found, told):
    assert kind(*circle(found=found)) == told


def undone(*, methods=("book", "book", "cancel", "cancel"), items=(1, 1, 1, 1), order=(0, 1, 2, 3)):
    tale = Tale()
    got = tale.deliver(tale.publish())
    parties = ("airline", "hotel", "airline", "hotel")
    deeds = [
        tale.effect(tale.call(f"{party}.{method}", got, entity=item))
        for party, method, item in zip(parties, methods, items, strict=True)
    ]
    return tale.end(), shown("undone, and not in reverse order", [deeds[at] for at in order])


def test_two_deeds_undone_in_the_order_of_doing_are_told():
    assert kind(*undone()) == "reverse"


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"methods": ("book", "book", "book", "book")}, id="done twice"),
        pytest.param({"items": (1, 2, 1, 2)}, id="of two items"),
        pytest.param({"order": (2, 3, 0, 1)}, id="undone before it was done"),
    ],
)
def test_four_deeds_that_are_no_undoing_are_not_told_as_one(near):
    assert kind(*undone(**near)) != "reverse"


# ---- the same asked for twice


def twice(*, key="k", keys=None, items=(1, 1), between="", fields=({}, {})):
    tale = Tale()
    message = tale.publish()
    deeds = []
    for times, item in enumerate(items, 1):
        got = tale.deliver(message, times=times)
        call = tale.call("bank.charge", got, entity=item, attempt=times)
        data = {"key": keys[times - 1] if keys else key} if key else {}
        deeds.append(tale.effect(call, order="o1", **data, **fields[times - 1]))
        tale.reply(call)
        if between and times == 1:
            back = tale.call(f"bank.{between}", got)
            deeds.append(tale.effect(back, order="o1", **data))
            tale.reply(back)
        tale.handled(got)
    return tale.end(), shown("too much", deeds)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"keys": (None, None)}, "no request carries an idempotency key"),
        ({"keys": ("a", "b")}, "with another idempotency key each time (a and b)"),
        ({}, "under one idempotency key (k)"),
        ({"key": ""}, "nothing in it tells bank that it is the same"),
        (
            {"key": "", "fields": ({"message_id": 1}, {"message_id": 2})},
            "with another message_id each time",
        ),
        (
            {"key": "", "fields": ({"sent_at": 1}, {"sent_at": 2})},
            "only sent_at differs: nothing in it names the request",
        ),
    ],
)
def test_why_a_repetition_was_not_noticed_is_told(how, told):
    assert told in cause(*twice(**how)).words


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"items": (1, 2)}, id="one seat, asked for by two items"),
        pytest.param({"between": "refund", "keys": ("a", "a")}, id="undone, and asked for anew"),
    ],
)
def test_two_deeds_that_are_no_repetition_are_not_told_as_one(near):
    assert cause(*twice(**near)) is None


def two_parties(*, retry="", parallel=False, other="pay#1"):
    tale = Tale()
    got = tale.deliver(tale.publish())
    first = tale.call("stripe.charge", got)
    done = tale.effect(first)
    if not parallel:
        tale.reply(first, "unknown")
    if retry:
        tale.reply(tale.call("stripe.charge", got, attempt=2), retry)
    also = got if other == "pay#1" else tale.deliver(tale.publish(), other, group="till")
    second = tale.call("adyen.charge", also)
    if parallel:
        tale.reply(first, "unknown")
    deeds = [done, tale.effect(second)]
    tale.reply(second)
    tale.handled(got)
    return tale.end(), shown("charged twice", deeds)


def test_no_answer_that_was_taken_for_a_no_is_told():
    assert "no answer was taken for a no" in cause(*two_parties()).words
    assert "no answer was taken for a no" in cause(*two_parties(retry="failed")).words


@pytest.mark.parametrize(
    ("near", "told"),
    [
        ({"retry": "ok"}, "pay.on asks stripe and adyen for the same charge"),
        ({"parallel": True}, "pay.on asks stripe and adyen for the same charge"),
        ({"other": "till#1"}, "pay.on asks stripe, and till.on asks adyen, for the same charge"),
    ],
)
def test_who_had_an_answer_or_never_asked_took_no_silence_for_a_no(near, told):
    words = cause(*two_parties(**near)).words
    assert words == f"{told}; neither knows of the other."
