"""Settings of this repository's own tests."""

import os

import pytest
from hypothesis import settings

# A pytest that a test starts would load these plugins of installed libraries too: a second each.
STRANGERS = ("conductor-agents-testing", "faker", "anyio")
WITHOUT = " ".join(f"-p no:{name}" for name in STRANGERS)
os.environ["PYTEST_ADDOPTS"] = f"{os.environ.get('PYTEST_ADDOPTS', '')} {WITHOUT}".strip()

# Real time says nothing here: machines are shared, and runs have budgets of their own.
settings.register_profile("chaosharness", deadline=None)
settings.load_profile("chaosharness")


@pytest.fixture(autouse=True)
def _without_strangers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep them out of what pytester starts too: it drops the options of the environment."""
    if "pytester" in request.fixturenames:
        request.getfixturevalue("pytester")
        monkeypatch.setenv("PYTEST_ADDOPTS", WITHOUT)
