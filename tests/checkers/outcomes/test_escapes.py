"""What was refused excuses another decision where it was caught, and nothing where it left."""

import sys

import pytest

from chaosharness.faults import ErrorReply, LostRequest
from models.order import broken as order
from tests.checkers.outcomes.sweep import groups, sweep
from tests.checkers.outcomes.test_kinds import one

SCHEMA = "CREATE TABLE orders (id TEXT PRIMARY KEY, state TEXT);"
REFUSED = (ErrorReply, LostRequest)


def tells(*, after):
    """Takes an order, then says so; `after` is what it does when it could not say so."""

    def handler(db, client, mail, publish, env):
        def on_order(order: dict):
            with db:
                row = (order["id"], "taken")
                if not db.execute("INSERT OR IGNORE INTO orders VALUES (?, ?)", row).rowcount:
                    return
            try:
                publish("paid", order, key=order["id"])
            except (ConnectionError, TimeoutError):
                after(db, order)

        return on_order

    return one(SCHEMA, handler)


def passes_it_on(db, order):
    raise sys.exc_info()[1]


def says_so_and_passes_it_on(db, order):
    raise RuntimeError(f"{order['id']} could not be told")


def gives_up(db, order):
    with db:
        db.execute("UPDATE orders SET state = 'refused' WHERE id = ?", (order["id"],))


def begins_again(db, order):
    with db:
        db.execute("DELETE FROM orders WHERE id = ?", (order["id"],))
    raise RuntimeError(f"{order['id']} comes again")


@pytest.mark.parametrize("after", [passes_it_on, says_so_and_passes_it_on])
def test_what_left_the_handler_is_a_mere_repeat(after):
    assert ("message lost", "bus.paid") in groups(sweep(tells(after=after), kinds=REFUSED))


@pytest.mark.parametrize("after", [gives_up, begins_again])
def test_what_was_caught_may_lead_to_another_decision(after):
    assert sweep(tells(after=after), kinds=REFUSED) == []


def test_an_event_that_is_never_told_is_found_where_its_publish_is_refused():
    found = sweep(order.committed_and_never_published(), kinds=REFUSED)
    assert groups(found) == {("effect lost", "courier.book")}
