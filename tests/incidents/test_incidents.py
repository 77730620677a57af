"""Services after public bug reports, each broken and mended: the broken ones are named.

With nothing claimed, and with their claims; and of the mended ones nothing is said at all.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from chaosharness import explore

NAMES = sorted(
    path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("test_")
)
DOORS = ("nothing claimed", "claimed")
LONG = ("visibility_shorter_than_eta", "orphan_of_random_consumer")
"""Mended ones whose single faults take most of a minute on a busy machine."""


def campaign(name, which, door):
    incident = import_module(f"tests.incidents.{name}")
    properties = None if door == "nothing claimed" else incident.CLAIMS
    system = getattr(incident, which)
    return explore(system, properties=properties, faults_max=incident.FAULTS)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", NAMES)
def test_the_broken_service_is_named(name, door):
    found = campaign(name, "broken", door)
    assert found.result == "violated", found.sentences()
    incident = import_module(f"tests.incidents.{name}")
    assert all(len(one.schedule) <= incident.FAULTS for one in found.counterexamples)


@pytest.mark.parametrize(
    "door", [DOORS[0], pytest.param(DOORS[1], marks=pytest.mark.slow)], ids=DOORS
)
@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=pytest.mark.slow) if one in LONG else one for one in NAMES]
)
def test_of_the_mended_service_nothing_is_said(name, door):
    found = campaign(name, "right", door)
    assert found.result == "holds", (found.sentences(), found.counterexamples)
