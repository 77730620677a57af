"""Causes, on histories written by hand: what is said, and what is not guessed."""

import pytest

from chaosharness.checkers import Finding
from chaosharness.kernel.history import History
from chaosharness.reporting.story.causes import Case, cause_of
from chaosharness.reporting.story.decisive import extra
from chaosharness.reporting.story.lanes import Cast
from chaosharness.reporting.story.narrator import Narrator


class Tale:
    """A history in the making."""

    def __init__(self):
        self.raw = []

    def add(self, kind, actor, operation="", cause=-1, entity=1, attempt=1, at=None, **data):
        index = len(self.raw)
        at_ms = index if at is None else at
        self.raw.append((at_ms, kind, actor, operation, entity, attempt, cause, data))
        return index

    def publish(self, topic="orders", key="o1", cause=-1, **more):
        data = {"broker": "bus", "topic": topic, "key": key, "value": b"{}", "partition": 0}
        return self.add("publish", "client", f"c.go/bus.publish {topic}", cause, **data, **more)

    def deliver(self, message, to="pay#1", times=1):
        topic = self.raw[message][7]["topic"]
        data = {"message": message, "to": to, "group": "pay", "times": times, "topic": topic}
        return self.add("deliver", "bus", f"bus.{topic}/deliver to pay", message, **data)

    def store(self, kind, table, cause, who="pay#1", verb="insert", **data):
        named = {"store": "db", "verb": verb, "table": table}
        if kind == "write":
            named |= {"rows": 1, "params": ("o1",)}
        return self.add(kind, who, f"pay.on/db.{verb} {table}", cause, **named, **data)

    def commit(self, cause, who="pay#1", **data):
        return self.add("commit", who, "pay.on/db.commit", cause, store="db", **data)

    def handled(self, cause, who="pay#1"):
        return self.add("handled", who, "pay.on/handle", cause)

    def end(self, **tables):
        self.add("end", "world", entity=0, verdict="quiet", reason="")
        self.add("state", "db", entity=0, tables=tables)
        return History(list(self.raw))


def cause(history, finding, passing=None):
    cast = Cast(history) if passing is None else Cast(history, passing)
    narrator = Narrator(history, cast, (), lambda entity: f"o{entity}" if entity else "")
    return cause_of(Case(history, finding, narrator, extra(history, passing), passing))


def of_the_end(history):
    return Finding("it does not add up", (len(history) - 1,))


def test_a_relay_that_never_ran_is_told_by_the_row_that_nobody_read():
    def run(*, read):
        tale = Tale()
        got = tale.deliver(tale.publish())
        wrote = tale.store("write", "outbox", got)
        done = tale.handled(tale.commit(wrote))
        if read:
            tale.store("read", "outbox", -1, verb="select", who="relay#1")
        left = [] if read else [{"id": 1}]
        return tale.end(outbox=left), done

    history, _ = run(read=False)
    data = {"store": "db", "table": "orders", "topic": "paid"}
    finding = Finding("no 'paid' message ever said so", (len(history) - 1,), 1, data)
    found = cause(history, finding, run(read=True)[0])
    assert found.kind == "loop"
    assert found.words == (
        "pay.on wrote a row to db.outbox at 2 ms, and nobody read that table after it: the relay "
        "that should publish it to paid never ran."
    )
    assert cause(history, Finding("something else", (len(history) - 1,)), run(read=True)[0]) is None


def beside(*, late_after_end):
    tale = Tale()
    message = tale.publish()
    early = tale.deliver(message)
    first = tale.commit(tale.store("write", "moves", early))
    if late_after_end:
        tale.handled(first)
    late = tale.deliver(message, "pay#2", 2)
    second = tale.commit(tale.store("write", "moves", late, "pay#2"), "pay#2")
    tale.handled(second, "pay#2")
    if not late_after_end:
        tale.handled(first)
    return tale.end(moves=[{"id": 1}, {"id": 2}])


def test_a_second_run_beside_the_first_is_told_and_one_after_it_is_not():
    history = beside(late_after_end=False)
    found = cause(history, of_the_end(history))
    assert found.words == (
        "o1 from orders was handed to pay#2 while pay#1 was still at work on it, and both went on: "
        "a second run of pay.on beside the first."
    )
    after = beside(late_after_end=True)
    assert cause(after, of_the_end(after)) is None


def crossed(verb, *, looks_again=False):
    tale = Tale()
    one = tale.deliver(tale.publish())
    look = tale.store("read", "stock", one, verb="select")
    two = tale.deliver(tale.publish(key="o2"), "pay#2")
    other = tale.store("read", "stock", two, "pay#2", "select")
    other = tale.store("write", "stock", other, "pay#2", verb)
    tale.handled(tale.commit(other, "pay#2"), "pay#2")
    if looks_again:
        look = tale.store("read", "stock", look, verb="select")
    tale.handled(tale.commit(tale.store("write", "stock", look, verb=verb)))
    return tale.end(stock=[{"sku": "o1"}])


@pytest.mark.parametrize(
    ("verb", "kind", "words"),
    [
        ("update", "lost update", "the change of pay#2 is overwritten"),
        ("insert", "race", "both looked into db.stock before either of them had written there"),
    ],
)
def test_who_looked_before_the_other_wrote_is_told(verb, kind, words):
    history = crossed(verb)
    found = cause(history, of_the_end(history))
    assert found.kind == kind
    assert words in found.words
    again = crossed(verb, looks_again=True)
    assert cause(again, of_the_end(again)) is None


def test_work_that_failed_after_its_acknowledgement_is_told_and_before_it_is_not():
    def run(*, early):
        tale = Tale()
        got = tale.deliver(tale.publish())
        data = {"message": 0}
        if early:
            tale.add("ack", "pay#1", "pay.on/bus.commit", got, **data)
        raised = tale.add("raised", "pay#1", "pay.on/handle", got, error="KeyError: 'id'")
        if not early:
            tale.add("ack", "pay#1", "pay.on/bus.commit", raised, **data)
        return tale.end(rows=[])

    lost = run(early=True)
    assert cause(lost, Finding("lost", (0,), 1)).words == (
        "pay.on acknowledged o1 from orders before its work was done; then it raised KeyError: "
        "'id', and the message does not come again."
    )
    kept = run(early=False)
    assert cause(kept, Finding("lost", (0,), 1)) is None


def asked(outcome=None):
    tale = Tale()
    got = tale.deliver(tale.publish())
    call = tale.add("call", "pay#1", "pay.on/bank.charge", got, method="charge")
    data = {"method": "charge", "order": "o1", "id": 1}
    done = tale.add("effect", "bank", "pay.on/bank.charge", call, **data)
    if outcome:
        tale.add("reply", "pay#1", "pay.on/bank.charge", call, outcome=outcome, happened=True)
    tale.handled(call)
    return tale.end(rows=[]), Finding("a charge too much", (done,), 1)


def test_code_that_got_no_answer_and_went_on_is_told_and_with_an_answer_nothing_is():
    assert cause(*asked("unknown")).words == (
        "pay.on got no answer to bank.charge, so it did not know whether it had happened (it had). "
        "It went on all the same."
    )
    assert cause(*asked("ok")) is None


def test_a_history_that_shows_no_pattern_has_no_cause():
    history = Tale().end(rows=[])
    assert cause(history, of_the_end(history)) is None
    assert cause(History([]), Finding("nothing")) is None
