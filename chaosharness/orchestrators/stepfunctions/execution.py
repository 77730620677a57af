"""One execution: branches that walk through states, their waits, their work, their history."""

import hashlib
from collections import deque
from collections.abc import Callable
from functools import wraps
from typing import Any, Final, ParamSpec

import attrs

from chaosharness.orchestrators.stepfunctions.branch import (
    Branch,
    Child,
    Fork,
    Request,
    Running,
    Turn,
    Until,
    Walk,
    Work,
)
from chaosharness.orchestrators.stepfunctions.definition import Graph
from chaosharness.orchestrators.stepfunctions.errors import RUNTIME, TIMEOUT, StateError
from chaosharness.orchestrators.stepfunctions.history import EVENTS_MAX, Event, as_text, java_key

__all__ = ["Execution", "Pending"]

LASTS_MS: Final = {"STANDARD": 365 * 24 * 3_600_000, "EXPRESS": 5 * 60_000}
"""How long an execution lasts at most: then it has timed out (S10)."""

P = ParamSpec("P")


class _HistoryFull(Exception):
    """An event would be one too many: the execution fails where it stands, and nothing catches."""


def _within_its_history(step: Callable[P, None]) -> Callable[P, None]:
    """Have an execution fail whose history is full, whatever it was about to do."""

    @wraps(step)
    def stepped(*given: P.args, **named: P.kwargs) -> None:
        execution = given[0]
        assert isinstance(execution, Execution)
        try:
            step(*given, **named)
        except _HistoryFull:
            most = f"The execution reached the maximum number of history events ({EVENTS_MAX})."
            execution.finish("FAILED", None, StateError(RUNTIME, most))

    return stepped


@attrs.define(eq=False)
class Pending:
    """Work that is out: who waits for it, until when, and what happens at the deadlines."""

    branch: Branch
    work: Work
    deadline_ms: int | None
    heartbeat_ms: int | None  # the next heartbeat is due by then
    submitted: bool = False


