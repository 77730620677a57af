"""Retry and Catch: which retrier takes an error, how long it waits, which catcher is left.

*Source*: Amazon States Language, "Errors"; rules S4 to S6.
"""

from collections.abc import Mapping
from typing import Any

import attrs

from chaosharness.orchestrators.stepfunctions.definition import State
from chaosharness.orchestrators.stepfunctions.errors import StateError
from chaosharness.orchestrators.stepfunctions.intrinsics import Chance

__all__ = ["Tries"]


@attrs.define
class Tries:
    """How often each retrier of a state was used in this visit; a new visit counts anew."""

    state: State
    used: dict[int, int] = attrs.field(factory=dict)

    @property
    def made(self) -> int:
        return sum(self.used.values())

    def next_wait_ms(self, error: StateError, chance: Chance) -> int | None:
        """How long to wait before the next try, in milliseconds; None where there is none."""
        for number, retrier in enumerate(self.state.get("Retry", ())):
            if error.matches(retrier["ErrorEquals"]):
                tried = self.used.get(number, 0)
                if tried >= retrier.get("MaxAttempts", 3):
                    return None
                self.used[number] = tried + 1
                return _wait_ms(retrier, tried, chance)
        return None

    def catcher(self, error: StateError) -> Mapping[str, Any] | None:
        """The first catcher that names the error."""
        for catcher in self.state.get("Catch", ()):
            if error.matches(catcher["ErrorEquals"]):
                found: Mapping[str, Any] = catcher
                return found
        return None


def _wait_ms(retrier: Mapping[str, Any], tried: int, chance: Chance) -> int:
    seconds = retrier.get("IntervalSeconds", 1) * retrier.get("BackoffRate", 2.0) ** tried
    seconds = min(seconds, retrier.get("MaxDelaySeconds", seconds))
    if retrier.get("JitterStrategy") == "FULL":
        seconds *= chance.fraction()
    return int(seconds * 1000)
