"""SQS's machine against the documentation, rule by rule, in virtual time."""

import pytest

from chaosharness.machines.machine import (
    Buried,
    CameBack,
    HandedOut,
    Ignored,
    Moved,
    Recognised,
    Refusal,
    Settled,
    Stored,
)
from chaosharness.machines.sqs import QueueSettings, SqsMachine
from chaosharness.machines.sqs import operations as op


class Side:
    """A machine and its clock."""

    def __init__(self, **queues):
        self.machine = SqsMachine()
        self.now = 0
        for name, settings in queues.items():
            self.machine.apply(op.Configure(name, QueueSettings(**settings)), 0)

    def do(self, operation):
        return self.machine.apply(operation, self.now)

    def send(self, body, queue="q", **more):
        return self.do(op.Send(queue, body, **more))

    def receive(self, queue="q", most=1, **more):
        return self.do(op.Receive(queue, most=most, **more))

    def bodies(self, queue="q", most=10, **more):
        return [one.body for one in self.receive(queue, most, **more)]

    def delete(self, received, queue="q"):
        return self.do(op.Delete(queue, received.handle))

    def visibility(self, received, ms, queue="q"):
        return self.do(op.ChangeVisibility(queue, received.handle, ms))

    def facts(self, *kinds):
        return [one for one in self.machine.take() if isinstance(one, kinds)]


def standard(**settings):
    return Side(q=settings)


def fifo(**settings):
    return Side(q={"fifo": True, "by_content": True, **settings})


# ---- leases


def test_a_message_is_hidden_and_comes_back_with_a_new_handle():
    side = standard(visibility_ms=1_000)
    side.send("a")
    [first] = side.receive(holder="me")
    assert side.receive() == []
    assert side.machine.due() == 1_000
    side.now = 1_000
    [again] = side.receive(holder="you")
    assert (first.receives, again.receives) == (1, 2)
    assert first.handle != again.handle
    facts = side.facts(HandedOut, CameBack)
    assert [type(one).__name__ for one in facts] == ["HandedOut", "CameBack", "HandedOut"]
    assert (facts[1].holder, facts[1].why) == ("me", "visibility timeout")


def test_an_old_handle_deletes_nothing_on_a_standard_queue():
    side = standard(visibility_ms=1_000)
    side.send("a")
    [first] = side.receive()
    side.now = 1_000
    side.receive()
    assert side.delete(first) is None
    assert len(side.facts(Ignored)) == 1
    side.now = 2_000
    assert side.bodies() == ["a"]


def test_a_late_handle_still_deletes_while_nobody_else_has_the_message():
    side = standard(visibility_ms=1_000)
    side.send("a")
    [first] = side.receive()
    side.now = 5_000
    assert side.delete(first) is None
    assert side.bodies() == []
    assert len(side.facts(Settled)) == 1


def test_deleting_twice_is_no_error():
    side = standard()
    side.send("a")
    [one] = side.receive()
    assert [side.delete(one), side.delete(one)] == [None, None]


def test_visibility_zero_gives_back_at_once_and_is_not_remembered():
    side = standard(visibility_ms=30_000)
    side.send("a")
    [one] = side.receive()
    assert side.visibility(one, 0) is None
    assert side.bodies() == ["a"]
    assert side.machine.due() == 30_000


def test_visibility_cannot_be_extended_past_twelve_hours():
    side = standard()
    side.send("a")
    [one] = side.receive(visibility_ms=1_000)
    assert side.visibility(one, 43_200_000) is None
    side.now = 1_000
    refused = side.visibility(one, 43_200_000)
    assert isinstance(refused, Refusal) and "beyond the limit" in refused.text


def test_a_delay_hides_a_new_message():
    side = standard(delay_ms=2_000)
    side.send("a")
    side.send("now", delay_ms=0)
    assert side.bodies() == ["now"]
    side.now = 2_000
    assert side.bodies() == ["a"]


def test_in_flight_is_limited():
    side = standard(in_flight_max=1)
    side.send("a")
    side.send("b")
    assert side.bodies(most=1) == ["a"]
    assert side.bodies() == []
    refused = side.receive(long_poll=False)
    assert isinstance(refused, Refusal) and refused.code == "OverLimit"


def test_what_is_too_old_is_gone_and_wakes_nobody():
    side = standard(retention_ms=60_000)
    side.send("a")
    assert side.machine.due() is None
    side.now = 60_000
    assert side.bodies() == []
    [buried] = side.facts(Buried)
    assert (buried.to, buried.reason) == (None, "expired")


