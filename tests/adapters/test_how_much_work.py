"""How much work a search has on each stack, in what can be counted: time is another each time.

More of it is no mistake, but wants a reason: then the number here is changed with what brought it.
"""

import sys
from importlib import import_module, metadata

import pytest

from chaosharness import explore

AT_MOST = {
    # events of a calm run, and single faults at what it reaches
    "billing": (36, 416, "confluent_kafka"),
    "booking": (27, 248, "flask"),
    "charges": (32, 368, "faststream"),
    "checkout": (49, 434, "fastapi"),
    "deposits": (39, 423, "boto3"),
    "invoices": (64, 388, "pika"),
    "parcels": (31, 198, "celery"),
    "payouts": (35, 416, "aiokafka"),
    "receipts": (30, 89, "taskiq"),
    "refunds": (36, 416, "kafka"),
    "shipments": (61, 778, "fakeredis"),
    "wallet": (45, 388, "fastapi"),
}


def application(name):
    pytest.importorskip(AT_MOST[name][2])
    return getattr(import_module(f"models.applications.{name}.system"), name)()


@pytest.mark.parametrize("name", AT_MOST)
def test_a_calm_run_has_so_many_events_and_a_level_so_many_runs(name):
    events_max, runs_max, _ = AT_MOST[name]
    system = application(name)
    assert len(system.run().history) <= events_max
    begun = explore(system, faults_max=1, runs_max=2, mode="small-first")
    [single] = [level for level in begun.coverage.levels if level.faults == 1]
    assert 0 < single.total <= runs_max


class Asked:
    """Notes which modules are looked for on the disk."""

    def __init__(self):
        self.names = []

    def find_spec(self, name, path=None, target=None):
        self.names.append(name)


def test_what_is_not_installed_is_looked_for_once(monkeypatch):
    """kombu asks for librabbitmq at each connection; that was a tenth of a run."""
    system = application("parcels")
    system.run()
    asked = Asked()
    monkeypatch.setattr(sys, "meta_path", [asked, *sys.meta_path])
    system.run()
    assert "librabbitmq" not in asked.names


def test_a_client_of_redis_does_not_read_its_own_version_again(monkeypatch):
    system = application("shipments")
    system.run()
    asked, real = [], metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: asked.append(name) or real(name))
    system.run()
    assert "redis" not in asked


def test_proxies_of_this_machine_are_not_looked_for(monkeypatch):
    system = application("parcels")
    digest = system.run().digest()
    import requests.utils

    for one in ("getproxies", "proxy_bypass"):
        monkeypatch.setattr(requests.utils, one, lambda *given: pytest.fail("it was looked for"))
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.of.this.machine:3128")
    assert system.run().digest() == digest
