"""What is kept of a saga, and what is said to those who act for it."""

from __future__ import annotations

import json
from operator import attrgetter
from typing import Any, Final, Literal

import attrs

__all__ = ["Command", "Record", "Reply", "as_json"]

as_json: Final = json.JSONEncoder(separators=(",", ":")).encode
"""Spells a value as JSON, without spaces."""

Phase = Literal["do", "undo"]
Outcome = Literal["done", "refused", "failed", "unknown"]


@attrs.frozen
class Record:
    """One transition of a saga, as its journal keeps it.

    Attributes:
        kind: What happened: `asked`, `done`, `refused`, `failed`, `unknown`, `fell back`, `given
            up`, `resolved`, or of the saga `saga started`, `saga parked`, `saga compensating`,
            `saga completed`, `saga compensated`.
        at_ms: When.
        lease: The number of the lease under which it was written.
        step: Which step; "" for the saga as a whole.
        phase: Whether it is done or undone.
        action: What is asked for.
        attempt: Of this action, from 1.
        until_ms: When time acts next: an answer is overdue, or it is asked again.
        value: The input, the result.
        why: What went wrong.
    """

    kind: str
    at_ms: int
    lease: int = attrs.field(default=0, kw_only=True)
    step: str = attrs.field(default="", kw_only=True)
    phase: Phase = attrs.field(default="do", kw_only=True)
    action: str = attrs.field(default="", kw_only=True)
    attempt: int = attrs.field(default=0, kw_only=True)
    until_ms: int | None = attrs.field(default=None, kw_only=True)
    value: Any = attrs.field(default=None, kw_only=True)
    why: str = attrs.field(default="", kw_only=True)

    def as_text(self) -> str:
        """Return it as JSON, without what is not said."""
        said = {name: value for (name, unsaid), value in zip(_FIELDS, _VALUES(self), strict=True)
                if value != unsaid}  # fmt: skip
        return as_json(said)

    @classmethod
    def of_text(cls, text: str) -> Record:
        """Return it from its JSON."""
        return cls(**json.loads(text))


_FIELDS: Final = tuple((one.name, one.default) for one in attrs.fields(Record))
_VALUES: Final = attrgetter(*(name for name, _ in _FIELDS))


@attrs.frozen
class Command:
    """Do this for that saga: what an action is called with, or what is sent to who does it.

    Attributes:
        saga: Which saga.
        step: For which step.
        phase: Whether to do it or to undo it.
        action: What to do.
        key: The idempotency key: the same at every attempt, and of every orchestrator (N3).
        attempt: The how manieth time it is asked for, from 1.
        fence: The number of the lease under which it is asked for: who has seen a greater one
            may refuse this one.
        input: The input of the saga.
        value: Of `do` what the step says, of `undo` what doing it has returned.
        results: What the steps that are done have returned, by name.
    """

    saga: str
    step: str
    phase: Phase
    action: str
    key: str
    attempt: int
    fence: int
    input: Any = None
    value: Any = None
    results: dict[str, Any] = attrs.field(factory=dict)

    def reply(self, outcome: Outcome = "done", value: Any = None, *, why: str = "") -> Reply:
        """Return the answer to this."""
        return Reply(
            self.saga, self.step, self.phase, self.action, self.attempt, outcome, value, why
        )


@attrs.frozen
class Reply:
    """How it came out.

    Attributes:
        saga, step, phase, action, attempt: As in the command.
        outcome: `done`; `refused`: it did not happen and never will; `failed`: this attempt did
            not happen; `unknown`: it may have happened.
        value: The result.
        why: What went wrong.
    """

    saga: str
    step: str
    phase: Phase
    action: str
    attempt: int
    outcome: Outcome = "done"
    value: Any = None
    why: str = ""
