"""Keys, entries, versions, hands that are full: each cause is told, and none where a piece lacks.

Each kind is asked by itself: another that fits as well must not hide that it speaks up.
"""

from contextlib import suppress

import pytest

from chaosharness import Gateway, KeyReused, System, idempotent
from chaosharness.checkers import Finding
from chaosharness.reporting.story.causes.handed import nobody_began
from chaosharness.reporting.story.causes.memory import mixed_up
from chaosharness.reporting.story.causes.repeated import (
    asked_twice,
    forgot_its_key,
    key_of_another,
    key_refused,
)
from chaosharness.reporting.story.causes.sagas import took_it_for_undone, undid_nothing
from chaosharness.reporting.story.causes.silence import entry_unread
from chaosharness.reporting.story.causes.versions import begun_by_another_version
from tests.reporting.story.tales import Tale, asked, case, of_the_end, shown


def lost(place="bank.charge", entity=1):
    return Finding("never charged", (), entity, kind="effect lost", place=place)


# ---- an entry that was refused, of a request that went well


def entries(*, fails=True, entry="entry of ", outcome="ok", then="handled", again=False, item=1):
    """A request with several entries is made; the bank charges when one of them arrives."""
    tale = Tale()
    given = tale.deliver(tale.publish(entity=item))
    call = tale.call("bus.put Placed", given)
    at = call
    if fails:
        at = tale.add("fault", "pay#1", f"pay.on/bus.{entry}put Placed", call, fault="error reply")
    last = tale.add("reply", "pay#1", "pay.on/bus.put Placed", at, outcome=outcome)
    if again:
        last = tale.call("bus.put Placed", last, attempt=2)
    if not fails:
        tale.effect(tale.call("bank.charge", last))
    if then == "handled":
        tale.handled(last)
    if then == "raised":
        tale.raised(last)
    return tale.end()


def test_an_entry_that_failed_while_the_request_went_well_is_told():
    found = entry_unread(case(entries(), lost(), entries(fails=False)))
    assert found.kind == "refused"
    assert found.words.startswith("pay.on asked for bus.put Placed, which went well as a whole")


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"entry": ""}, id="the request itself was struck"),
        pytest.param({"outcome": "failed"}, id="the request failed as a whole"),
        pytest.param({"then": "raised"}, id="it looked, and raised"),
        pytest.param({"then": ""}, id="it never returned"),
        pytest.param({"again": True}, id="it asked again"),
    ],
)
def test_an_entry_that_was_looked_at_is_not_told(near):
    assert entry_unread(case(entries(**near), lost(), entries(fails=False))) is None


def test_an_entry_of_another_item_or_that_nothing_is_missing_of_is_not_told():
    calm = entries(fails=False)
    assert entry_unread(case(entries(item=2), lost(), calm)) is None
    assert entry_unread(case(entries(), lost("mail.send"), calm)) is None
    assert entry_unread(case(entries(), lost(), entries())) is None


# ---- handed out, and nobody began


def full(*, began=False, dead=True, busy=True, back=True, lost=False, other="pay#1"):
    """One message is in hand; another is handed out twice, and ends as a dead letter."""
    tale = Tale()
    if busy:
        mine = tale.deliver(tale.publish(key="o9", entity=9), other)
        tale.add("sleep", other, "pay.on/sleep", mine, ms=9_000)
    message = tale.publish()
    for times in (1, 2):
        given = tale.deliver(message, "pay#2", times, **({"lost": True} if lost else {}))
        if began:
            tale.add("sleep", "pay#2", "pay.on/sleep", given, ms=9)
        if back:
            words = {"message": message, "from": "pay#2", "why": "visibility timeout"}
            tale.add("nack", "bus", "", message, **words)
    if dead:
        words = {"queue": "pay", "reason": "too often", "to": ["aside"]}
        tale.add("dead", "bus", "", message, message=message, **words)
    if busy:
        tale.handled(mine)
    return tale.end(), message


def test_a_message_that_nobody_began_with_is_told_with_what_was_in_hand():
    history, message = full()
    found = nobody_began(case(history, shown("tried by nobody", [message])))
    assert found.kind == "busy"
    assert found.words == (
        "bus handed o1 from orders out 2 times and took it back each time (visibility timeout): "
        "pay was still at work on o9 from orders, and began with nothing else."
    )


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"began": True}, id="it was begun with"),
        pytest.param({"dead": False}, id="it is no dead letter"),
        pytest.param({"busy": False}, id="nothing else was in hand"),
        pytest.param({"back": False}, id="it was not taken back"),
        pytest.param({"lost": True}, id="it never arrived"),
        pytest.param({"other": "mail#1"}, id="another service had something in hand"),
    ],
)
def test_a_message_that_was_begun_with_or_could_have_been_is_not_told(near):
    history, message = full(**near)
    assert nobody_began(case(history, shown("tried by nobody", [message]))) is None


