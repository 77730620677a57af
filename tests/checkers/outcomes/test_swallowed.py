"""A credit that was refused, and then left out as if nobody would miss it."""

import pytest

from chaosharness import (
    ErrorReply,
    External,
    FailedCommit,
    LostRequest,
    RemoteError,
    SQLite,
    System,
)
from tests.checkers.outcomes.sweep import groups, sweep
from tests.checkers.outcomes.test_refusals import TRIED_AGAIN, shop

NO_ANSWER = (TimeoutError, ConnectionError, RemoteError)
NEVER = (ErrorReply, LostRequest, FailedCommit)
BOOKS = (
    "CREATE TABLE credits (id TEXT PRIMARY KEY, cents INTEGER);"
    "CREATE TABLE balance (cents INTEGER); INSERT INTO balance VALUES (0);"
)


class Purse:
    """A third party that credits each order once, and sends a letter for it."""

    def __init__(self):
        self.seen = set()

    def credit(self, order, cents):
        return self._once(order, "credit")

    def write_to(self, order):
        return self._once(order, "letter")

    def _once(self, order, what):
        if (order, what) in self.seen:
            return External.unchanged()
        self.seen.add((order, what))


def ledger(system: System) -> None:
    """Serve `credit`, by a service of our own."""
    books = system.add(SQLite("books", BOOKS))

    @system.service("ledger")
    def serve(env):
        conn = env.connect(books)

        def credit(order):
            with conn:
                row = (order["id"], order["cents"])
                new = conn.execute("INSERT OR IGNORE INTO credits VALUES (?, ?)", row).rowcount
                if new:
                    conn.execute("UPDATE balance SET cents = cents + ?", (order["cents"],))

        env.serve("credit", credit)


def returns(what: str, *, then: str) -> System:
    """A parcel comes back, its price is credited, and it is said to be done.

    Args:
        what: What is done: `purse.credit`, `purse.letter`, or `ledger.credit` by a service.
        then: What becomes of a no: `raise`, `go on` as if done, or `tell` somebody.
    """
    system, bus = shop("done", "credit.failed")
    db = system.add(SQLite("db", "CREATE TABLE returns (id TEXT PRIMARY KEY, state TEXT);"))
    purse = system.add(External("purse", Purse))
    ledger(system)

    @system.service("returns")
    def returns_(env):
        conn, publish, client = env.connect(db), env.publisher(bus), env.client(purse)
        ways = {
            "purse.credit": lambda order: client.credit(order["id"], order["cents"]),
            "purse.letter": lambda order: client.write_to(order["id"]),
            "ledger.credit": lambda order: env.call("ledger", "credit", order, timeout_s=5),
        }

        def on_order(order: dict):
            try:
                ways[what](order)
            except NO_ANSWER:
                if then == "raise":
                    raise
                if then == "tell":
                    publish("credit.failed", order, key=order["id"])
            with conn:
                row = (order["id"], "done")
                conn.execute("INSERT OR REPLACE INTO returns VALUES (?, ?)", row)
            publish("done", {"id": order["id"]}, key=order["id"])

        env.consume(bus, "orders", on_order, **TRIED_AGAIN)

    return system


@pytest.mark.parametrize(
    ("what", "place"),
    [("purse.credit", "purse.credit"), ("ledger.credit", "books.balance,books.credits")],
)
def test_a_credit_that_is_left_out_as_if_done_is_half(what, place):
    found = sweep(returns(what, then="go on"), kinds=NEVER)
    assert groups(found) == {("half done", place)}
    assert "which was refused and never made up for" in found[0].summary


@pytest.mark.parametrize("what", ["purse.credit", "ledger.credit"])
@pytest.mark.parametrize("then", ["raise", "tell"])
def test_a_credit_that_comes_again_or_is_told_to_somebody_is_none(what, then):
    assert sweep(returns(what, then=then), kinds=NEVER) == []


def test_a_letter_may_be_missing():
    assert sweep(returns("purse.letter", then="go on"), kinds=NEVER) == []


def test_what_may_be_missing_is_said_once():
    system = returns("purse.credit", then="go on")
    assert sweep(system, kinds=NEVER, optional=["purse.credit"]) == []
