"""Twins of the order saga on Temporal, each with one planted bug."""

from temporalio import activity

from chaosharness import System
from models.temporal.right import build


def _key_of_attempt(id: str) -> str:
    """Another key at each attempt."""
    return f"{id}-{activity.info().attempt}"


def key_of_attempt() -> System:
    return build(name="key of attempt", key_of=_key_of_attempt)


BROKEN = (key_of_attempt,)