def test_another_message_than_that_of_the_finding_is_not_told():
    history, _ = full()
    assert nobody_began(case(history, shown("tried by nobody", [0]))) is None


def test_what_was_in_hand_before_and_over_by_then_kept_nobody_busy():
    tale = Tale()
    tale.handled(tale.deliver(tale.publish(key="o9")))
    message = tale.publish()
    tale.deliver(message, "pay#2")
    tale.add("nack", "bus", "", message, **{"message": message, "from": "pay#2", "why": "timeout"})
    tale.add("dead", "bus", "", message, message=message, queue="pay", reason="often", to=["a"])
    assert nobody_began(case(tale.end(), shown("tried by nobody", [message]))) is None


# ---- a key that was thrown away too soon


def window(*, verb="delete", rows=1, others=False, key="o1", again="moves", row="o1", before=True):
    """What was remembered of a message is deleted when it comes again, and it is done again."""
    tale = Tale()
    if others:
        tale.handled(tale.keep("keys", tale.deliver(tale.publish(entity=2)), params=("o2",)))
    message = tale.publish()
    one = tale.deliver(message)
    if before:
        tale.keep("keys", one, params=("o1", 3))
    tale.handled(tale.keep("moves", one))
    two = tale.deliver(message, times=2)
    gone = tale.add(
        "write",
        "pay#1",
        f"pay.on/db.{verb} keys",
        two,
        store="db",
        verb=verb,
        table="keys",
        rows=rows,
        params=(1.5,),
    )
    tale.commit(gone)
    if key:
        tale.keep("keys", two, params=(key, 65))
    if again:
        tale.keep(again, two, params=(row,))
    tale.handled(two)
    return tale.end(moves=[{"id": 1}, {"id": 2}])


def test_a_key_that_was_kept_for_too_short_a_time_is_told():
    history = window()
    found = forgot_its_key(case(history, of_the_end(history)))
    assert found.kind == "key over"
    assert "pay.on remembered o1 from orders in db.keys" in found.words
    assert "so db.moves was written a second time" in found.words


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"verb": "update"}, id="it was not deleted"),
        pytest.param({"others": True}, id="it may be another's row that was deleted"),
        pytest.param({"rows": 2}, id="nobody knows which rows were deleted"),
        pytest.param({"key": ""}, id="it was not written again"),
        pytest.param({"key": "o7"}, id="another key was written"),
        pytest.param({"again": ""}, id="nothing was done again"),
        pytest.param({"again": "audit"}, id="something else was done"),
        pytest.param({"row": "o7"}, id="it was done for something else"),
        pytest.param({"before": False}, id="nothing had been remembered"),
    ],
)
def test_a_key_that_was_there_or_whose_work_was_not_done_again_is_not_told(near):
    history = window(**near)
    assert forgot_its_key(case(history, of_the_end(history))) is None


def test_what_was_left_after_another_deletion_nobody_knows():
    tale = Tale()
    message = tale.publish()
    one = tale.deliver(message)
    tale.keep("keys", one, params=("o1", 3))
    tale.handled(tale.keep("moves", one))
    tale.keep("keys", tale.deliver(tale.publish(entity=2)), verb="delete", params=(1,))
    late = tale.deliver(message, times=2)
    tale.keep("keys", late, verb="delete", params=(2,))
    tale.keep("keys", late, params=("o1", 4))
    tale.handled(tale.keep("moves", late))
    history = tale.end(moves=[{"id": 1}, {"id": 2}])
    assert forgot_its_key(case(history, of_the_end(history))) is None


# ---- a key that was another's


def numbered(*, keys=("r1", "r1"), name="key", cents=(5, 7), outcome="ok", did=False, items=(1, 2)):
    """Two requests; under the same key, the second is taken for the first."""
    tale = Tale()
    for number, item in enumerate(items):
        given = tale.deliver(tale.publish(key=f"o{item}", entity=item))
        call = tale.call("bank.charge", given, cents=cents[number], **{name: keys[number]})
        if number == 0 or did or keys[0] != keys[1]:
            tale.effect(call)
        tale.handled(tale.reply(call, outcome if number else "ok"))
    return tale.end()


