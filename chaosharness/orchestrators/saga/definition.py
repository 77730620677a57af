"""What a saga is, as data: steps, what undoes each, who else could do it, how often to ask.

*Source*: Garcia-Molina and Salem, "Sagas" (1987): a step has a compensation, and those of the
steps that happened run in reverse; Richardson, "Microservices Patterns", chapter 4 (orchestration).
Rules N1 to N14 are those of `docs/explanation/orchestrators.md`.
*Not modelled*: jitter between attempts; a pivot that is declared (a step without `undo` is one).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import iscoroutinefunction, signature
from typing import Any, Literal

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.kernel import allowed
from chaosharness.kernel.allowed import spelled
from chaosharness.kernel.places import asked_at

__all__ = ["Approval", "Fallback", "Parallel", "Retry", "Saga", "Step"]


@attrs.frozen(kw_only=True)
class Retry:
    """How often an action is asked for, and how long is waited in between (N4).

    Args:
        times: Attempts in all, from 1.
        first_ms: The wait after the first one.
        factor: By how much each further wait is longer.
        most_ms: The longest wait.
    """

    times: int = attrs.field(default=5, validator=allowed.whole(1))
    first_ms: int = attrs.field(default=1_000, validator=allowed.whole(0))
    factor: int = attrs.field(default=2, validator=allowed.whole(1))
    most_ms: int = attrs.field(default=60_000, validator=allowed.whole(0))

    def wait_ms(self, attempt: int) -> int:
        """Return how long to wait after an attempt, counted from 1."""
        grown: int = self.first_ms * self.factor ** min(attempt - 1, 60)
        return min(grown, self.most_ms)


@attrs.frozen
class Fallback:
    """Another provider of a step: asked once the one before is known not to have done it (N6).

    Args:
        action: What it is asked for.
        undo: What undoes that.
    """

    action: str = attrs.field(validator=allowed.text())
    undo: str | None = attrs.field(default=None, validator=allowed.text_or_none(), kw_only=True)


def _fallbacks(given: Any) -> Any:
    """Fallbacks; what is none is refused where the step is known."""
    return tuple(given) if isinstance(given, list | tuple) else (given,)


@attrs.frozen
class Step:
    """One step of a saga.

    Args:
        name: What journals and reports call it; the action that is asked for, too, by default.
        action: What is asked for, where that has another name.
        undo: The action that makes up for it; None where there is nothing to make up for.
        value: What goes with the command, beside the input of the saga.
        retry: How often it is asked for.
        undo_retry: How often `undo` is asked for, before a person has to look.
        fallback: Who is asked next, in order, where it failed and is known not to have happened.
        timeout_ms: How long a reply is waited for. A call lasts as long as the lease instead.
        unknown: What comes after the last attempt where one may have happened: `park` it for a
            person, or `undo` the saga with this step in it; then `undo` must do no harm where
            nothing happened, and must keep what comes late from happening (N5).
    """

    name: str = attrs.field(validator=allowed.text())
    action: str = attrs.field(default="", kw_only=True)
    undo: str | None = attrs.field(default=None, validator=allowed.text_or_none(), kw_only=True)
    value: Any = attrs.field(default=None, kw_only=True)
    retry: Retry = attrs.field(default=Retry(), kw_only=True)
    undo_retry: Retry = attrs.field(default=Retry(times=100), kw_only=True)
    fallback: tuple[Fallback, ...] = attrs.field(default=(), converter=_fallbacks, kw_only=True)
    timeout_ms: int = attrs.field(default=30_000, validator=allowed.whole(1), kw_only=True)
    unknown: Literal["park", "undo"] = attrs.field(
        default="park", validator=allowed.one_of("park", "undo"), kw_only=True
    )

    def __attrs_post_init__(self) -> None:
        if not self.action:
            object.__setattr__(self, "action", self.name)
        for field, given in (("retry", self.retry), ("undo_retry", self.undo_retry)):
            if not isinstance(given, Retry):
                raise InvalidDefinition(
                    f"step {spelled(self.name)} says {field}={spelled(given)}: give it a Retry, "
                    f"such as Retry(times=3){asked_at()}"
                )
        for one in self.fallback:
            if not isinstance(one, Fallback):
                raise InvalidDefinition(
                    f"step {spelled(self.name)} says fallback={spelled(one)}: give "
                    f'it a Fallback, such as Fallback("send"){asked_at()}'
                )
        if not isinstance(self.action, str):
            raise InvalidDefinition(
                f"step {spelled(self.name)} says action={spelled(self.action)}: it "
                f"is the name of what is asked for, a text{asked_at()}"
            )
        self._check_names()
        if self.unknown == "undo" and self.undo is None:
            raise InvalidDefinition(
                f'step {spelled(self.name)} says unknown="undo" and has no undo: name the action '
                f'that undoes it, or leave it to a person with unknown="park"{asked_at()}'
            )

    def _check_names(self) -> None:
        """Refuse two providers of one action, and an action that undoes itself: what is asked for
        again under one key is the same deed, and neither another provider's nor its undoing."""
        does = [self.action, *(one.action for one in self.fallback)]
        twice = next((one for one in does if does.count(one) > 1), None)
        if twice is not None:
            raise InvalidDefinition(
                f"step {spelled(self.name)} asks for {spelled(twice)} twice: give each provider "
                f"an action of its own{asked_at()}"
            )
        undoes = (self.undo, *(one.undo for one in self.fallback))
        both = next((one for one in undoes if one in does), None)
        if both is not None:
            raise InvalidDefinition(
                f"step {spelled(self.name)} is undone by {spelled(both)}, which is what it does: "
                f"give what undoes it an action of its own{asked_at()}"
            )

    def actions(self) -> Iterator[str]:
        """Yield all that it may ask for."""
        for action, undo in (
            (self.action, self.undo),
            *((f.action, f.undo) for f in self.fallback),
        ):
            yield action
            if undo:
                yield undo

    def undo_of(self, action: str) -> str | None:
        """Return what undoes the action of one of its providers."""
        found = next((one for one in self.fallback if one.action == action), None)
        return self.undo if found is None else found.undo

    def after(self, action: str) -> str | None:
        """Return what the next provider is asked for, if there is one."""
        names = [self.action, *(one.action for one in self.fallback)]
        rest = names[names.index(action) + 1 :]
        return rest[0] if rest else None


