"""AWS's own recorded histories, played through the interpreter."""

from collections import Counter

import pytest

from benchmarks.recorded import DATA, EXPLAINED, difference, explained, recordings

pytestmark = pytest.mark.skipif(
    not DATA.exists(), reason=f"the recordings are not beside the checkout: {DATA}"
)


def test_every_recorded_history_is_equal_or_explained() -> None:
    rows: Counter[str] = Counter()
    wrong: dict[str, str] = {}
    for recording in recordings():
        if recording.changed:
            continue
        kind = "blanked" if recording.redacted else "as recorded"
        found = difference(recording)
        rows[f"{kind}: {'equal' if not found else 'other'}"] += 1
        if found and not explained(recording):
            wrong[recording.name] = found
    assert wrong == {}
    assert rows["as recorded: equal"] >= 274  # of 299: 92 %
    assert rows["blanked: equal"] >= 75


def test_each_explanation_is_needed() -> None:
    needed = {
        part
        for recording in recordings()
        for part in EXPLAINED
        if not recording.changed and part in recording.name and difference(recording)
    }
    assert needed == set(EXPLAINED)
