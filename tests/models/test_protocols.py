"""The seven protocols: right in calm, broken by so many faults, and what mends them."""

from __future__ import annotations

import pytest

from chaosharness import Crash, LostReply, LostRequest, Pause, Schedule, Site, explore
from chaosharness.faults import FAULTS
from chaosharness.search.sites import legal
from chaosharness.search.target import load_target

LOST = {LostRequest, LostReply}
DIES = {Crash}

BROKEN = {
    "broadcast:simple_broadcast": 1,
    "broadcast:retry_broadcast": 1,
    "broadcast:classic_broadcast": 2,
    "commit:two_phase": 1,
    "commit:cooperative_two_phase": 1,
    "three_phase:three_phase": 1,
    "three_phase:three_phase_that_asks": 2,
    "replication:replication": 3,
}

RIGHT = [
    ("broadcast:redundant_broadcast", FAULTS, 1),
    ("broadcast:redundant_broadcast", LOST, 2),
    ("broadcast:retry_broadcast", LOST, 2),
    ("broadcast:classic_broadcast", LOST, 1),
    ("commit:two_phase", LOST, 1),
    ("commit:logged_two_phase", FAULTS, 1),
    ("commit:logged_two_phase", LOST, 2),
    ("three_phase:three_phase_that_asks", DIES, 1),
    ("three_phase:three_phase_that_asks", LOST, 1),
    ("replication:replication_with_a_least_number", FAULTS, 1),
    ("replication:replication_with_a_least_number", LOST | DIES, 2),
]
"""Of the broken ones too: what they do bear, since a twin that breaks under anything is no twin."""

DIES_ANYWHERE = [
    "broadcast:redundant_broadcast",
    "commit:logged_two_phase",
    "three_phase:three_phase_that_asks",
    "replication:replication_with_a_least_number",
]


def protocol(name):
    return load_target(f"models.protocols.{name}")


@pytest.mark.parametrize(("name", "faults"), BROKEN.items())
def test_a_broken_one_takes_so_many_faults(name, faults):
    kinds = LOST | DIES
    system = protocol(name)
    assert not any(claim.findings(system.run().evidence()) for claim in system.properties)
    [found] = explore(
        system, mode="lineage", kinds=kinds, faults_max=3, stop_at_first=True
    ).counterexamples
    assert len(found.schedule) == faults


@pytest.mark.parametrize(("name", "kinds", "faults"), RIGHT)
def test_what_is_borne_is_borne_everywhere(name, kinds, faults):
    campaign = explore(
        protocol(name), mode="small-first", kinds=kinds, faults_max=faults, runs_max=20_000
    )
    assert campaign.result == "holds", campaign.sentences()


@pytest.mark.parametrize("name", DIES_ANYWHERE)
def test_no_death_breaks_a_right_one_even_between_two_messages_that_leave_together(name):
    """A search takes most deaths before an operation for one after the last. Here each counts."""
    system = protocol(name)
    calm = system.run()
    struck = 0
    for (operation, entity), times in calm.reached.items():
        for phase in ("before", "after"):
            if Crash not in legal(operation, calm.surfaces[operation], phase):
                continue
            for attempt in range(1, times + 1):
                crash = Crash(Site(operation, phase, entity, attempt), down="long")
                run = system.run(None, Schedule([crash]))
                struck += not run.unused
                for claim in system.properties:
                    assert claim.findings(run.evidence()) == [], str(crash)
    assert struck > 10


def test_a_death_between_two_messages_that_leave_together_is_searched():
    """None after a reply is like it: by then all three messages have left."""
    campaign = explore(
        protocol("three_phase:three_phase"), mode="small-first", kinds=LOST | DIES, faults_max=1
    )
    [found] = campaign.counterexamples
    assert found.schedule == Schedule([Crash(Site("coordinator.begin/b.make_ready"))])


def test_an_agent_that_comes_back_has_forgotten_that_it_was_ready():
    crashes = ("a.prepare/d.inquire", "coordinator.begin/d.make_ready")
    system = protocol("three_phase:three_phase_that_asks")

    def broken(down):
        schedule = Schedule([Crash(Site(operation), down=down) for operation in crashes])
        evidence = system.run(None, schedule).evidence()
        return any(claim.findings(evidence) for claim in system.properties)

    assert broken("next")
    assert not broken("long")


def test_three_phase_commit_takes_silence_for_death():
    stall = Pause(Site("coordinator.begin/a.prepare", "after"), lasting="timeout")
    run = protocol("three_phase:three_phase_that_asks").run(None, Schedule([stall]))
    claims = {claim.name: claim.findings(run.evidence()) for claim in run.system.properties}
    assert claims["no two decide differently"]
    assert not claims["all that voted and live decide"]


def test_each_claim_is_put_to_the_test():
    for name in BROKEN:
        run = protocol(name).run()
        assert all(claim.is_tested(run.evidence()) for claim in run.system.properties)
