"""The rules of JetStream, as `docs/how-to/nats.md` numbers them, on the machine alone."""

from __future__ import annotations

import json

import pytest

from chaosharness.machines.machine import Buried, CameBack, HandedOut, Refusal, Settled, Stored
from chaosharness.machines.nats import ConsumerSettings, NatsMachine, StreamSettings
from chaosharness.machines.nats import operations as op
from chaosharness.machines.nats.machine import DEATHS
from chaosharness.machines.nats.subjects import is_literal, is_valid, matches, overlap

WAIT_MS = 30_000


class Server:
    """A machine with one stream and one consumer, and a clock to turn."""

    def __init__(self, stream=None, **consumer):
        self.machine = NatsMachine()
        self.now = 0
        settings = {"subjects": ("orders.>",), **(stream or {})}
        assert self(op.CreateStream("S", StreamSettings(**settings))) is None
        assert self(op.CreateConsumer("S", "c", ConsumerSettings(**consumer))) is None

    def __call__(self, operation):
        return self.machine.apply(operation, self.now)

    def publish(self, *bodies, subject="orders.a", id=None):
        answers = [self(op.Publish(subject, body.encode(), body, id)) for body in bodies]
        return answers[-1]

    def fetch(self, most=10, consumer="c"):
        return self(op.Fetch("S", consumer, "me", most))

    def seen(self, most=10):
        return [(one.body.decode(), one.handle.times) for one in self.fetch(most)]

    def state(self):
        return self(op.InspectConsumer("S", "c"))

    def facts(self, kind):
        return [fact for fact in self.machine.take() if isinstance(fact, kind)]


def test_n1_sequences_and_ids():
    server = Server(stream={"duplicate_window_ms": 500})
    assert server.publish("a", id="x") == op.Published("S", 1)
    assert server.publish("b") == op.Published("S", 2)
    server.now = 499
    assert server.publish("a again", id="x") == op.Published("S", 1, True)
    server.now = 500
    assert server.publish("a later", id="x") == op.Published("S", 3)
    assert server.seen() == [("a", 1), ("b", 1), ("a later", 1)]


def test_n1_an_id_is_known_after_its_message_is_gone():
    server = Server(stream={"retention": "workqueue"})
    server.publish("a", id="x")
    server(op.Ack(server.fetch()[0].handle))
    assert server(op.InspectStream("S")).messages == 0
    assert server.publish("a again", id="x").duplicate


def changed(server, **consumer):
    settings = ConsumerSettings(**consumer)
    assert server(op.CreateConsumer("S", "c", settings, or_update=True)) is None


@pytest.mark.parametrize(("most", "left"), [(1, ["b"]), (2, [])])
def test_what_a_fetch_has_passed_over_does_not_come_back_with_other_filters(most, left):
    server = Server(filters=("orders.a",))
    server.publish("a")
    server.publish("b", subject="orders.b")
    assert len(server.fetch(most)) == 1
    changed(server, filters=("orders.b",))
    assert server.state().pending == len(left)
    server.publish("later", subject="orders.b")
    assert [body for body, _ in server.seen()] == [*left, "later"]


def test_progress_with_a_message_that_is_gone_is_taken():
    server = Server(filters=("orders.a",))
    server.publish("a")
    [one] = server.fetch()
    changed(server, filters=("orders.b",))
    assert server(op.DeleteMessage("S", 1)) is None
    assert server(op.InProgress(one.handle)) is None
    assert server.state().ack_pending == 1


def test_n2_what_comes_back_comes_first():
    server = Server()
    server.publish("a", "b", "c")
    first, second = server.fetch(2)
    server(op.Nak(second.handle))
    server(op.Nak(first.handle))
    assert server.seen() == [("b", 2), ("a", 2), ("c", 1)]
    server.now = WAIT_MS
    assert server.seen() == [("a", 3), ("b", 3), ("c", 2)]


