"""What `python -m benchmarks engines` measures does what it says."""

import pytest

from benchmarks import engines


@pytest.mark.parametrize("row", engines.ROWS, ids=lambda row: row.name)
def test_all_five_steps_are_done(row: engines.Measured) -> None:
    if row.system is engines.temporal:
        pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is missing")
    run = engines.running(row)()
    text = "\n".join(str(dict(event.data)) + event.operation for event in run.history)
    assert all(step in text for step in engines.STEPS)


def test_the_crash_makes_the_workflow_be_replayed() -> None:
    pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is missing")
    row = next(one for one in engines.ROWS if one.faults)
    run = engines.running(row)()
    assert len(list(run.history.of("crash"))) == 1
    assert "ACTIVITY_TASK_TIMED_OUT" not in str(run.event_histories)  # retried, within its patience
    assert '"attempt": 2' in str(run.event_histories)
