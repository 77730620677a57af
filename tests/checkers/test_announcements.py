"""Events and what they announce: histories by hand, and the exact findings."""

from random import Random

import pytest

from chaosharness.brokers.message import POISON
from chaosharness.checkers import Finding, announced, joins_complete, no_ghost_event
from chaosharness.checkers.announcements import (
    _commits,
    _pieces,
    _troubled,
    _undone,
    _with_commits,
    _works,
)
from chaosharness.kernel.history import History
from tests.checkers.tales import Tale, is_tested, judge

GHOST = no_ghost_event()


class Shop(Tale):
    """One service that stores and publishes, told event by event."""

    def begin(self, key="o1") -> "Shop":
        self.at = self.deliver(self.publish("orders", key), "shop")
        return self

    def do(self, *kinds: str, **data) -> "Shop":
        for kind in kinds:
            if kind == "publish":
                words = {"key": data.get("key", "o1"), "cause": self.at}
                self.at = self.publish("created", by="shop.on_order", **words)
            else:
                words = {"store": "db"} if kind in ("write", "commit", "rollback") else {}
                words |= {"error": "boom"} if kind == "raised" else {}
                self.at = self.then(kind, self.at, f"shop.on_order/db.{kind}", **words)
        return self


@pytest.mark.parametrize(
    "kinds",
    [
        ("write", "publish", "commit"),
        ("publish", "write", "commit"),
        ("write", "commit", "publish"),
        ("write", "commit", "publish", "write", "rollback"),
        ("publish",),
        ("publish", "crash"),
        ("write", "rollback"),
    ],
)
def test_what_was_committed_or_never_said_is_no_ghost(kinds):
    tale = Shop().begin().do(*kinds)
    assert judge(GHOST, tale.end()) == []


@pytest.mark.parametrize(
    ("kinds", "how"),
    [
        (("write", "publish", "rollback"), "was rolled back"),
        (("publish", "write", "rollback"), "was rolled back"),
        (("write", "publish", "crash"), "died with a crash"),
        (("write", "commit", "write", "publish", "rollback"), "was rolled back"),
        (("write", "publish", "raised"), "was never committed"),
    ],
)
def test_what_was_said_and_rolled_back_is_a_ghost(kinds, how):
    tale = Shop().begin().do(*kinds)
    published = kinds.index("publish") + 2
    assert judge(GHOST, tale.end()) == [
        Finding(
            "the 'created' message for o1 is a ghost: shop.on_order published it, its "
            f"transaction {how}, and no later one took its place",
            (published, tale.at),
            1,
            {"topic": "created", "key": "o1"},
        )
    ]
    assert is_tested(GHOST, tale)


def test_a_publish_before_its_transaction_began_is_a_ghost_where_it_usually_commits():
    calm = Shop().begin().do("publish", "write", "commit")
    tale = Shop().begin().do("publish", "crash")
    assert len(judge(GHOST, tale.end(), calm.end())) == 1


def test_the_same_event_of_a_later_try_lays_the_ghost():
    tale = Shop().begin().do("write", "publish", "rollback")
    tale.begin().do("write", "publish", "commit")
    assert judge(GHOST, tale.end()) == []


def test_another_event_of_a_later_try_does_not():
    tale = Shop().begin().do("write", "publish", "rollback", key="id-1")
    tale.begin().do("write", "publish", "commit", key="id-2")
    [finding] = judge(GHOST, tale.end())
    assert finding.data["key"] == "id-1"


def test_a_commit_that_the_store_refused_is_none():
    tale = Shop().begin().do("write", "publish")
    tale.then("commit", tale.at, "shop.on_order/db.commit", store="db", error="locked")
    assert len(judge(GHOST, tale.end())) == 1


def test_a_transaction_that_another_handler_committed_is_no_ghost():
    """They share a connection, which is another matter."""
    tale = Shop().begin().do("write", "publish", "raised")
    tale.begin("o2").do("commit")
    assert judge(GHOST, tale.end()) == []


