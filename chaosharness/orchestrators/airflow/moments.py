"""Times as Airflow writes them, from milliseconds of virtual time and back."""

from datetime import UTC, datetime

from chaosharness.kernel.spans import EPOCH_MS

__all__ = ["at", "ms_of", "run_id_of"]


def at(now_ms: int) -> datetime:
    """Return a moment of virtual time."""
    return datetime.fromtimestamp((EPOCH_MS + now_ms) / 1000, UTC)


def ms_of(moment: datetime) -> int:
    """Return the virtual time of a moment, in milliseconds."""
    return round(moment.timestamp() * 1000) - EPOCH_MS


def run_id_of(run_type: str, now_ms: int) -> str:
    """Return the run id that Airflow makes up."""
    return f"{run_type}__{at(now_ms).isoformat()}"