# ---- dead letters


def letters(**settings):
    return Side(
        q={"dead_letter": "d", "receives_max": 2, **settings}, d={"fifo": "fifo" in settings}
    )


def test_a_message_dies_at_the_receive_after_the_last():
    side = letters(visibility_ms=0)
    sent = side.send("a")
    assert [side.bodies(), side.bodies()] == [["a"], ["a"]]
    assert side.facts(Buried) == []
    side.send("b")
    assert side.bodies(most=1) == ["b"]  # the same receive goes on with the next
    [buried] = side.facts(Buried)
    assert (buried.to, buried.times) == ("d", 2)
    [dead] = side.receive("d")
    assert (dead.id, dead.receives, dead.died_in) == (sent.id, 3, "q")


def test_a_dead_letter_keeps_its_age():
    side = letters(visibility_ms=0)
    side.do(op.Configure("d", QueueSettings(retention_ms=100_000)))
    side.send("old")
    side.now = 90_000
    side.do(op.Send("d", "new"))
    side.bodies(), side.bodies(), side.bodies()
    side.now = 100_000
    assert side.bodies("d") == ["new"]


def test_dead_letters_go_back_where_they_died():
    side = letters(visibility_ms=0)
    sent = side.send("a")
    side.bodies(), side.bodies(), side.bodies()
    assert side.do(op.StartMove("d")).status == "RUNNING"
    assert side.do(op.StartMove("d")).code == "InvalidParameterValue"
    side.now = side.machine.due()
    [back] = side.receive()
    assert (back.body, back.receives) == ("a", 1)
    assert back.id != sent.id
    assert len(side.facts(Moved)) == 1
    assert side.machine.moves.tasks[0].status == "COMPLETED"


def test_moving_needs_a_dead_letter_queue():
    side = letters()
    assert "Dead Letter Queue" in side.do(op.StartMove("q")).text
    assert side.do(op.StartMove("d", "nowhere")).code == "ResourceNotFoundException"


def test_a_purge_takes_everything_once_a_minute():
    side = fifo()
    side.send("a", group="g")
    side.receive()
    side.send("b", group="g")
    assert side.do(op.Purge("q")) is None
    assert side.do(op.Purge("q")).code.endswith("PurgeQueueInProgress")
    side.now = 60_000
    assert side.do(op.Purge("q")) is None
    side.send("a", group="g")  # it forgets what it has seen as well
    assert side.bodies() == ["a"]


# ---- FIFO


def test_a_group_is_locked_while_any_earlier_message_is_out():
    side = fifo()
    for body in ("1", "2", "3"):
        side.send(body, group="g")
    side.send("other", group="h")
    first, second = side.receive(most=2)
    assert side.bodies() == ["other"]
    side.delete(first)
    assert side.bodies() == []
    side.delete(second)
    assert side.bodies() == ["3"]


@pytest.mark.parametrize(("extended", "back"), [(0, []), (1, ["1"]), (2, ["1", "2"])])
def test_an_extension_hides_the_later_ones_too(extended, back):
    side = fifo(visibility_ms=1_000)
    for body in ("1", "2", "3"):
        side.send(body, group="g")
    found = side.receive(most=3)
    side.visibility(found[extended], 4_000)
    side.now = 2_500
    assert side.bodies() == back


def test_a_late_handle_is_refused():
    side = fifo(visibility_ms=1_000)
    side.send("a", group="g")
    [one] = side.receive()
    side.now = 1_000
    assert side.delete(one).text.endswith("The receipt handle has expired.")
    assert side.bodies() == ["a"]


def test_what_is_sent_again_within_five_minutes_is_recognised():
    side = fifo()
    first = side.send("a", message="one", group="g")
    [one] = side.receive()
    side.delete(one)
    side.now = 299_999
    again = side.send("a", message="two", group="h")
    assert again.duplicate and again.id == first.id
    assert side.bodies() == []
    [known] = side.facts(Recognised)
    assert (known.message, known.first) == ("two", "one")
    side.now = 300_000
    assert not side.send("a", group="g").duplicate
    assert side.bodies() == ["a"]


