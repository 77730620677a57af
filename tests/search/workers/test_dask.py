"""The same work units on a Dask cluster of several processes, and what is said without one."""

import json
import subprocess
import sys
import types

import pytest

from chaosharness import explore
from chaosharness.errors import ChaosharnessError, InvalidDefinition
from chaosharness.search.workers import hands
from tests.search.planted import right, two

CLUSTER = """
import sys
from distributed import LocalCluster

if __name__ == "__main__":
    cluster = LocalCluster(
        n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None
    )
    print(cluster.scheduler_address, flush=True)
    sys.stdin.read()
"""
WORDS = {"runs_max": 80, "target": "tests.search.planted:two", "faults_max": 2}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address of a cluster of two processes with two threads each."""
    script = tmp_path_factory.mktemp("dask") / "cluster.py"
    script.write_text(CLUSTER)
    process = subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield process.stdout.readline().strip()
    process.stdin.close()
    process.wait(60)


def told(**words):
    return json.dumps(explore(two(), **WORDS, **words).to_json(), sort_keys=True)


@pytest.mark.slow
def test_a_cluster_gives_the_same_result(address):
    assert told(mode="guided", dask=address) == told(mode="guided")


@pytest.mark.slow
def test_another_system_behind_the_target_is_noticed_there(address):
    with pytest.raises(ChaosharnessError, match="the calm run of"):
        explore(right(), **WORDS, dask=address)


def test_nobody_at_the_address_is_one_clear_line(monkeypatch):
    with pytest.raises(
        ChaosharnessError, match=r"no Dask scheduler answers at 'tcp://127.0.0.1:9'"
    ):
        told(dask="tcp://127.0.0.1:9", mode="small-first")


def test_without_the_extra_it_is_named(monkeypatch):
    monkeypatch.setattr(hands, "find_spec", lambda name: None)
    with pytest.raises(ChaosharnessError, match=r"pip install 'chaosharness\[dask\]'"):
        told(dask="tcp://127.0.0.1:9")


def test_a_client_is_refused_since_clocks_stand_still_in_its_process():
    with pytest.raises(InvalidDefinition, match=r"say dask=client\.scheduler\.address"):
        told(dask=types.SimpleNamespace(submit=None))


def test_a_scheduler_in_this_process_is_refused(monkeypatch):
    class Scheduler:
        _instances = (types.SimpleNamespace(address="tcp://127.0.0.1:9"),)

    monkeypatch.setitem(
        sys.modules, "distributed.scheduler", types.SimpleNamespace(Scheduler=Scheduler)
    )
    with pytest.raises(InvalidDefinition, match="lives in this process"):
        told(dask="tcp://127.0.0.1:9")
