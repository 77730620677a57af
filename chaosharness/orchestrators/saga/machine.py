"""One saga as a pure machine: operations and time in, records out.

It asks nobody for the time, calls nobody and stores nothing: whoever drives it takes its records,
makes them durable, and only then does what they say. Read anew from its records it is the same.

*Source*: rules N1 to N14 of `docs/explanation/orchestrators.md`.
*Not modelled*: several calls of one saga at a time (commands go out side by side, N7).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal

import attrs

from chaosharness.machines.machine import Refusal
from chaosharness.orchestrators.saga.definition import Approval, Ask, Saga, Step
from chaosharness.orchestrators.saga.execution import ENDED, SETTLED, Execution, Task
from chaosharness.orchestrators.saga.program import Wanted, wanted
from chaosharness.orchestrators.saga.records import Command, Outcome, Phase, Record, Reply

__all__ = ["Begin", "Resolve", "SagaMachine", "TakeOver"]

OPEN: Final = frozenset({"asked", "waiting", "parked"})


@attrs.frozen
class Begin:
    """Start it; a second start changes nothing (N12)."""

    value: Any


@attrs.frozen
class TakeOver:
    """Go on under a new lease: calls that were on their way belong to nobody any more (N2).

    Attributes:
        lease: Its number.
        from_silent: Whether whoever had the last one has not let go of it.
    """

    lease: int
    from_silent: bool = False


@attrs.frozen
class Resolve:
    """A person says how a parked step came out, or that it is to be asked for again (N9)."""

    step: str
    outcome: Outcome | Literal["retry"]
    value: Any = None
    why: str = ""
    phase: Phase = "do"


Operation = Begin | TakeOver | Resolve | Reply


class SagaMachine:
    """One saga: `apply`, `due`, `tick` and `take`, as every machine has them.

    Args:
        saga: What it is.
        id: Which one it is.
        records: Its journal so far.
        calls: Actions that are called, and not sent as commands: one at a time.
        lease_ms: How long whoever drives it has for a call.
    """

    def __init__(
        self,
        saga: Saga,
        id: str,
        records: Iterable[Record] = (),
        *,
        calls: frozenset[str] = frozenset(),
        lease_ms: int = 60_000,
    ) -> None:
        self.saga = saga
        self.execution = Execution(id).read(records)
        self.calls = calls
        self.lease_ms = lease_ms
        self.lease = 0
        self._new: list[Record] = []
        self._known: dict[str, Ask] = dict(saga.known)
        self._wanted: tuple[int, Wanted] | None = None  # at which version of the journal

    # ---- as every machine

    def apply(self, operation: Operation, now: int) -> Refusal | None:
        """Do what is asked; return None, or why it changes nothing."""
        match operation:
            case Begin(value):
                refusal = self._begin(value, now)
            case TakeOver(lease, from_silent):
                refusal = self._take_over(lease, from_silent, now)
            case Resolve():
                refusal = self._resolve(operation, now)
            case Reply():
                refusal = self._answer(operation, now)
        if self.execution.going != "new":
            self._go_on(now)
        return refusal

    def due(self) -> int | None:
        """Return when time changes something; None for never."""
        execution = self.execution
        if execution.going in ENDED or execution.stuck:
            return None
        waits = self._is_calling()
        times = [
            task.until_ms
            for task in execution.tasks.values()
            if task.until_ms is not None
            and not (waits and task.state == "waiting" and task.action in self.calls)
        ]
        return min(times, default=None)

    def tick(self, now: int) -> None:
        """Let time act, up to `now`."""
        if self.execution.going != "new":
            self._go_on(now)

    def take(self) -> list[Record]:
        """Return what happened since this was asked last, in order: not durable yet."""
        taken, self._new = self._new, []
        return taken

    def command(self, record: Record) -> Command:
        """Return what an `asked` record asks for."""
        execution = self.execution
        value: Any = None
        if record.phase == "undo":
            value = execution.tasks[record.step, "do"].value
        elif isinstance(step := self._known.get(record.step), Step):
            value = step.value
        return Command(
            execution.id, record.step, record.phase, record.action,
            key_of(execution.id, record), record.attempt, record.lease,
            execution.input, value,
            execution.results(execution.tasks[record.step, record.phase]),
        )  # fmt: skip

    # ---- operations

    def _begin(self, value: Any, now: int) -> Refusal | None:
        if self.execution.going != "new":
            return Refusal("AlreadyStarted", f"saga {self.execution.id} was started before")
        self._say("saga started", now, value=value)
        return None

    def _take_over(self, lease: int, from_silent: bool, now: int) -> Refusal | None:
        self.lease = lease
        if self.execution.going in ENDED or self.execution.going == "new":
            return None
        if from_silent:
            self._say("saga taken over", now, why=f"lease {lease - 1} ended without a word")
        self._look(now)
        for task in list(self.execution.tasks.values()):
            if task.state == "asked" and task.action in self.calls:
                self._fail(task, now, unsure=True, why="whoever called it is gone")
        return None

    def _answer(self, reply: Reply, now: int) -> Refusal | None:
        task = self.execution.tasks.get((reply.step, reply.phase))
        if task is None or task.state not in OPEN or task.action != reply.action:
            return Refusal("NotAsked", f"nobody waits for {reply.action} of {reply.saga}")
        if reply.outcome == "done" or (reply.outcome == "refused" and reply.phase == "do"):
            self._close(task, reply.outcome, now, value=reply.value, why=reply.why)
        elif task.state != "asked" or task.attempt != reply.attempt:
            return Refusal("Late", f"attempt {reply.attempt} of {reply.action} is over")
        elif reply.outcome == "refused":  # a compensation must not be refused: a person looks
            self._park(task, now, f"{reply.action} was refused: {reply.why}")
        else:
            self._look(now)
            self._fail(task, now, unsure=reply.outcome == "unknown", why=reply.why)
        return None

    def _resolve(self, said: Resolve, now: int) -> Refusal | None:
        execution = self.execution
        if not said.step and execution.stuck:
            self._say("resolved", now, why=said.why)
            return None
        task = execution.tasks.get((said.step, said.phase))
        if task is None or task.state != "parked":
            return Refusal("NotParked", f"{said.step!r} of {execution.id} is not parked")
        approval = not task.action
        if said.outcome == "retry" and not approval:
            self._say("resolved", now, task, until_ms=now, why=said.why)
        elif said.outcome in ("done", "refused") and (said.phase, said.outcome) != (
            "undo", "refused",
        ):  # fmt: skip
            self._close(task, said.outcome, now, value=said.value, why=said.why)
        else:
            return Refusal("NoAnswer", f"{said.outcome!r} says nothing about {said.step!r}")
        return None

    # ---- going on

    def _go_on(self, now: int) -> None:
        """Do what is due, until nothing is."""
        while self.execution.going not in ENDED and not self.execution.stuck:
            before = self.execution.version
            found = self._look(now)
            if found.stuck:
                self._say("saga parked", now, why=found.stuck)
                return
            self._let_time_act(now)
            if self.execution.going == "compensating":
                self._undo(now)
            else:
                self._do(found, now)
            if self.execution.version == before:
                return

    def _look(self, now: int) -> Wanted:
        """What is wanted follows from the journal alone: worked out once for each version of it."""
        version = self.execution.version
        if self._wanted is None or self._wanted[0] != version:
            found = wanted(self.saga, self.execution.of("do"), self.execution.input)
            self._known = dict(found.known)
            self._wanted = (version, found)
        return self._wanted[1]

    def _let_time_act(self, now: int) -> None:
        for task in list(self.execution.tasks.values()):
            if task.until_ms is None or task.until_ms > now:
                continue
            if task.state == "asked":
                self._fail(task, now, unsure=True, why="no answer in time")
            elif task.state == "parked":
                self._close(task, "refused", now, why="nobody answered in time")
            elif self.execution.going != "compensating" or task.phase == "undo" or task.unsure:
                self._ask(task.step, task.phase, task.action, task.attempt + 1, now)

    def _do(self, found: Wanted, now: int) -> None:
        tasks = self.execution.of("do")
        if found.failed is not None:
            self._say("saga compensating", now, why=found.failed)
        elif found.ended:
            if all(task.state in SETTLED for task in tasks.values()):
                self._say("saga completed", now, value=found.value)
        else:
            for one in found.steps:
                if one.name in tasks:
                    continue
                if isinstance(one, Approval):
                    until = None if one.within_ms is None else now + one.within_ms
                    self._say("saga parked", now, Task(one.name, "do"), until_ms=until,
                              why="a person has to answer")  # fmt: skip
                else:
                    self._ask(one.name, "do", one.action, 1, now)

    def _undo(self, now: int) -> None:
        """Settle what is still on its way; then undo what happened, the last first (N8)."""
        done = self.execution.of("do")
        for task in done.values():
            never = task.state == "waiting" and not task.unsure
            if never or (task.state == "parked" and not task.action):
                self._close(task, "given up", now, why="the saga is being undone")
        if not self.all_settled(done):
            return
        undone = self.execution.of("undo")
        for task in sorted(done.values(), key=lambda task: -task.settled):
            happened = task.state == "done" or (task.state == "given up" and task.unsure)
            action = self._undo_of(task) if happened else None
            if action is None:
                continue
            if task.step not in undone:
                self._ask(task.step, "undo", action, 1, now)
                return
            if undone[task.step].state != "done":
                return
        self._say("saga compensated", now)

    def all_settled(self, tasks: dict[str, Task]) -> bool:
        """Say whether it is known of each step that was asked for how it came out."""
        return all(task.state in SETTLED for task in tasks.values())

    def _undo_of(self, task: Task) -> str | None:
        step = self._known.get(task.step)
        return step.undo_of(task.action) if isinstance(step, Step) else None

    # ---- one step

    def _ask(self, name: str, phase: Phase, action: str, attempt: int, now: int) -> None:
        """Ask for an action; a call only where no other call is on its way."""
        step = self._known[name]
        assert isinstance(step, Step)
        is_call = action in self.calls
        if is_call and self._is_calling():
            return
        until_ms = now + (self.lease_ms if is_call else step.timeout_ms)
        record = Record("asked", now, lease=self.lease, step=name, phase=phase, action=action,
                        attempt=attempt, until_ms=until_ms)  # fmt: skip
        self._add(record)

    def _is_calling(self) -> bool:
        """Say whether a call is on its way: the next one waits for it (N7)."""
        tasks = self.execution.tasks.values()
        return any(one.state == "asked" and one.action in self.calls for one in tasks)

    def _fail(self, task: Task, now: int, *, unsure: bool, why: str) -> None:
        """An attempt has failed: ask again later, ask somebody else, or give up (N4 to N6)."""
        kind = "unknown" if unsure else "failed"
        step = self._known.get(task.step)
        if not isinstance(step, Step):  # its saga no longer has it: a person has to look
            self._say(kind, now, task, why=why)
            return
        retry = step.retry if task.phase == "do" else step.undo_retry
        if task.attempt < retry.times:
            until_ms = now + retry.wait_ms(task.attempt)
            self._say(kind, now, task, until_ms=until_ms, why=why)
            return
        self._say(kind, now, task, why=why)
        other = step.after(task.action) if task.phase == "do" else None
        if task.phase == "undo":
            self._park(task, now, f"{task.action} does not succeed: {why}")
        elif other is not None and not task.unsure:
            self._say("fell back", now, task, action=other, until_ms=now, why=why)
        elif not task.unsure or step.unknown == "undo":
            self._close(task, "given up", now, why=why)
        else:
            self._park(task, now, f"nobody knows whether {task.action} happened: {why}")

    def _park(self, task: Task, now: int, why: str) -> None:
        self._say("saga parked", now, task, why=why)

    def _close(self, task: Task, how: str, now: int, *, value: Any = None, why: str = "") -> None:
        self._say(how, now, task, value=value, why=why)

    def _say(
        self, kind: str, now: int, task: Task | None = None, *, action: str = "",
        until_ms: int | None = None, value: Any = None, why: str = "",
    ) -> None:  # fmt: skip
        named: dict[str, Any] = {}
        if task is not None:
            named = {"step": task.step, "phase": task.phase, "action": action or task.action,
                     "attempt": task.attempt}  # fmt: skip
        self._add(
            Record(kind, now, lease=self.lease, until_ms=until_ms, value=value, why=why, **named)
        )

    def _add(self, record: Record) -> None:
        self.execution.fold(record)
        self._new.append(record)


def key_of(saga: str, record: Record) -> str:
    """Return the idempotency key: of the saga, the step and the action, and of no attempt (N3)."""
    return f"{saga}/{record.step}/{record.action}"
