"""What a rule and a target go by, with EventBridge's ranges and defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

DAY_MS: Final = 86_400_000
AGE_MS_MIN: Final = 60_000
ATTEMPTS_MAX: Final = 185
TARGETS_MAX: Final = 5
ENTRIES_MAX: Final = 10
SIZE_MAX: Final = 262_144
PAUSE_MS_MAX: Final = 480_000


def within(low: int, high: int) -> Callable[[Any, Any, Any], None]:
    """Return what checks that a value is a whole number from `low` to `high`."""

    def check(_: Any, attribute: Any, value: Any) -> None:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not low <= value <= high:
            words = f"{low:,} to {high:,}"
            raise ValueError(f"{attribute.name} must be a whole number, {words}, not {value!r}")

    return check


@attrs.frozen(kw_only=True)
class TargetSettings:
    """A queue that a rule hands events on to.

    Attributes:
        queue: Where they go.
        group: MessageGroupId, where it is a FIFO queue.
        attempts_max: How often it is tried again.
        age_ms_max: How old an event may be for that.
        dead_letter: The queue for events that cannot be delivered.
    """

    queue: str
    group: str | None = None
    attempts_max: int = attrs.field(default=ATTEMPTS_MAX, validator=within(0, ATTEMPTS_MAX))
    age_ms_max: int = attrs.field(default=DAY_MS, validator=within(AGE_MS_MIN, DAY_MS))
    dead_letter: str | None = None


@attrs.frozen(kw_only=True)
class RuleSettings:
    """A rule: which events, and whether it is on."""

    pattern: Mapping[str, Any]
    enabled: bool = True


def pause_ms(attempt: int) -> int:
    """Return how long after an attempt that failed the next one comes: 1 s, doubled, 8 minutes.

    AWS says "exponential back off and jitter", and no more.
    """
    return min(1_000 << min(attempt - 1, 20), PAUSE_MS_MAX)