def test_a_key_that_had_been_anothers_is_told():
    found = key_of_another(case(numbered(), lost(entity=2), numbered(keys=("r1", "r2"))))
    assert found.kind == "key taken"
    assert found.words.startswith(
        "pay.on asked for bank.charge for o2 under the key r1, which had been that of o1 before"
    )


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"keys": ("r1", "r3")}, id="another key"),
        pytest.param({"name": "currency"}, id="the field names no request"),
        pytest.param({"cents": (5, 5)}, id="the same request"),
        pytest.param({"outcome": "failed"}, id="it was refused"),
        pytest.param({"did": True}, id="it was done"),
        pytest.param({"items": (2, 2)}, id="of one item"),
    ],
)
def test_a_key_of_its_own_or_a_request_that_was_refused_is_not_told(near):
    calm = numbered(keys=("r1", "r2"), name=near.get("name", "key"))
    assert key_of_another(case(numbered(**near), lost(entity=2), calm)) is None


def test_a_key_of_a_request_that_nothing_is_missing_of_is_not_told():
    calm = numbered(keys=("r1", "r2"))
    assert key_of_another(case(numbered(), lost(entity=1), calm)) is None
    assert key_of_another(case(numbered(), lost("mail.send", 2), calm)) is None
    assert key_of_another(case(numbered(), lost(entity=2), numbered())) is None


# ---- what came with another message


def mixing(*, says="r2", other="pay#1", mine="r1", theirs="r2", over=False, before=False):
    """Two messages are in hand; what is published for the first carries an id."""
    tale = Tale()
    two = tale.publish(key="o2", entity=2, value={"order": "o2"}, headers={"id": theirs})
    if before:
        tale.deliver(two, other)
    one = tale.publish(value={"order": "o1"}, headers={"id": mine})
    given = tale.deliver(one)
    if not before:
        late = tale.deliver(two, other)
        if over:
            tale.handled(late)
    out = tale.publish("paid", cause=given, value={"order": "o1"}, headers={"id": says})
    tale.handled(out)
    return tale.end(), out


def test_what_came_with_another_message_in_hand_is_told():
    history, out = mixing()
    found = mixed_up(case(history, shown("another id", [out])))
    assert found.kind == "mixed"
    assert found.words == (
        "pay.on had o1 from orders in hand, and o2 from orders as well: what it published for the "
        "first to paid carries r2, which came with the second."
    )


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"says": "r1"}, id="its own id"),
        pytest.param({"says": "r9"}, id="nobody's id"),
        pytest.param({"mine": "r2"}, id="both have it"),
        pytest.param({"other": "pay#2"}, id="in other hands"),
        pytest.param({"over": True}, id="the other was over"),
        pytest.param({"before": True}, id="the other came before"),
    ],
)
def test_what_is_its_own_or_of_no_message_in_hand_is_not_told(near):
    history, out = mixing(**near)
    assert mixed_up(case(history, shown("another id", [out]))) is None


def test_a_message_that_the_finding_does_not_point_at_is_not_told():
    history, out = mixing()
    assert mixed_up(case(history, shown("another id", [out - 1]))) is None


# ---- begun by another version


def upgraded(*, at="start", lives=2, times=3, decides=True, went_on=False, item=1, errors=""):
    """A replica decides; it dies, and its next life raises the same each time."""
    tale = Tale()
    step = "saga.on/decide"
    if at == "start":
        tale.add("fault", "saga#1", "saga/start", fault="redeploy before saga/start", entity=0)
    arrived = tale.add("arrive", "client", entity=item)
    if decides:
        tale.add("decide", "saga#1", step, arrived)
    if at == "handler":
        tale.add("fault", "saga#1", "saga.on/handle", arrived, fault="redeploy before saga.on")
    who = "saga#1" if lives == 1 else f"saga#1/{lives}"
    for number in range(times):
        error = f"Nondeterminism: another step{errors and number}"
        tale.add("raised", who, step, arrived, error=error)
    if went_on:
        tale.add("decide", who, step, arrived)
    return tale.end("not quiet")


@pytest.mark.parametrize("at", ["start", "handler"])
def test_what_another_version_had_begun_is_told(at):
    history = upgraded(at=at)
    found = begun_by_another_version(case(history, of_the_end(history)))
    assert found.kind == "deployed"
    assert found.words.startswith(
        "One version of saga began with o1, and the other went on with it: saga.on raises "
        "Nondeterminism: another step (3 times)"
    )


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"at": ""}, id="there is one version"),
        pytest.param({"lives": 1}, id="the same version raises"),
        pytest.param({"at": "handler", "lives": 3}, id="the next life is the old version again"),
        pytest.param({"times": 2}, id="it may come right yet"),
        pytest.param({"errors": "another each time"}, id="it is not the same each time"),
        pytest.param({"decides": False}, id="nothing had been decided"),
        pytest.param({"went_on": True}, id="it went on"),
    ],
)
def test_what_one_version_did_alone_or_what_went_on_is_not_told(near):
    history = upgraded(**near)
    assert begun_by_another_version(case(history, of_the_end(history))) is None


