"""The same business in the same three styles, with the same mistake: a charge without a key."""

from __future__ import annotations

from chaosharness import System
from models.styles import right
from models.styles.business import KeylessCashier


def choreography() -> System:
    """An order that comes again is charged again."""
    return right.choreography(name="choreography without a key", cashier=KeylessCashier)


def orchestration() -> System:
    """A command that comes again is charged again: that its answer is durable does not help."""
    return right.orchestration(name="orchestration without a key", cashier=KeylessCashier)


def hybrid() -> System:
    """Likewise."""
    return right.hybrid(name="hybrid without a key", cashier=KeylessCashier)
