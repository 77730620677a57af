"""What a saga wants next, from what is known of its steps: as data, or as code that is replayed.

Both are pure: the same tasks, the same answer. Code is run from its beginning each time, and
what it asks for is answered from the journal (N10); where the journal has a step that the code
no longer asks for, or a list has another step before it, it is stuck and not guessed at (N11).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from functools import lru_cache
from typing import Any, Final, Protocol

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.places import at_line, words_of
from chaosharness.orchestrators.saga.definition import Approval, Ask, Saga, Step
from chaosharness.orchestrators.saga.errors import Refused
from chaosharness.orchestrators.saga.shape import see

__all__ = ["Flow", "Known", "Wanted", "wanted"]

DONE: Final = "done"
NOT_DONE: Final = frozenset({"refused", "given up"})


class Known(Protocol):
    """What is known of a step that was asked for."""

    @property
    def state(self) -> str:
        """How far it is."""

    @property
    def value(self) -> Any:
        """Its result."""

    @property
    def why(self) -> str:
        """What went wrong."""

    @property
    def settled(self) -> int:
        """When it was settled: a number that grows."""


@attrs.frozen
class Wanted:
    """What a saga wants.

    Attributes:
        steps: What is asked for and not done yet, in order.
        known: All steps that were ever asked for, by name.
        failed: Why it cannot go on, and must be undone; None if it can.
        ended: Whether it is through.
        stuck: What is wrong with its definition; "" if nothing is.
        value: What its code has returned.
    """

    steps: tuple[Ask, ...] = ()
    known: Mapping[str, Ask] = attrs.field(factory=dict)
    failed: str | None = None
    ended: bool = False
    stuck: str = ""
    value: Any = None


def wanted(saga: Saga, tasks: Mapping[str, Known], input: Any) -> Wanted:
    """Return what a saga wants, given what is known of its steps."""
    if saga.code is None:
        see(saga, [])
        return _if_it_fits(_in_order(saga, tasks, _of_data(saga, tasks)), tasks)
    groups: list[tuple[Ask, ...]] = []
    found = _of_code(saga.code, tasks, input, groups)
    see(saga, groups)
    return found


def _of_data(saga: Saga, tasks: Mapping[str, Known]) -> Wanted:
    for stage in saga.stages:
        rest: list[Ask] = []
        refused: list[tuple[int, str]] = []
        for branch in stage:
            for one in branch:
                task = tasks.get(one.name)
                if task is not None and task.state in NOT_DONE:
                    refused.append((task.settled, f"{one.name}: {task.why}"))
                if task is None or task.state != DONE:
                    rest.append(one)
                    break
        if refused:
            return Wanted(known=saga.known, failed=min(refused)[1])
        if rest:
            return Wanted(tuple(rest), saga.known)
    return Wanted(known=saga.known, ended=True)


def _in_order(saga: Saga, tasks: Mapping[str, Known], wanted: Wanted) -> Wanted:
    """Say that a saga is stuck where its journal has a step, and not all that now comes before it.

    Its list was changed while it went on: what came in between would be done too late, or never.
    """
    if saga.row and all(map(tasks.__contains__, saga.row[: len(tasks)])):
        return wanted  # all that the journal has comes first, and nothing in between
    before: tuple[str, ...] = ()
    for stage in saga.stages:
        missing: tuple[str, ...] = ()
        for branch in stage:
            gap = before
            for one in branch:
                if one.name in tasks and gap:
                    words = f"{gap[0]!r} comes before {one.name!r} now, which its journal has"
                    return attrs.evolve(wanted, steps=(), failed=None, ended=False, stuck=words)
                if one.name not in tasks:
                    gap = (*gap, one.name)
            missing = (*missing, *gap)
        before = missing
    return wanted


@lru_cache(maxsize=4_096, typed=True)
def _same_step(name: str, **options: Any) -> Step:
    """A step is a value: code that is run again asks for the ones that it asked for before."""
    return Step(name, **options)


def _step(name: str, options: dict[str, Any]) -> Step:
    if "value" in options:  # any value of the user's: of two that are equal each stays what it is
        return Step(name, **options)
    try:
        return _same_step(name, **options)
    except TypeError:  # one of them has no hash, or there is no such option: it says so itself
        return Step(name, **options)


class Asked:
    """What a coroutine awaits: one step, or several at once."""

    def __init__(self, steps: tuple[Ask, ...], *, one: bool) -> None:
        self.steps = steps
        self.one = one

    def __await__(self) -> Generator[tuple[Ask, ...], tuple[Any, ...], Any]:
        values = yield self.steps
        return values[0] if self.one else values


class Flow:
    """What the code of a saga asks for its steps by: its first argument."""

    def __init__(self) -> None:
        self._names: dict[str, int] = {}

    def _named(self, name: str) -> str:
        """The second step of one name is another step: `charge#2`."""
        number = self._names[name] = self._names.get(name, 0) + 1
        return name if number == 1 else f"{name}#{number}"

    def do(self, name: str, **options: Any) -> Asked:
        """Ask for a step: await it for its result; options as of `Step`.

        Raises:
            Refused: When awaited: it did not happen. If this leaves the code, all is undone.
        """
        return Asked((_step(self._named(name), {"action": name, **options}),), one=True)

    def approval(self, name: str, *, within_ms: int | None = None) -> Asked:
        """Wait for a person; raises as `do` does."""
        return Asked((Approval(self._named(name), within_ms=within_ms),), one=True)

    def together(self, *asked: Asked) -> Asked:
        """Ask for several steps at once: await it for their results, in order."""
        return Asked(tuple(step for one in asked for step in one.steps), one=False)


def _of_code(
    code: Callable[..., Any],
    tasks: Mapping[str, Known],
    input: Any,
    groups: list[tuple[Ask, ...]],
) -> Wanted:
    """Run the code of a saga over what is known; `groups` takes what it asks for, in order."""
    known: dict[str, Ask] = {}
    coroutine = code(Flow(), input)
    answer: Any = None
    error: Refused | None = None
    try:
        while True:
            asked = coroutine.send(answer) if error is None else coroutine.throw(error)
            answer, error = None, None
            groups.append(_checked(asked))
            for one in groups[-1]:
                known[one.name] = one
            found = [tasks.get(one.name) for one in asked]
            pairs = list(zip(asked, found, strict=True))
            refused = [
                (task.settled, one.name, task.why)
                for one, task in pairs
                if task is not None and task.state in NOT_DONE
            ]
            if refused:
                _, name, why = min(refused)
                error = Refused(why, step=name)
            elif all(task is not None and task.state == DONE for task in found):
                answer = tuple(task.value for task in found if task is not None)
            else:
                rest = (one for one, task in pairs if task is None or task.state != DONE)
                return _if_it_fits(Wanted(tuple(rest), known), tasks)
    except StopIteration as ended:
        return _if_it_fits(Wanted(known=known, ended=True, value=ended.value), tasks)
    except Refused as failed:
        return _if_it_fits(Wanted(known=known, failed=str(failed)), tasks)
    except InvalidDefinition:
        raise
    except Exception as bug:
        return Wanted(known=known, stuck=f"its code raised {words_of(bug)}{at_line(bug)}")
    finally:
        coroutine.close()


def _checked(asked: Any) -> tuple[Ask, ...]:
    if isinstance(asked, tuple) and all(isinstance(one, Step | Approval) for one in asked):
        return asked
    raise InvalidDefinition(
        f"the code of a saga awaits what it asks for by its first argument, and nothing else; it "
        f"awaited {asked!r}. Do such work in a step"
    )


def _if_it_fits(wanted: Wanted, tasks: Mapping[str, Known]) -> Wanted:
    """Say that a saga is stuck where it no longer asks for what it has asked for before."""
    gone = [name for name in tasks if name not in wanted.known]
    if not gone:
        return wanted
    words = f"it does not ask for {gone[0]!r} any more, which its journal has"
    return attrs.evolve(wanted, steps=(), failed=None, ended=False, stuck=words)
