"""Causes that are something nobody did, each beside its near misses."""

import pytest

from chaosharness.checkers import Finding
from tests.reporting.story.tales import Tale, cause, kind, of_the_end, shown

# ---- a relay that never ran, a loop that ended


def outbox(*, relays, reads="outbox", into="outbox", says="paid", item=1, before=False):
    """A row for a relay; `relays` says whether it reads it, or the run is the one that passes."""
    tale = Tale()
    got = tale.deliver(tale.publish(entity=item))
    wrote = tale.write(into, got)
    if before:  # while the row is not committed, nobody else sees it
        tale.read("outbox", -1, who="relay#1", entity=0)
    tale.commit(got)
    tale.handled(got)
    if relays:
        look = tale.read(reads, -1, who="relay#1", entity=0)
        tale.publish(says, cause=look, who="relay#1")
    left = [] if relays else [{"id": 1}]
    return tale.end(**{into: left}), wrote


def never_said(history, topic="paid"):
    data = {"store": "db", "table": "orders", "topic": topic}
    return shown(f"no {topic!r} message ever said so", [len(history) - 1], **data)


def test_a_relay_that_never_ran_is_told_by_the_row_that_nobody_read():
    history, _ = outbox(relays=False)
    calm, _ = outbox(relays=True)
    found = cause(history, never_said(history), calm)
    assert found.kind == "loop"
    assert found.words == (
        "pay.on wrote a row to db.outbox at 2 ms, and nobody read that table after it: the relay "
        "that should publish it to paid never ran."
    )
    early, _ = outbox(relays=False, before=True)
    assert kind(early, never_said(early), calm) == "loop"
    assert cause(history, Finding("something else", (len(history) - 1,)), calm) is None


@pytest.mark.parametrize(
    ("near", "calm"),
    [
        pytest.param({"into": "failures"}, {"into": "failures"}, id="a table that no relay reads"),
        pytest.param({"item": 2}, {"item": 2}, id="another item's row"),
        pytest.param({}, {"says": "mails"}, id="a relay for another topic"),
    ],
)
def test_a_row_that_no_relay_was_to_publish_there_is_not_told(near, calm):
    history, _ = outbox(relays=False, **near)
    passing, _ = outbox(relays=True, **calm)
    assert cause(history, never_said(history), passing) is None


def loop(*, outcome="unknown", table="outbox", other="", does="bus.publish paid", goes_on=False):
    """A row is in the outbox, and the loop that reads it stops at a call that fails."""
    tale = Tale()
    tale.handled(tale.keep("outbox", tale.deliver(tale.publish())))
    end = tale.add("sleep", "relay#1", "relay.on/sleep", entity=0)
    look = tale.read(table, end, who="relay#1")
    tale.add("reply", "relay#1", f"relay.on/{does}", look, outcome=outcome)
    if other:
        nap = tale.add("sleep", other, f"{other.partition('#')[0]}.on/sleep", entity=0)
        tale.read("outbox", nap, who=other)
    if goes_on:
        tale.add("sleep", "relay#1", "relay.on/sleep", look)
    return tale.end(outbox=[{"id": 1}])


def test_a_loop_that_ended_at_a_call_that_failed_is_told():
    history = loop()
    assert "The loop relay.on of relay ended at 7 ms, after no answer to bus.publish paid" in str(
        cause(history, never_said(history), outbox(relays=True)[0])
    )


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"outcome": "ok"}, id="the call did not fail"),
        pytest.param({"table": "reminders"}, id="it reads another table"),
        pytest.param({"does": "bus.publish mails"}, id="it publishes to another topic"),
        pytest.param({"does": "bank.charge"}, id="it publishes nothing"),
        pytest.param({"other": "relay#2"}, id="another replica of it goes on"),
        pytest.param({"goes_on": True}, id="it goes on"),
    ],
)
def test_a_loop_that_has_nothing_to_do_with_what_is_left_is_not_told(near):
    history = loop(**near)
    finding = never_said(history)
    found = cause(history, finding, outbox(relays=True)[0])
    assert found is None or "ended" not in found.words


# ---- no answer


def asked(outcome="unknown", *, effect=True, then="", again="", other="", lookup=""):
    """A call is made, and the handler returns; `then` is what it asks for after it."""
    tale = Tale()
    got = tale.deliver(tale.publish())
    call = tale.call("bank.charge", got)
    found = [tale.effect(call)] if effect else []
    tale.reply(call, outcome)
    if again:
        second = tale.call("bank.charge", got, attempt=2, **({"to": other} if other else {}))
        tale.reply(second, again)
    if lookup:
        tale.reply(tale.call(f"bank.{lookup}", got))
    if then:
        after = tale.call(then, got)
        found.append(tale.effect(after))
        tale.reply(after)
    tale.handled(got)
    return tale.end(rows=[]), shown("it is wrong", found)