@attrs.frozen
class Approval:
    """A step that a person does: the saga is parked until somebody answers (N9).

    Args:
        name: What is waited for.
        within_ms: How long; then it counts as refused. None: for ever.
    """

    name: str = attrs.field(validator=allowed.text())
    within_ms: int | None = attrs.field(
        default=None, validator=allowed.whole_or_none(1), kw_only=True
    )


Ask = Step | Approval
Branch = tuple[Ask, ...]


class Parallel:
    """Branches that go on side by side: each is a step, or steps in order (N7)."""

    def __init__(self, *branches: Any) -> None:
        self.branches: tuple[Branch, ...] = tuple(
            tuple(branch) if isinstance(branch, list | tuple) else (branch,) for branch in branches
        )
        wrong = [one for branch in self.branches for one in branch if not _is_ask(one)]
        if len(self.branches) < 2 or wrong or not all(self.branches):
            raise InvalidDefinition(
                f"Parallel takes two branches or more, each a Step or a list of steps, not "
                f"{spelled(wrong[0] if wrong else list(branches))}{asked_at()}"
            )

    def __repr__(self) -> str:
        return f"Parallel({', '.join(map(repr, self.branches))})"


def _is_ask(value: Any) -> bool:
    return isinstance(value, Step | Approval)


class Saga:
    """A saga: its steps as data, or one `async` function that asks for them (N1).

    Args:
        name: What journals and reports call it.
        parts: Steps, approvals and `Parallel`s in order; or one `async def order(saga, input)`
            that asks with `await saga.do("charge", undo="refund")`.

    Raises:
        InvalidDefinition: There are no steps, or two of one name.

    >>> Saga("order", Step("charge", undo="refund"), Step("ship"))
    """

    def __init__(self, name: str, *parts: Any) -> None:
        if not isinstance(name, str) or not name:
            raise InvalidDefinition(f'a saga needs a name, not {spelled(name)}: Saga("order", ...)')
        self.name = name
        self.code: Callable[..., Any] | None = None
        self.stages: tuple[tuple[Branch, ...], ...] = ()
        self.known: dict[str, Ask] = {}
        self.row: tuple[str, ...] = ()  # its steps, where one comes after the other
        if len(parts) == 1 and iscoroutinefunction(parts[0]):
            self.code = parts[0]
            _check_code(name, parts[0])
            return
        self.stages = tuple(map(self._stage, parts))
        for stage in self.stages:
            for branch in stage:
                for one in branch:
                    if one.name in self.known:
                        raise InvalidDefinition(
                            f"saga {spelled(name)} has two steps named {spelled(one.name)}"
                        )
                    self.known[one.name] = one
        if all(len(stage) == 1 for stage in self.stages):
            self.row = tuple(self.known)
        if not self.known:
            raise InvalidDefinition(
                f"saga {spelled(name)} has no steps: give it steps, or one async function"
                f"{asked_at()}"
            )

    def __repr__(self) -> str:
        return f"Saga({self.name!r})"

    def _stage(self, part: Any) -> tuple[Branch, ...]:
        if isinstance(part, Parallel):
            return part.branches
        if _is_ask(part):
            return ((part,),)
        raise InvalidDefinition(
            f"saga {spelled(self.name)} is made of Step, Approval and Parallel, or of one async "
            f"function; {spelled(part)} is none of these{asked_at()}"
        )

    def actions(self) -> frozenset[str]:
        """Return all that its steps may ask for; of code that is not known before it runs."""
        steps = (one for one in self.known.values() if isinstance(one, Step))
        return frozenset(action for step in steps for action in step.actions())


def _check_code(name: str, code: Callable[..., Any]) -> None:
    """Refuse a function that cannot be called with the flow and the input."""
    try:
        signature(code).bind(None, None)
    except TypeError as error:
        raise InvalidDefinition(
            f"saga {spelled(name)} is run as {getattr(code, '__name__', 'it')}(saga, input), and "
            f"that does not fit: {error}{asked_at()}"
        ) from None
