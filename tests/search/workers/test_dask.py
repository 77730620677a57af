"""The same work units on a Dask cluster of several processes, and what is said without one."""

import json
import subprocess
import sys
import types

import msgspec
import pytest

from chaosharness import explore
from chaosharness.errors import ChaosharnessError, InvalidDefinition
from chaosharness.search.workers import hands, relay
from chaosharness.search.workers.messages import Answer
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


class Task:
    """A unit that is done when it was asked about so many times; None: never."""

    def __init__(self, after):
        self.after = after

    def done(self):
        if self.after:
            self.after -= 1
        return self.after == 0

    def result(self):
        return [b"" if self.after == 0 else b"?"]


class Cluster:
    """A client of a cluster that has these workers, whenever it is asked."""

    def __init__(self, *workers, after=None):
        self.workers = iter(workers)
        self.after = after

    def submit(self, *what, **how):
        return Task(self.after)

    def ncores(self):
        return next(self.workers, {})


def relay_to(cluster, monkeypatch):
    monkeypatch.setattr(relay, "wait", lambda tasks, seconds: None)
    found = object.__new__(relay.Relay)
    found.client, found.brief = cluster, b""
    return found


def test_a_cluster_whose_last_worker_is_gone_is_one_clear_line_and_no_wait_for_ever(monkeypatch):
    (answer,) = relay_to(Cluster({"a": 1}), monkeypatch).answers(3, [(0, [])])
    told = msgspec.msgpack.decode(answer, type=Answer)
    assert told.error == "no worker: the Dask cluster has had none for 30 s, start some"
    assert (told.batch, told.place) == (3, 0)


def test_a_worker_that_is_started_anew_is_waited_for(monkeypatch):
    gone = [{}] * (relay.NOBODY_S - 1)
    cluster = Cluster({"a": 1}, *gone, {"b": 1}, *gone, after=2 * relay.NOBODY_S)
    assert relay_to(cluster, monkeypatch).answers(3, [(0, [])]) == [b""]