def test_code_that_got_no_answer_and_went_on_is_told():
    assert cause(*asked()).words == (
        "pay.on got no answer to bank.charge, so it did not know whether it had happened (it had). "
        "It went on all the same."
    )
    assert kind(*asked(again="ok", other="b")) == "unknown"  # an answer to another request
    history, finding = asked(effect=False, then="bank.refund")
    calm, _ = asked("ok")
    assert "(it had not). It went on all the same: it asks for bank.refund." in str(
        cause(history, finding, calm)
    )


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"outcome": "ok"}, id="it was answered"),
        pytest.param({"again": "ok"}, id="it asked again, and was answered"),
        pytest.param({"lookup": "find"}, id="it asked what had become of it"),
    ],
)
def test_code_that_knew_what_had_happened_is_not_told(near):
    assert cause(*asked(**near)) is None


def test_a_question_that_was_not_answered_is_nothing_that_may_have_happened():
    history, _ = asked(effect=False, then="courier.book")
    call = next(history.of("effect")).index
    calm, _ = asked("ok", effect=False, then="courier.book")
    assert cause(history, shown("booked too often", [call]), calm) is None


def test_a_call_that_nobody_missed_is_not_why_something_else_is_wrong():
    def run(outcome):
        tale = Tale()
        got = tale.deliver(tale.publish())
        mail = tale.call("mail.send", got)
        tale.effect(mail)
        tale.reply(mail, outcome)
        tale.keep("stock", got)
        tale.handled(got)
        return tale.end(stock=[{"id": "o1"}])

    history = run("unknown")
    assert cause(history, of_the_end(history), run("ok")) is None


# ---- a refusal that nobody minded


def refused(*, outcome="failed", again=False, raises=False, about="bank", what="bank.refund"):
    tale = Tale()
    got = tale.deliver(tale.publish())
    call = tale.call("bank.charge", got)
    charge = tale.effect(call)
    tale.reply(call)
    if about == "mail":
        mail = tale.call("mail.send", got)
        charge = tale.effect(mail)
        tale.reply(mail)
    back = tale.call(what, got)
    if outcome == "ok":
        tale.effect(back)
    else:
        tale.fault(back)
    tale.reply(back, outcome)
    if again:
        second = tale.call(what, got, attempt=2)
        tale.reply(second)
    if raises:
        tale.raised(got)
    else:
        tale.handled(got)
    return tale.end(), shown("it was never undone", [charge], forward="charge")


def test_a_refusal_that_nobody_minded_is_told():
    found = cause(*refused(), refused(outcome="ok")[0])
    assert found.kind == "undo"
    assert "was refused bank.refund for now, did not raise, and returned" in found.words
    history, finding = refused()
    forward = Finding("too little", finding.events, 1)
    assert kind(history, forward, refused(outcome="ok")[0]) == "refused"


def told_nobody(*, refused, topic="out-of-stock"):
    """The shop is refused at publishing; in calm, the bank refunds when it is told."""
    tale = Tale()
    got = tale.deliver(tale.publish())
    call = tale.call("bank.charge", got)
    charge = tale.effect(call)
    tale.reply(call)
    if refused:
        struck = tale.fault(tale.add("wake", "pay#1", f"pay.on/bus.publish {topic}", got))
        tale.add("reply", "pay#1", f"pay.on/bus.publish {topic}", struck, outcome="failed")
    elif topic:
        tale.publish(topic, cause=got)
    if not refused:
        late = tale.deliver(tale.publish("out-of-stock", cause=got))
        tale.effect(tale.call("bank.refund", late))
        tale.handled(late)
    tale.handled(got)
    return tale.end(), shown("and yet the charge stands", [charge])


def test_a_message_that_was_refused_is_missed_for_what_comes_of_it():
    calm, _ = told_nobody(refused=False, topic="")
    assert kind(*told_nobody(refused=True), calm) == "refused"
    calm, _ = told_nobody(refused=False, topic="mails")
    assert cause(*told_nobody(refused=True, topic="mails"), calm) is None


@pytest.mark.parametrize(
    ("near", "calm"),
    [
        pytest.param({"again": True}, {}, id="it asked again"),
        pytest.param({"raises": True}, {}, id="it raised"),
        pytest.param({"about": "mail"}, {"about": "mail"}, id="the finding is about another party"),
        pytest.param({"what": "bank.find"}, None, id="nobody misses what was refused"),
    ],
)
def test_a_refusal_that_is_not_why_is_not_told(near, calm):
    history, finding = refused(**near)
    passing = refused(outcome="ok", **calm)[0] if calm is not None else refused(**near)[0]
    assert cause(history, finding, passing) is None


# ---- a side effect that decides, a decision that came too soon


