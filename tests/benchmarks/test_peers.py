"""The benchmark beside other tools: all run the scenario, and what is missing is named."""

import attrs
import pytest

from benchmarks import peers
from benchmarks.peers import OURS, PEERS, installed

HERE, _ = installed((*OURS, *PEERS))
STRIKING = [peer for peer in HERE if not peer.calm]
LIKELY = range(20, 50)
"""Runs of 100 in which one of eight to nine deliveries crashes after its effect: 34."""


def absent():
    raise ImportError


@pytest.mark.parametrize("peer", HERE, ids=lambda peer: peer.name)
def test_the_right_consumer_does_nothing_twice(peer):
    assert not any(HERE[peer](seed, True) for seed in range(10))


@pytest.mark.parametrize("peer", STRIKING, ids=lambda peer: peer.name)
def test_the_broken_consumer_fails_as_often_as_crashes_make_it(peer):
    assert sum(HERE[peer](seed, False) for seed in range(100)) in LIKELY


def test_ours_strikes_every_crash_of_a_delivery_that_comes():
    system = peers.system("asyncio", right=False)
    for seed in range(30):
        run = system.run(None, peers.crashes(seed, "effects.do"))
        assert all(fault.site.attempt > 1 for fault in run.unused)


def test_what_is_not_installed_is_named_with_what_installs_it(capsys, monkeypatch):
    monkeypatch.setattr(peers, "SEEDS", 3)
    monkeypatch.setattr(peers, "SEARCHES", 1)
    one = attrs.evolve(PEERS[0], name="a tool", make=absent, package="tool[x]", python=(9, 9))
    peers.main((one,))
    printed = capsys.readouterr().out
    assert "not installed" in printed
    assert "a tool: pip install 'tool[x]' (needs Python 9.9 or newer)" in printed


def test_what_cannot_be_imported_for_another_reason_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        installed((attrs.evolve(PEERS[0], make=lambda: 1 / 0),))