def test_n3_a_delay_counts_from_now_and_backoff_beside_it():
    server = Server(backoff_ms=(1_000, 5_000), deliver_max=9)
    server.publish("a")
    server(op.Nak(server.fetch()[0].handle, 200))
    server.now = 199
    assert server.seen() == []
    server.now = 200
    [again] = server.fetch()
    assert again.handle.times == 2
    server(op.Nak(again.handle, 200))  # the server counts from its AckWait, the first of BackOff
    server.now = 400 + 4_000
    assert server.seen() == [("a", 3)]


def test_n4_in_progress_begins_anew_and_term_ends():
    server = Server()
    server.publish("a")
    [one] = server.fetch()
    server.now = WAIT_MS - 1
    server(op.InProgress(one.handle))
    server.now = 2 * WAIT_MS - 2
    assert server.seen() == []
    server.now += 1
    [again] = server.fetch()
    server(op.Term(again.handle, "nonsense"))
    server.now *= 2
    assert server.seen() == []
    assert [fact.reason for fact in server.facts(Buried)] == ["terminated nonsense"]


def test_n5_what_is_late_counts():
    server = Server()
    server.publish("a")
    [first] = server.fetch()
    server.now = WAIT_MS
    [second] = server.fetch()
    server.machine.take()
    server(op.Nak(first.handle))
    assert server.seen() == [("a", 3)]
    server(op.Ack(second.handle))
    server.now *= 3
    assert server.seen() == []
    assert len(server.facts(Settled)) == 1


def test_n6_given_up_after_the_last_delivery():
    server = Server(stream={"retention": "workqueue"}, deliver_max=2)
    server.publish("a")
    server.fetch()
    server.now = WAIT_MS
    [last] = server.fetch()
    server.now = 2 * WAIT_MS
    server.machine.take()
    assert (server.state().ack_pending, server.seen(), server.state().ack_pending) == (1, [], 0)
    [death] = server.facts(Buried)
    assert (death.reason, death.to, death.times) == ("max deliveries", None, 2)
    assert server(op.InspectStream("S")).messages == 1
    server(op.Ack(last.handle))
    assert server(op.InspectStream("S")).messages == 0


def test_n6_with_one_delivery_when_its_time_is_over():
    server = Server(deliver_max=1)
    server.publish("a")
    server.fetch()
    server.now = WAIT_MS
    assert server.state().ack_pending == 0


def test_n6_a_notice_is_kept_where_a_stream_keeps_it():
    server = Server(deliver_max=1)
    server(op.CreateStream("D", StreamSettings(subjects=(f"{DEATHS}.>",))))
    server.publish("a")
    server.fetch()
    server.now = WAIT_MS
    server.machine.tick(server.now)
    record = server(op.Get("D", 1))
    body = json.loads(record.body)
    assert record.subject == f"{DEATHS}.S.c"
    assert (body["stream"], body["consumer"]) == ("S", "c")
    assert (body["stream_seq"], body["deliveries"]) == (1, 1)
    [death] = server.facts(Buried)
    assert (death.to, death.letter) == ("D", record.message)


def test_n7_a_limit_of_what_is_in_hands():
    server = Server(ack_pending_max=2)
    server.publish("a", "b", "c")
    assert server.seen() == [("a", 1), ("b", 1)]
    assert server.seen() == []
    server.now = WAIT_MS
    assert server.state().ack_pending == 2
    again = server.fetch()
    assert [one.body for one in again] == [b"a", b"b"]
    server(op.Ack(again[0].handle))
    assert server.seen() == [("c", 1)]


