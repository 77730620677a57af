"""The thirteen trigger rules: may a task start, is it skipped, has its upstream failed?

*Source*: apache-airflow-core 3.3.2, `airflow/ti_deps/deps/trigger_rule_dep.py` (rule A7), which
`tests/orchestrators/airflow/test_trigger_rules.py` asks itself, where it is installed.
Setups farther up, what a mapped task is mapped over, and which instances upstream are looked at
in a mapped group: `rounds.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs

__all__ = ["RULES", "Upstream", "Verdict", "judge"]

RULES: Final = (
    "all_success",
    "all_failed",
    "all_done",
    "all_done_min_one_success",
    "all_done_setup_success",
    "one_success",
    "one_failed",
    "one_done",
    "none_failed",
    "none_failed_min_one_success",
    "none_skipped",
    "all_skipped",
    "always",
)

SKIPPED: Final = "skipped"
UPSTREAM_FAILED: Final = "upstream_failed"
REMOVED: Final = "removed"


@attrs.frozen
class Upstream:
    """An instance of a task directly upstream: its state, or None while it is not finished."""

    state: str | None
    setup: bool = False


@attrs.frozen
class Verdict:
    """What a rule says of a task that has not started.

    Attributes:
        ready: It may start.
        becomes: It never will: the state it gets instead.
    """

    ready: bool = False
    becomes: str | None = None


@attrs.frozen
class _Count:
    """How many tasks are upstream, and how many of them are in which state."""

    all: int
    setups: int
    success: int
    skipped: int
    failed: int
    upstream_failed: int
    removed: int
    setups_success: int
    setups_skipped: int
    index: int

    @property
    def finished(self) -> int:
        return self.success + self.skipped + self.failed + self.upstream_failed + self.removed

    @property
    def left(self) -> int:
        """How many there are still: those that were removed count for nothing."""
        return self.all - self.removed

    @property
    def done(self) -> bool:
        return self.finished >= self.all

    @property
    def broken(self) -> int:
        return self.failed + self.upstream_failed


def judge(
    rule: str, upstream: Sequence[Upstream], index: int = -1, *, alone: bool | None = None
) -> Verdict:
    """Say what a trigger rule makes of the states upstream, for an instance of a task.

    Args:
        rule: Its name.
        upstream: The instances upstream that it looks at.
        index: The map index of the instance.
        alone: Whether no task is upstream; by default, whether no instance is.
    """
    if (not upstream if alone is None else alone) or rule == "always":
        return Verdict(ready=True)
    states = [one.state for one in upstream]
    setups = [one.state for one in upstream if one.setup]
    count = _Count(
        len(states),
        len(setups),
        states.count("success"),
        states.count(SKIPPED),
        states.count("failed"),
        states.count(UPSTREAM_FAILED),
        states.count(REMOVED),
        setups.count("success"),
        setups.count(SKIPPED),
        index,
    )
    becomes = _BECOMES.get(rule, _nothing)(count)
    if becomes is not None:
        return Verdict(becomes=becomes)
    return Verdict(ready=_READY[rule](count))


def _nothing(count: _Count) -> str | None:
    return None


def _all_success(count: _Count) -> str | None:
    if count.broken:
        return UPSTREAM_FAILED
    if count.skipped:
        return SKIPPED
    fewer = count.removed and count.success and count.index >= count.success
    return REMOVED if fewer else None


def _one_success(count: _Count) -> str | None:
    if count.done and count.finished == count.skipped:
        return SKIPPED
    return UPSTREAM_FAILED if count.done and not count.success else None


def _none_failed_min_one_success(count: _Count) -> str | None:
    if count.broken:
        return UPSTREAM_FAILED
    if count.skipped == count.all:
        return SKIPPED
    return UPSTREAM_FAILED if count.done and not count.success else None


def _all_done_min_one_success(count: _Count) -> str | None:
    if count.skipped:
        return SKIPPED
    return UPSTREAM_FAILED if count.done and not count.success else None


def _all_done_setup_success(count: _Count) -> str | None:
    if not (count.done and count.setups):
        return None
    if count.setups_skipped >= count.setups:
        return SKIPPED
    return None if count.setups_success else UPSTREAM_FAILED


_BECOMES: Final[Mapping[str, Callable[[_Count], str | None]]] = {
    "all_success": _all_success,
    "all_failed": lambda count: SKIPPED if count.success or count.skipped else None,
    "all_done_min_one_success": _all_done_min_one_success,
    "all_done_setup_success": _all_done_setup_success,
    "one_success": _one_success,
    "one_failed": lambda count: SKIPPED if count.done and not count.broken else None,
    "one_done": lambda count: (
        SKIPPED if count.done and not (count.failed or count.success) else None
    ),
    "none_failed": lambda count: UPSTREAM_FAILED if count.broken else None,
    "none_failed_min_one_success": _none_failed_min_one_success,
    "none_skipped": lambda count: SKIPPED if count.skipped else None,
    "all_skipped": lambda count: SKIPPED if count.success or count.broken else None,
}
"""By rule: what a task becomes where it can never start any more; the others wait."""

_READY: Final[Mapping[str, Callable[[_Count], bool]]] = {
    "all_success": lambda count: count.success >= count.left,
    "all_failed": lambda count: count.broken >= count.left,
    "all_done": lambda count: count.done,
    "all_done_min_one_success": lambda count: count.done and count.success > 0,
    "all_done_setup_success": lambda count: (
        count.done and (not count.setups or count.setups_success > 0)
    ),
    "one_success": lambda count: count.success > 0,
    "one_failed": lambda count: count.broken > 0,
    "one_done": lambda count: count.success + count.failed > 0,
    "none_failed": lambda count: count.success + count.skipped >= count.left,
    "none_failed_min_one_success": lambda count: (
        count.success + count.skipped >= count.left and count.success > 0
    ),
    "none_skipped": lambda count: count.done,
    "all_skipped": lambda count: count.skipped == count.all,
}