@attrs.define(eq=False)
class Execution:
    """The state of one execution; `walk_states` is the interpreter, handed in by the machine."""

    name: str
    machine: str
    graph: Graph
    data: Any
    started_ms: int
    walk_states: "Callable[[Execution, Branch], Walk]"
    now_ms: int = 0
    status: str = "RUNNING"
    output: Any = None
    error: StateError | None = None
    events: list[Event] = attrs.field(factory=list)
    root: Branch | None = None
    ready: deque[tuple[Branch, Any]] = attrs.field(factory=deque)
    sleeping: dict[Branch, int] = attrs.field(factory=dict)
    pending: dict[str, Pending] = attrs.field(factory=dict)
    asked: list[Work] = attrs.field(factory=list)  # work that the outside has not been told of
    given_up: list[str] = attrs.field(factory=list)  # states whose time is over, not yet noted
    drawn: int = 0
    since_ms: int = -1  # when it was started, or redriven last
    redriven: int = 0
    life: int = 1  # of an Express execution that is run more than once (S1)
    lasts_ms: int = LASTS_MS["STANDARD"]

    # ---------------------------------------------------------------- its life

    @_within_its_history
    def begin(self) -> None:
        """Write ExecutionStarted and walk until everything waits."""
        self.now_ms = self.since_ms = self.started_ms
        root = self.root = Branch(self.graph, self.data, {})
        self.write(root, "ExecutionStarted", {"input": as_text(self.data)}, chain=False)
        self._start(root)
        self.go_on()

    def go_on(self) -> None:
        """Let every branch that can go on do so."""
        while self.ready and self.status == "RUNNING":
            branch, value = self.ready.popleft()
            if not branch.ended:
                self._step(branch, value)

    def due(self) -> int | None:
        """When time must act next, in milliseconds; None where nothing waits for a time."""
        if self.status != "RUNNING":
            return None
        times = [*self.sleeping.values()]
        for pending in self.pending.values():
            times += [at for at in (pending.deadline_ms, pending.heartbeat_ms) if at is not None]
        if self.graph.timeout_seconds is not None:
            times.append(self.since_ms + int(self.graph.timeout_seconds * 1000))
        # What is due after the longest that an execution lasts never comes (S10).
        return min(*times, self.since_ms + self.lasts_ms) if times else None

    @_within_its_history
    def tick(self, now_ms: int) -> None:
        """Let time act: waits end, deadlines pass."""
        self.now_ms = now_ms
        limit = self.graph.timeout_seconds
        limit_ms = self.lasts_ms if limit is None else min(int(limit * 1000), self.lasts_ms)
        if now_ms >= self.since_ms + limit_ms:
            self.finish("TIMED_OUT", None, StateError(TIMEOUT))
            return
        for branch in [b for b, at in self.sleeping.items() if at <= now_ms]:
            del self.sleeping[branch]
            self.ready.append((branch, None))
        for token, pending in [*self.pending.items()]:
            times = (pending.deadline_ms, pending.heartbeat_ms)
            late = any(at is not None and at <= now_ms for at in times)
            if late and token in self.pending:  # the failure of another may have dropped it
                self.fail(token, StateError(TIMEOUT, ""))
        self.go_on()

    def stop(self, error: str | None, cause: str | None) -> None:
        """StopExecution: no Catch runs, and so nothing that was drawn as compensation."""
        self.finish("ABORTED", None, StateError(error, cause))

    @_within_its_history
    def redrive(self, now_ms: int) -> None:
        """RedriveExecution: go on at the state that did not succeed; what did is kept (S14)."""
        before = self.root
        assert before is not None
        self.status, self.output, self.error = "RUNNING", None, None
        self.now_ms = self.since_ms = now_ms
        self.redriven += 1
        root = self.root = _resumed(before, Branch(self.graph, self.data, {}))
        root.last_event = len(self.events)
        self.write(root, "ExecutionRedriven", {"redriveCount": self.redriven})
        self._start(root)
        self.go_on()

    # ---------------------------------------------------------------- its work

    @_within_its_history
    def taken(self, token: str) -> None:
        """A worker of an activity has the work."""
        self.write(self.pending[token].branch, "ActivityStarted")

    @_within_its_history
    def submitted(self, token: str, output: Any) -> None:
        """The call of a callback task was accepted: its own answer comes by the token."""
        pending = self.pending[token]
        pending.submitted = True
        self._task_event(pending, "TaskSubmitted", {"output": as_text(output)})

    def succeed(self, token: str, output: Any) -> None:
        """The answer of some work."""
        self._answer(token, output)

    def fail(self, token: str, error: StateError) -> None:
        """Some work failed, or its time is over."""
        self._answer(token, error)

    def beat(self, token: str) -> None:
        """A heartbeat: the next one is due a whole interval from now."""
        pending = self.pending[token]
        if pending.work.heartbeat_ms is not None:
            pending.heartbeat_ms = self.now_ms + pending.work.heartbeat_ms

    @_within_its_history
    def _answer(self, token: str, value: Any) -> None:
        pending = self.pending.pop(token)
        if isinstance(value, StateError):
            self._failed_event(pending, value)
        else:
            ended = {"service": "Task", "function": "LambdaFunction", "activity": "Activity"}
            self._task_event(
                pending, f"{ended[pending.work.kind]}Succeeded", {"output": as_text(value)}
            )
        self.ready.append((pending.branch, value))
        self.go_on()

    def _failed_event(self, pending: Pending, error: StateError) -> None:
        prefix = {"service": "Task", "function": "LambdaFunction", "activity": "Activity"}
        name = "TimedOut" if error.error == TIMEOUT else "Failed"
        details = {key: value for key, value in
                   (("error", error.error), ("cause", error.cause)) if value}  # fmt: skip
        self._task_event(pending, prefix[pending.work.kind] + name, details)

    def _task_event(self, pending: Pending, type: str, details: dict[str, Any]) -> None:
        if pending.work.kind == "service":
            details = {**details, "resource": pending.work.resource,
                       "resourceType": pending.work.service}  # fmt: skip
        self.write(pending.branch, type, details)

    # ---------------------------------------------------------------- its branches

    def _start(self, branch: Branch) -> None:
        branch.walk = self.walk_states(self, branch)
        self.ready.append((branch, None))

    def _step(self, branch: Branch, value: Any) -> None:
        walk = branch.walk
        assert walk is not None
        try:
            request = walk.throw(value) if isinstance(value, StateError) else walk.send(value)
        except StopIteration as stop:
            self._ended(branch, stop.value, None)
        except StateError as error:
            self._ended(branch, None, error)
        else:
            self._take(branch, request)

    def _take(self, branch: Branch, request: Request) -> None:
        match request:
            case Turn():
                self.ready.append((branch, None))
            case Until(at_ms):
                self.sleeping[branch] = at_ms
            case Work():
                self._ask(branch, request)
            case Fork():
                running = Running(request, list(range(len(request.children))))
                before = branch.last
                if before is not None and len(before.request.children) == len(request.children):
                    running.outputs = dict(before.outputs)
                    running.before = before.branches
                    running.left = [n for n in running.left if n not in before.outputs]
                branch.fork = branch.last = running
                self._more(branch, running)

    def _ask(self, branch: Branch, work: Work) -> None:
        now = self.now_ms
        self.pending[work.token] = Pending(
            branch,
            work,
            None if work.timeout_ms is None else now + work.timeout_ms,
            None if work.heartbeat_ms is None else now + work.heartbeat_ms,
        )
        self.asked.append(work)

    def _more(self, parent: Branch, running: Running) -> None:
        """Begin children while there is room; answer the fork when all have ended."""
        request = running.request
        while running.left and (not request.most or self._alive(running) < request.most):
            index = running.left.pop(0)
            child: Child = request.children[index]
            branch = running.branches[index] = Branch(
                child.graph,
                child.data,
                dict(parent.variables),
                parent=parent,
                index=index,
                item=child.item if child.item is not None else parent.item,
                quiet=child.quiet or parent.quiet,
                last_event=parent.last_event,
            )
            if (earlier := running.before.get(index)) is not None:
                _resumed(earlier, branch)
            if request.started:
                request.started(branch, index)
            self._start(branch)
        if not self._alive(running):
            parent.fork = None
            parent.last_event = running.mark or parent.last_event
            outputs = [running.outputs.get(n) for n in range(len(request.children))]
            self.ready.append((parent, outputs))

    def _alive(self, running: Running) -> int:
        return sum(not branch.ended for branch in running.branches.values())

    def _ended(self, branch: Branch, output: Any, error: StateError | None) -> None:
        branch.ended = True
        parent = branch.parent
        if parent is None:
            status = "FAILED" if error else "SUCCEEDED"
            self.finish(status, output, error)
            return
        running = parent.fork
        if running is None:  # the state that began this branch is over
            return
        mark = branch.last_event
        if running.request.ended:
            mark = running.request.ended(branch, branch.index, error is None) or mark
        if not branch.quiet:
            parent.last_event = branch.last_event
            running.mark = mark if error is None else branch.last_event
        if error is None:
            running.outputs[branch.index] = output
        else:
            running.failures[branch.index] = error
        if len(running.failures) > running.request.tolerated and error is not None:
            self._abort(parent, running)
            self.ready.append((parent, error))
        else:
            self._more(parent, running)

    def _abort(self, parent: Branch, running: Running) -> None:
        """Stop the other children: what they asked for goes on outside, unheard."""
        parent.fork = None
        for index, branch in sorted(running.branches.items()):
            if not branch.ended:
                self._forget(branch)
                if running.request.aborted:
                    running.request.aborted(branch, index)

    def _forget(self, branch: Branch) -> None:
        branch.ended = True
        self.sleeping.pop(branch, None)
        for token in [t for t, pending in self.pending.items() if pending.branch is branch]:
            del self.pending[token]
        if branch.fork:
            for child in branch.fork.branches.values():
                if not child.ended:
                    self._forget(child)

    # ---------------------------------------------------------------- its end and its history

    def finish(self, status: str, output: Any, error: StateError | None) -> None:
        """End, and write how."""
        self.status, self.output, self.error = status, output, error
        root = self.root
        assert root is not None
        words = {"TIMED_OUT": "TimedOut"}.get(status, status.capitalize())
        if error is None:
            self.write(root, "ExecutionSucceeded", {"output": as_text(output)})
        else:
            details = {key: value for key, value in
                       (("error", error.error), ("cause", error.cause)) if value}  # fmt: skip
            self.write(root, f"Execution{words}", details)
        self._forget(root)

    def write(
        self,
        branch: Branch,
        type: str,
        details: dict[str, Any] | None = None,
        *,
        key: str | None = None,
        chain: bool = True,
        previous: int | None = None,
    ) -> int:
        """Append an event; `chain` is whether later events of the branch point back to it."""
        if branch.quiet:
            return branch.last_event
        if len(self.events) >= EVENTS_MAX - 1 and not type.startswith("Execution"):
            raise _HistoryFull
        number = len(self.events) + 1
        self.events.append(
            Event(
                number,
                branch.last_event if previous is None else previous,
                type,
                self.now_ms,
                None if details is None else key or java_key(type),
                details,
            )
        )
        if chain:
            branch.last_event = number
        return number

    # ---------------------------------------------------------------- chance, without a source

    def _draw(self, seed: Any = None) -> bytes:
        if seed is None:
            self.drawn += 1
        text = f"{self.machine}/{self.name}/{self.drawn if seed is None else seed}"
        if self.life > 1:
            text = f"{text}#{self.life}"
        return hashlib.sha256(text.encode()).digest()

    def uuid(self) -> str:
        """The next id of this execution: the same in every run."""
        digits = self._draw().hex()
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:32]}"

    def fraction(self, seed: Any = None) -> float:
        """A number from 0 up to 1, the same in every run."""
        return int.from_bytes(self._draw(seed)[:6], "big") / 2**48


def _resumed(before: Branch, branch: Branch) -> Branch:
    """Have a branch begin at the state in which another one stood when that ended."""
    if before.state:
        branch.resumes, branch.data = before.state, before.raw
        branch.variables, branch.last = dict(before.variables), before.last
        branch.state = before.state
    return branch