def test_what_is_of_another_item_is_not_told():
    history = upgraded(item=2)
    finding = shown("stuck", [len(history) - 2])
    assert begun_by_another_version(case(history, finding)) is None


# ---- undone as if it were known


def test_a_refusal_needs_no_request_that_left():
    """What is refused before it leaves has an answer, and no call."""
    tale = Tale()
    given = tale.deliver(tale.publish())
    fault = tale.add("fault", "pay#1", "pay.on/bank.charge", given, fault="error reply")
    tale.add("reply", "pay#1", "pay.on/bank.charge", fault, outcome="failed")
    deed, _ = asked(tale, "bank.refund", given)
    history = tale.end()
    found = undid_nothing(case(history, shown("refunded", [deed])))
    assert "pay.on was refused bank.charge, so nothing had happened" in found.words


def unknown(*, late=True, party="bank", counts=True, instead="bank.refund", kind="effect lost"):
    """Nobody knows of a charge; it is refunded, and then it happens. Nothing is shipped."""
    tale = Tale()
    given = tale.deliver(tale.publish())
    call = tale.call(f"{party}.charge", given)
    last = tale.reply(call, "unknown")
    if instead:
        asked(tale, instead, last)
    if late:
        tale.effect(call)
    finding = Finding("never shipped", (len(tale.raw),), 1, kind=kind, place="courier.ship")
    calm = Tale()
    given = calm.deliver(calm.publish())
    asked(calm, f"{party}.charge", given, happens=counts)
    asked(calm, "courier.ship", given)
    return case(tale.end(), finding, calm.end())


@pytest.mark.parametrize(("late", "truth"), [(True, "it had not yet"), (False, "it had not")])
def test_what_was_undone_before_anybody_knew_is_told_of_what_never_came(late, truth):
    found = took_it_for_undone(unknown(late=late))
    assert (
        f"nobody knew whether it had happened ({truth}). pay.on asked for bank.refu" in found.words
    )


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"party": "shop"}, id="another third party was not answering"),
        pytest.param({"late": False, "counts": False}, id="it is a question"),
        pytest.param({"instead": ""}, id="nothing was done instead"),
        pytest.param({"kind": "row missing"}, id="the finding is about no effect"),
    ],
)
def test_what_was_a_question_or_anothers_was_not_undone(near):
    assert took_it_for_undone(unknown(**near)) is None


# ---- twice under two keys, where the finding points at the end


def two_keys(*, keys=("r1", "r1-retry"), second=True):
    tale = Tale()
    given = tale.deliver(tale.publish())
    for key in keys[: 1 + second]:
        tale.effect(tale.call("bank.charge", given), order="o1", key=key)
    tale.handled(given)
    return tale.end()


def at_the_end(history):
    end = len(history) - 1
    return Finding("stands twice", (end,), 1, kind="effect twice", place="bank.charge")


def test_two_keys_are_told_where_a_finding_points_at_the_end():
    history = two_keys()
    found = asked_twice(case(history, at_the_end(history), two_keys(second=False)))
    assert "with another idempotency key each time (r1 and r1-retry)" in found.words


@pytest.mark.parametrize("near", [{"keys": (None, None)}, {"second": False}])
def test_without_a_second_key_nothing_is_told_of_the_end(near):
    history = two_keys(**near)
    usual = two_keys(keys=near.get("keys", ("r1",)), second=False)
    assert asked_twice(case(history, at_the_end(history), usual)) is None


# ---- a key that the other side refuses


def two_requests(*, key_of):
    system = System("till")
    bank = system.add(Gateway("bank"))

    @system.entry(examples=["o1", "o2"])
    def pay(env, order):
        with suppress(KeyReused):
            env.client(bank).charge(order, 500, key=key_of(order))

    run = system.run()
    [found] = [*idempotent().findings(run.evidence())] or [Finding("nothing")]
    return case(run.history, found)


def test_a_key_that_the_other_side_refuses_is_another_requests():
    found = key_refused(two_requests(key_of=lambda order: "ann"))
    assert found.kind == "key taken"
    assert "under a key that has been another request's" in found.words
    assert key_refused(two_requests(key_of=str)) is None
