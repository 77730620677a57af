"""Runs by which others are judged, and that cannot be made or differ by chance: one sentence."""

import itertools

import pytest

from chaosharness import Schedule, assumed, explore
from chaosharness.errors import Nondeterminism
from chaosharness.faults import Crash
from chaosharness.kernel.site import Site
from tests.checkers.outcomes.test_kinds import one

SCHEMA = "CREATE TABLE orders (id TEXT PRIMARY KEY, at INTEGER);"
COMMITTED = Schedule([Crash(Site("worker.on_order/db.commit", "after"))])


def counts_in_a_closure():
    """Its numbers go on from run to run: nobody can say what comes out of it."""
    numbers = itertools.count()

    def handler(db, client, mail, publish, env):
        def on_order(order: dict):
            with db:
                db.execute(
                    "INSERT OR IGNORE INTO orders VALUES (?, ?)", (order["id"], next(numbers))
                )

        return on_order

    return one(SCHEMA, handler)


def fails_where_nothing_came(*, twice):
    """Sums up what came in the end, and dies where that is nothing."""

    def handler(db, client, mail, publish, env):
        def on_order(order: dict):
            how = "IGNORE" if twice else "REPLACE"
            with db:
                db.execute(f"INSERT OR {how} INTO orders VALUES (?, 1)", (order["id"],))
                if twice:
                    db.execute("UPDATE orders SET at = at + 1 WHERE id = ?", (order["id"],))

        async def sum_up():
            await env.sleep(5_000)
            max(db.execute("SELECT id FROM orders").fetchall())

        env.main(sum_up)
        return on_order

    return one(SCHEMA, handler)


def test_reference_runs_that_differ_by_chance_accuse_nobody():
    system = counts_in_a_closure()
    run = system.run(None, COMMITTED)
    with pytest.raises(Nondeterminism, match=r"event \d+ differs between two runs of Schedule\(\)"):
        run.check(*assumed(system))


def test_a_reference_run_that_cannot_be_made_is_told_with_its_line():
    system = fails_where_nothing_came(twice=False)
    campaign = explore(system, faults_max=1, runs_max=20, mode="small-first")
    assert campaign.result == "unknown"  # so few runs: but nothing is wrong
    [line] = campaign.upset
    assert line.startswith("the workload without item 1 and 2, run to see what may differ, ")
    assert "worker.sum_up raised ValueError: max() arg is an empty sequence at " in line
    assert "test_references.py:" in line


def test_what_is_found_says_by_which_runs_it_could_not_be_excused():
    system = fails_where_nothing_came(twice=True)
    run = system.run(None, COMMITTED)
    [finding] = [one for claim in assumed(system) for one in claim.findings(run.evidence())]
    assert (finding.kind, finding.place) == ("row differs", "db.orders.at+")
    assert "without item 1 and 2" in finding.data["not compared with"][0]


def test_a_workload_whose_calm_run_fails_says_where():
    def handler(db, client, mail, publish, env):
        def on_order(order: dict):
            raise KeyError(order["price"])

        return on_order

    campaign = explore(one(SCHEMA, handler), faults_max=1, runs_max=20)
    assert campaign.result == "unknown"
    assert "raised KeyError: 'price' at " in campaign.upset[0]
    assert "test_references.py:" in campaign.upset[0]
