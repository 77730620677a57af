"""Our scheduler against Airflow's own, on random DAGs, where that is installed."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_random_dags_are_decided_as_airflow_decides_them() -> None:
    pytest.importorskip("airflow.models", reason="apache-airflow-core is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.airflow", "60"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert "60 random DAGs with random ends: 0 differ" in done.stdout, done.stdout + done.stderr