def test_without_a_rollback_nothing_is_tested():
    assert not is_tested(GHOST, Shop().begin().do("write", "publish", "commit"))


# ---- silence

ROW = announced("db", "orders", "created")
PAID = announced("db", "orders", "paid", field="order", where=lambda row: row["status"] == "paid")


def test_a_row_that_nobody_announced_is_found():
    tale = Tale()
    tale.publish("created", "o1")
    state = tale.holds("db", orders=[{"id": "o1"}, {"id": "o2"}])
    assert judge(ROW, tale.end()) == [
        Finding(
            "db.orders holds the row with id o2, and no 'created' message ever said so",
            (state,),
            0,
            {"store": "db", "table": "orders", "topic": "created", "key": "o2"},
        )
    ]


def test_the_key_can_be_in_the_payload_and_rows_can_be_left_out():
    tale = Tale()
    rows = [{"id": "o1", "status": "paid"}, {"id": "o2", "status": "new"}]
    tale.holds("db", orders=rows)
    assert len(judge(PAID, tale.end())) == 1
    tale = Tale()
    tale.publish("paid", None, value=b'{"order":"o1"}')
    tale.publish("paid", "o1", value=b"\xff not JSON")
    tale.holds("db", orders=rows)
    assert judge(PAID, tale.end()) == []
    assert is_tested(PAID, tale)


def test_no_rows_test_nothing():
    tale = Tale()
    tale.holds("db", orders=[])
    assert not is_tested(ROW, tale.end())


# ---- joins

JOIN = joins_complete(["paid", "reserved"], "confirmed", or_else="timed-out")


def told(*topics: str) -> Tale:
    tale = Tale()
    for topic in topics:
        tale.publish(topic, "o1")
    tale.end()
    return tale


@pytest.mark.parametrize(
    "topics",
    [
        ("paid", "reserved", "confirmed"),
        ("reserved", "paid", "paid", "confirmed"),
        ("paid", "timed-out"),
        ("paid", "timed-out", "reserved"),
        ("elsewhere",),
    ],
)
def test_a_join_that_waits_for_both_halves_is_right(topics):
    assert judge(JOIN, told(*topics)) == []


def test_a_join_that_takes_a_duplicate_for_the_other_half_is_found():
    assert judge(JOIN, told("paid", "paid", "confirmed", "reserved")) == [
        Finding(
            "'confirmed' was published for o1 without 'reserved'; there was "
            "'paid' 2 times, 'reserved' once",
            (0, 1, 2, 3),
            1,
            {"key": "o1", "halves": {"paid": 2, "reserved": 1}},
        )
    ]


@pytest.mark.parametrize(
    ("topics", "words"),
    [
        (
            ("paid", "reserved"),
            "o1 has all its halves ('paid' once, 'reserved' once), and no 'confirmed' or "
            "'timed-out' came of it",
        ),
        (("paid",), "o1 has only 'paid' once, and no 'timed-out' came of it"),
    ],
)
def test_a_join_that_never_ends_is_found(topics, words):
    [finding] = judge(JOIN, told(*topics))
    assert finding.summary == words
    assert is_tested(JOIN, told(*topics))


def test_without_a_time_out_one_half_may_wait_for_ever():
    one = joins_complete(["paid", "reserved"], "confirmed")
    assert judge(one, told("paid")) == []
    assert not is_tested(one, told("confirmed"))


def test_the_relay_of_an_outbox_says_what_a_handler_committed():
    tale = Shop().begin().do("write", "commit", "publish", "write")
    relay = tale.add("start", "shop#1")
    said = tale.publish("created", by="shop.relay", cause=relay)
    words = {"cause": said, "operation": "shop.relay/db.delete outbox", "store": "db"}
    tale.add("write", "shop#1", **words)
    tale.add("rollback", "shop#1", **words)
    assert judge(GHOST, tale.end()) == []