def test_n8_interest():
    server = Server(stream={"retention": "interest"}, filters=("orders.a",))
    server(op.CreateConsumer("S", "all", ConsumerSettings()))
    server.publish("a")
    server.publish("b", subject="orders.b")
    mine = server.fetch()
    theirs = server.fetch(consumer="all")
    assert [len(mine), len(theirs)] == [1, 2]
    server(op.Ack(mine[0].handle))
    assert server(op.InspectStream("S")) == op.StreamState(2, 1, 2)
    server(op.Ack(theirs[0].handle))
    assert server(op.InspectStream("S")) == op.StreamState(1, 2, 2)
    server(op.DeleteConsumer("S", "all"))
    assert server(op.InspectStream("S")).messages == 0
    assert server.publish("c", subject="orders.c").sequence == 3
    assert server(op.InspectStream("S")) == op.StreamState(0, 4, 3)


@pytest.mark.parametrize(
    ("filters", "words", "code"),
    [
        ((), {}, "10099"),
        (("orders.a",), {}, "10100"),
        (("orders.b",), {"deliver": "new"}, "10101"),
        (("orders.b",), {"ack": "none"}, "10084"),
    ],
)
def test_n8_a_work_queue_has_one_consumer_for_each_subject(filters, words, code):
    server = Server(stream={"retention": "workqueue"}, filters=("orders.*",))
    answer = server(op.CreateConsumer("S", "d", ConsumerSettings(filters=filters, **words)))
    if code == "10100" or words:
        assert answer.code == code
    else:
        assert isinstance(answer, Refusal)
        assert answer.code == code


def test_n9_limits_take_away_what_is_in_hands():
    server = Server(stream={"msgs_max": 2})
    server.publish("a", "b")
    server.fetch(1)
    server.publish("c")
    assert server.state().ack_pending == 0
    assert [(fact.message, fact.reason) for fact in server.facts(Buried)] == [
        ("a", "limit reached")
    ]
    assert server.seen() == [("b", 1), ("c", 1)]


def test_n9_or_refuse_what_is_new():
    server = Server(stream={"msgs_max": 1, "discard": "new"})
    server.publish("a")
    assert server.publish("b").code == "10077"


def test_n9_what_is_too_old_is_gone():
    server = Server(stream={"age_ms_max": 1_000})
    server.publish("a")
    assert server.machine.due() is None  # it wakes nobody, and is gone when anybody looks
    server.now = 1_000
    assert server.seen() == []


def test_n11_one_acknowledgement_of_all_before():
    server = Server(ack="all", deliver_max=3)
    server.publish("a", "b", "c", "d")
    found = server.fetch()
    server.machine.take()
    server(op.Ack(found[1].handle))
    assert [one.message for one in server.facts(Settled)] == ["a", "b"]
    assert server.state() == op.ConsumerState((4, 4), (2, 2), 2, 0, 0)
    server(op.Ack(found[0].handle))
    [void] = server.machine.take()
    assert (void.message, void.why) == ("a", "it is settled")
    server(op.Nak(found[2].handle))
    assert server.seen() == [("c", 2)]
    server(op.Ack(op.Handle("S", "c", 3, 5, 2)))
    assert server.state().floor == (5, 3)
    server.machine.take()
    server(op.Ack(found[3].handle))  # its delivery, the fourth, is behind the floor
    assert server.state() == op.ConsumerState((5, 4), (5, 3), 1, 0, 0)
    server.now = WAIT_MS
    [late] = server.fetch()
    server(op.Term(late.handle, "nonsense"))
    assert [one.message for one in server.facts(Buried)] == ["d"]
    assert server.state() == op.ConsumerState((6, 4), (6, 4), 0, 0, 0)


def test_n11_a_limit_acknowledges_what_is_before():
    server = Server(stream={"msgs_per_subject_max": 1}, ack="all")
    server.publish("a", subject="orders.a")
    server.publish("b", subject="orders.b")
    server.fetch()
    server.machine.take()
    server.publish("c", subject="orders.b")
    _, settled, void = server.machine.take()
    assert (settled, void.reason) == (Settled("a", "c", "me"), "limit reached")
    assert server.state() == op.ConsumerState((2, 2), (2, 2), 0, 0, 1)


