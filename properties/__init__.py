"""The claims: one file per claim, over the models. Pytest collects them all.

Each says which broken twins break the claim, and by which smallest schedule; and that it is
put to the test and holds on the right version. `python -m benchmarks.certify` says the same
of all pairs of faults, and of 20,000 random schedules.
"""

from __future__ import annotations

from chaosharness import Property, Schedule, System, explore, smallest


def broken_by(system: System, claim: Property) -> Schedule:
    """Return the smallest schedule that breaks a claim: without any of its faults it holds."""
    found = smallest(system, claim, mode="small-first")  # the smallest in a fixed order
    assert found is not None, f"{system.name!r} keeps {claim.name!r} under up to two faults"
    assert found.minimal
    return found.schedule


def kept_by(system: System, claim: Property) -> bool:
    """Say whether a claim is put to the test, and holds under every single fault."""
    campaign = explore(system, properties=[claim], faults_max=1, runs_max=10_000)
    assert campaign.coverage.complete
    return campaign.result == "holds"