def test_poison_is_no_half_of_a_join():
    tale = Tale()
    tale.publish("paid", None, value=POISON["garbage"])
    joins = joins_complete(["paid", "reserved"], "confirmed", or_else="rejected")
    assert judge(joins, tale.end()) == []


def test_a_handler_that_puts_poison_aside_commits_nothing_and_makes_no_ghost():
    calm = Shop().begin().do("write", "publish", "commit")
    tale = Shop().begin()
    aside = {"operation": "shop.on_order/bus.publish dead-letters", "topic": "dead-letters"}
    said = tale.then("publish", tale.at, **aside, broker="bus", partition=0, offset=0, key=None)
    tale.then("crash", said)
    assert judge(GHOST, tale.end(), calm.end()) == []


def at_random(chance):
    """Return a history of two incarnations that write, publish, commit and fail as it comes."""
    raw = [(0, "arrive", "client", "", 1, 0, -1, {"item": "o1"})]
    kinds = ["publish", "write", "commit", *chance.sample(["rollback", "crash", "raised"], k=2)]
    for _ in range(chance.randrange(2, 12)):
        kind, actor = chance.choice(kinds), chance.choice(["a#1", "b#1"])
        cause = chance.randrange(len(raw)) if chance.random() < 0.8 else -1
        data = {"store": chance.choice(["db", "db", "other"])}
        if kind == "publish":
            data = {"topic": "t", "key": None, "value": str(chance.randrange(3))}
        elif chance.random() < 0.1:
            data |= {"error": "no"} if kind != "raised" else {}
        raw.append((0, kind, actor, f"{actor[0]}.on/{kind}", 1, 1, cause, data))
    raw.append((0, "end", "", "", 0, 0, -1, {"verdict": "quiet", "reason": ""}))
    return History(raw)


def test_only_who_failed_or_left_something_open_can_have_published_a_ghost():
    chance, ghosts, spared = Random(3), 0, 0
    for _ in range(3_000):
        history, calm = at_random(chance), at_random(chance)
        found = [*_undone(history, lambda calm=calm: calm)]
        assert found == undone_by_hand(history, calm)
        ghosts += bool(found)
        spared += len(_pieces(history, _troubled(history))) < len(_pieces(history))
    assert ghosts > 500
    assert spared > 500


def undone_by_hand(history, calm):
    """Ask each publish of each piece of work for its fate."""
    usual, done, found = _with_commits(calm), _commits(history), []
    for work in _works(history):
        for at in work.publishes():
            fate, where = fate_by_hand(work, at)
            if fate == "cut" and history[at].operation in usual:
                here = {(work.place, history[at].entity), (work.place, 0)} & done
                fate = "none" if here else "undone"
            if fate == "undone":
                found.append((history[at], where))
    return found


def fate_by_hand(work, publish):
    """Look through all that a piece of work did for the transaction of one publish."""
    rows = [(at, work.raw[at][1], (work.raw[at][7] or {}).get("store", "")) for at in work.events]
    before, later = ([row for row in rows if row[0] < publish], [r for r in rows if r[0] > publish])
    open_in = set()
    for _, kind, store in before:
        if kind == "write":
            open_in.add(store)
        elif kind in ("commit", "rollback"):
            open_in.discard(store)
    if not open_in and "commit" in [kind for _, kind, _ in before]:
        return "committed", -1
    fates = {"commit": "committed", "rollback": "undone"}
    for at, kind, store in later:
        if kind in fates and (not open_in or store in open_in):
            return fates[kind], at
    end, how = next(((at, kind) for at, kind, _ in later if kind in ("crash", "raised")), (-1, ""))
    wrote, where = next(
        ((at, store) for at, kind, store in rows[::-1] if kind == "write"), (-1, "")
    )
    if not open_in and wrote < publish:
        return ("none" if end < 0 else "cut"), end
    for at in work.ends if how != "crash" else ():
        if at > wrote and (work.raw[at][7] or {}).get("store", "") == where:
            return fates[work.raw[at][1]], at
    return "undone", end