def test_n11_what_is_gone_behind_the_floor_is_counted_until_it_is_old():
    server = Server(stream={"msgs_per_subject_max": 1}, ack="all")
    server.publish("a", subject="orders.a")
    server.publish("b", subject="orders.b")
    first, _ = server.fetch()
    server(op.Nak(first.handle))
    [again] = server.fetch()
    server(op.Ack(again.handle))
    server.publish("c", subject="orders.b")
    assert server.state() == op.ConsumerState((3, 2), (3, 1), 1, 0, 1)
    server.publish("d", subject="orders.a")
    server.now = WAIT_MS
    assert server.state() == op.ConsumerState((3, 2), (3, 2), 0, 0, 2)


def test_n12_nobody_hears_an_acknowledgement_that_is_not_wanted():
    server = Server(ack="none")
    server.publish("a")
    [one] = server.fetch()
    for settle in (op.Ack, op.Nak, op.Term, op.InProgress):
        answer = server(settle(one.handle))
        assert isinstance(answer, Refusal) and answer.code == "503"


def test_time_acts_in_order_however_far_the_clock_is_turned():
    server = Server(stream={"age_ms_max": 2_000}, ack_wait_ms=400, deliver_max=1)
    server.publish("a")
    server.fetch()
    server.now = 9_000
    server.machine.tick(server.now)
    assert [fact.reason for fact in server.facts(Buried)] == ["max deliveries"]
    assert server(op.InspectStream("S")).messages == 0


@pytest.mark.parametrize(
    ("words", "bodies"),
    [
        ({"deliver": "all"}, ["1", "2", "3"]),
        ({"deliver": "last"}, ["3"]),
        ({"deliver": "new"}, []),
        ({"deliver": "by_start_sequence", "start": 2}, ["2", "3"]),
        ({"deliver": "by_start_time", "start": 250}, ["3"]),
        ({"deliver": "last_per_subject", "filters": ("orders.>",)}, ["2", "3"]),
    ],
)
def test_where_a_consumer_begins(words, bodies):
    server = Server()
    for body, subject in (("1", "orders.a"), ("2", "orders.b"), ("3", "orders.a")):
        server.now += 100
        server.publish(body, subject=subject)
    server(op.CreateConsumer("S", "d", ConsumerSettings(**words)))
    assert [one.body.decode() for one in server.fetch(consumer="d")] == bodies


def test_without_acknowledgements_a_message_is_done_once_it_is_sent():
    server = Server(ack="none")
    server.publish("a")
    assert server.seen() == [("a", 1)]
    kinds = [type(fact) for fact in server.machine.take()]
    assert kinds == [Stored, HandedOut, Settled]
    assert server.machine.due() is None


def test_facts_say_who_reads_and_who_held():
    server = Server()
    server.publish("a")
    server.fetch()
    server.now = WAIT_MS
    server.machine.tick(server.now)
    stored, handed_out, back = server.machine.take()
    assert (stored.place, stored.places) == ("S", ("c",))
    assert (handed_out.place, handed_out.holder, handed_out.again) == ("c", "me", False)
    assert back == CameBack("a", "c", "me", "AckWait")


def test_what_is_no_operation_is_refused():
    with pytest.raises(TypeError, match="is no operation of JetStream"):
        NatsMachine().apply("publish", 0)


def test_subjects():
    assert matches("a.*", "a.b") and not matches("a.*", "a.b.c") and not matches("a.*", "a")
    assert matches("a.>", "a.b.c") and not matches("a.>", "a")
    assert matches("a.>", "a.*") and not matches("a.*", "a.>")
    assert overlap("a.*", "*.b") and overlap("a.>", "a.b.c") and not overlap("a.b", "a.c")
    assert not overlap("a", "a.b") and not overlap("a.>", "b.>")
    assert is_valid("a.>") and not is_valid("a.>.b") and not is_valid("a b") and not is_valid("a.")
    assert is_literal("a.b") and not is_literal("a.*")