def decided(*, side=True, struck=True, data=None):
    """A mail, or a payment, is refused, and its service says so: the other step is undone."""
    tale = Tale()
    got = tale.deliver(tale.publish("mails"), "mailer#1", group="mailer")
    call = tale.call("mail.send", got)
    if struck:
        tale.fault(call)
    no = tale.reply(call, "failed")
    told = tale.publish("replies", cause=no if side else got)
    tale.handled(got)
    late = tale.deliver(told)
    back = tale.effect(tale.call("bank.refund", late))
    tale.reply(tale.raw[back][6])
    tale.handled(late)
    where = {"where": "bank", "more": [], "less": []} if data is None else data
    return tale.end(), shown("refunded, and never in the calm run", [back], **where)


def test_a_side_effect_that_decides_about_the_rest_is_told():
    assert kind(*decided()) == "side effect"


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"data": {}}, id="nobody said that it is aside"),
        pytest.param({"side": False}, id="what followed did not come of the refusal"),
        pytest.param({"struck": False}, id="it was refused in calm, too"),
    ],
)
def test_a_refusal_that_rightly_leads_to_an_undoing_is_not_told(near):
    assert cause(*decided(**near)) is None


def gave_up(*, word="cancelled", sent=True, key="o1", early=False, named=True):
    """A saga is given up after its question went out, and the answer comes after that."""
    tale = Tale()
    got = tale.deliver(tale.publish(), "saga#1", group="saga")
    tale.keep("sagas", got, params=("o1", "began"))
    question = tale.publish("charge", cause=got, who="saga#1" if sent else "other#1")
    tale.handled(got)
    if word and not early:
        woken = tale.add("wake", "saga#1", "saga.on/sleep")
        tale.keep("sagas", woken, verb="update", params=(word, key))
    late = tale.deliver(question, "pay#1")
    call = tale.call("bank.charge", late)
    done = tale.effect(call)
    tale.reply(call)
    tale.handled(late)
    if word and early:
        woken = tale.add("wake", "saga#1", "saga.on/sleep")
        tale.keep("sagas", woken, verb="update", params=(word, key))
    history = tale.end(sagas=[{"id": "o1", "status": word or "began"}])
    data = {"key": "o1"} if named else {}
    return history, shown("too much", [done, len(history) - 1], **data)


def test_a_decision_that_came_before_the_answer_is_told():
    found = cause(*gave_up(), gave_up(word="")[0])
    assert found.kind == "late"
    assert found.words.startswith("saga.on gave up on o1 (db.sagas: cancelled) before")


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"sent": False}, id="somebody else had asked"),
        pytest.param({"key": "o2"}, id="another key"),
        pytest.param({"early": True}, id="decided after the deed"),
        pytest.param({"word": "began"}, id="no new word"),
        pytest.param({"named": False}, id="the finding is about no key"),
    ],
)
def test_a_row_that_is_no_decision_about_this_is_not_told(near):
    assert cause(*gave_up(**near), gave_up(word="")[0]) is None


# ---- a confirmation that never came


def unconfirmed(*, outcome="unknown", stored="later", raises=False, also_calm=False, again=False):
    """A publisher hears nothing of a message to `prints`, and gives the money back."""
    tale = Tale()
    got = tale.deliver(tale.publish())
    where = "pay.on/bus.publish prints"
    if stored == "before":
        tale.publish("prints", cause=got, who="pay#1")
    heard = tale.add("reply", "pay#1", where, got, outcome=outcome)
    if again:
        tale.add("reply", "pay#1", where, heard, attempt=2, outcome="ok")
    call = tale.call("bank.refund", heard)
    back = tale.effect(call)
    tale.reply(call)
    (tale.raised if raises else tale.handled)(heard)
    if stored == "later":
        tale.add("publish", "pay#1", where, heard, topic="prints", value="o1", at=9_002)
    calm = Tale()
    mine = calm.deliver(calm.publish())
    if also_calm:
        call = calm.call("bank.refund", mine)
        calm.effect(call)
        calm.reply(call)
    calm.handled(mine)
    return tale.end(), shown("paid back, and printed", [back]), calm.end()


def test_no_confirmation_that_was_taken_for_a_no_is_told_with_the_truth():
    found = cause(*unconfirmed())
    assert found.kind == "unknown"
    assert found.words == (
        "pay.on got no confirmation of bus.publish prints and went on as if it had failed: it "
        "asks for bank.refund. It was stored all the same, 9 s later."
    )
    assert cause(*unconfirmed(stored="before")).words.endswith("It had been stored.")
    assert cause(*unconfirmed(stored="never")).words.endswith("It was not stored.")


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"outcome": "ok"}, id="it was confirmed"),
        pytest.param({"raises": True}, id="it raises, and the order comes again"),
        pytest.param({"also_calm": True}, id="it does so without faults too"),
        pytest.param({"again": True, "stored": "never"}, id="it published again, and was heard"),
    ],
)
def test_what_is_no_answer_to_silence_is_not_told(near):
    assert kind(*unconfirmed(**near)) != "unknown"
