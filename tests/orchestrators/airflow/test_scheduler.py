"""Our scheduler and API against Airflow's own, on random DAGs, where that is installed."""

import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("benchmark", "count", "words"),
    [
        ("airflow", 60, "60 random DAGs with random ends: 0 differ"),
        ("airflow_requests", 12, "12 sequences of 40 requests: 0 differ"),
    ],
)
def test_airflow_decides_and_answers_as_ours_does(benchmark: str, count: int, words: str) -> None:
    pytest.importorskip("airflow.models", reason="apache-airflow-core is not installed")
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{benchmark}", str(count)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert words in done.stdout, done.stdout + done.stderr
