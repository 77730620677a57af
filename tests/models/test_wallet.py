"""The wallet: on SQLite in PostgreSQL's place, and on the server itself where there is one."""

from __future__ import annotations

import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("fastapi")

from chaosharness import Crash, Pause, Schedule, Site, StoreOutage, explore, smallest
from models.applications.wallet import system as wallet
from tests.adapters.databases.servers import SERVER, needs_postgresql
from tests.adapters.databases.shops import rows

BROKEN = ("each_time", "unlocked", "told_later", "marked_first", "without_key")
FAULTS = {
    "calm": [],
    "crash": [Crash(Site("wallet.transfer/db.insert transfers", "after"))],
    "outage": [StoreOutage(Site("wallet.transfer/db.commit"), lasting=5_000)],
    "stall": [Pause(Site("wallet.transfer/db.select accounts", "after"), lasting=2_000)],
}


@pytest.fixture(scope="module")
def postgresql():
    needs_postgresql()
    return wallet.on_postgresql(SERVER)


def balances(run):
    return {row["name"]: row["cents"] for row in rows(run, "accounts")}


@pytest.mark.parametrize("name", FAULTS)
def test_money_moves_once_on_sqlite(name):
    system = wallet.wallet()
    run = system.run(None, Schedule(FAULTS[name]))
    assert run.ending.verdict == "quiet" and not run.unused
    assert balances(run) == {"ann": 800, "bob": 1500, "cid": 700}
    assert sum(one.kind == "effect" for one in run.history) == 2
    assert run.digest() == system.run(None, Schedule(FAULTS[name])).digest()


@pytest.mark.real_broker
@pytest.mark.parametrize("name", FAULTS)
def test_money_moves_once_on_postgresql(name, postgresql):
    system = wallet.wallet(postgresql)
    run = system.run(None, Schedule(FAULTS[name]))
    assert run.ending.verdict == "quiet" and not run.unused
    assert balances(run) == {"ann": 800, "bob": 1500, "cid": 700}
    assert run.digest() == system.run(None, Schedule(FAULTS[name])).digest()


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_a_slip_is_found_by_one_fault_with_nothing_claimed(name):
    found = smallest(getattr(wallet, name)(), faults_max=1, runs_max=1_000)
    assert found is not None
    assert len(found.schedule) == 1


@pytest.mark.slow
@pytest.mark.real_broker
@pytest.mark.parametrize("name", BROKEN)
def test_a_slip_is_found_on_postgresql(name, postgresql):
    found = smallest(getattr(wallet, name)(postgresql), faults_max=1, runs_max=1_000)
    assert found is not None
    assert len(found.schedule) == 1


@pytest.mark.slow
def test_the_right_one_holds_under_every_single_fault():
    campaign = explore(wallet.wallet(), faults_max=1, runs_max=10_000)
    assert campaign.result == "holds", campaign.sentences()