def test_the_scope_of_ids_stays_as_the_queue_was_created():
    side = fifo()
    side.send("a", group="g")
    side.do(op.Configure("q", QueueSettings(fifo=True, by_content=True, scope="messageGroup")))
    assert side.send("a", group="h").duplicate
    by_group = fifo(scope="messageGroup")
    by_group.send("a", group="g")
    assert not by_group.send("a", group="h").duplicate


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({}, "MissingParameter"),
        ({"group": "g", "delay_ms": 2_000}, "InvalidParameterValue"),
        ({"group": "g", "size": 2_000_000}, "InvalidParameterValue"),
    ],
)
def test_what_fifo_refuses(more, code):
    assert fifo().send("a", **more).code == code


def test_an_id_is_needed_where_bodies_do_not_count():
    side = fifo(by_content=False)
    assert "ContentBasedDeduplication" in side.send("a", group="g").text
    assert not side.send("a", group="g", deduplication="1").duplicate


def test_the_same_attempt_brings_the_same_answer():
    side = fifo()
    side.send("a", group="g")
    side.send("b", group="g")
    lost = side.receive(most=10, attempt="x")
    assert side.receive(most=10, attempt="y") == []
    again = side.receive(most=10, attempt="x")
    assert [one.handle for one in again] == [one.handle for one in lost]
    side.delete(again[0])
    assert side.bodies(attempt="x") == []


def test_a_fifo_dead_letter_lets_its_group_go_on():
    side = letters(fifo=True, by_content=True, visibility_ms=0)
    side.send("a", group="g")
    side.send("b", group="g")
    assert [side.bodies(most=1), side.bodies(most=1)] == [["a"], ["a"]]
    assert side.bodies(most=1) == ["b"]
    assert side.bodies("d") == ["a"]


# ---- what servers of a standard queue do by themselves


def test_a_copy_outlives_the_delete():
    side = standard()
    side.send("a")
    [one] = side.receive()
    assert side.do(op.Copy(one.handle)) is None
    side.delete(one)
    [again] = side.receive()
    assert (again.id, again.receives) == (one.id, 2)
    side.delete(again)
    assert side.bodies() == []


def test_what_is_withheld_is_overtaken():
    side = standard()
    side.send("a")
    side.send("b")
    [record] = side.machine.peek("q", 1, 0)
    side.do(op.Withhold("q", record.number, 1_000))
    assert side.bodies() == ["b"]
    assert side.machine.due() == 1_000
    side.do(op.Surface("q", record.number))
    assert side.bodies() == ["a"]


def test_fifo_servers_do_neither():
    side = fifo()
    side.send("a", group="g")
    [record] = side.machine.peek("q", 1, 0)
    assert side.do(op.Withhold("q", record.number, 1_000)).code == "NotLegal"
    [one] = side.receive()
    assert side.do(op.Copy(one.handle)).code == "NotLegal"


# ---- the machine as a machine


def test_facts_are_taken_once():
    side = standard()
    side.send("a", message="m")
    assert side.machine.take() == [Stored("m", "q")]
    assert side.machine.take() == []


def test_what_is_no_operation_is_a_mistake():
    with pytest.raises(TypeError, match="no operation of SQS"):
        standard().do("receive")


def test_a_queue_that_is_not_there():
    side = standard()
    for operation in (
        op.Send("x", "a"),
        op.Receive("x"),
        op.Purge("x"),
        op.Delete("x", op.Handle("x", 1, 1)),
        op.ChangeVisibility("x", op.Handle("x", 1, 1), 0),
        op.DeleteQueue("x"),
    ):
        assert side.do(operation).code == "AWS.SimpleQueueService.NonExistentQueue"


# ---- what a client must not do


def test_a_name_is_free_again_a_minute_after_its_queue_was_deleted():
    machine = SqsMachine()
    configure = op.Configure("x", QueueSettings())
    assert machine.apply(configure, 0) is None
    machine.apply(op.DeleteQueue("x"), 1_000)
    refusal = machine.apply(configure, 60_999)
    assert refusal.code == "AWS.SimpleQueueService.QueueDeletedRecently"
    assert machine.apply(configure, 61_000) is None


def test_a_standard_queue_takes_no_deduplication_id():
    machine = SqsMachine()
    machine.apply(op.Configure("x", QueueSettings()), 0)
    refusal = machine.apply(op.Send("x", "m", deduplication="d"), 0)
    assert refusal.code == "InvalidParameterValue"
    assert "Value d for parameter MessageDeduplicationId is invalid" in refusal.text
    weak = QueueSettings(fifo=True, as_standard=True)
    machine.apply(op.Configure("x.fifo", weak), 0)
    sent = [machine.apply(op.Send("x.fifo", "m", group="g", deduplication="d"), 0) for _ in "ab"]
    assert [one.duplicate for one in sent] == [False, False]
