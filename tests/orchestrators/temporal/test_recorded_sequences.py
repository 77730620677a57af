"""120 sequences of 30 operations, as a real Temporal server answered them."""

import pytest

from tests.orchestrators.temporal.recorded import DATA, EXPLAINED, difference, sequences

pytestmark = pytest.mark.skipif(
    not DATA.exists(), reason=f"the recordings are not beside the checkout: {DATA}"
)


def test_the_machine_answers_as_the_real_server_did() -> None:
    wrong = {
        sequence["seed"]: found
        for sequence in sequences()
        if sequence["seed"] not in EXPLAINED and (found := difference(sequence))
    }
    assert wrong == {}


def test_each_explanation_is_needed() -> None:
    needed = {s["seed"] for s in sequences() if s["seed"] in EXPLAINED and difference(s)}
    assert needed == set(EXPLAINED)


def test_a_wrong_machine_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    from chaosharness.orchestrators.temporal.run import Run

    monkeypatch.setattr(Run, "flush", lambda self: bool(self.buffer))  # buffered events are lost
    assert sum(bool(difference(sequence)) for sequence in sequences()) > len(EXPLAINED) + 5
