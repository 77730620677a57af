"""The service as a pure machine: executions, tokens, time. No world, no fault, no caller inside.

`apply` is each of the API's operations; `due()` says when time must act, `tick(now)` lets it.
What the outside has to do comes out of `take_work()`; what has ended out of `take_ended()`.

*Source*: Step Functions API reference; developer guide, "Execution guarantees" (rule S1), rules
S3, S8, S11 and S13.
*Not modelled*: versions and aliases, map runs as resources of their own, quotas and
throttling of StartExecution.
"""

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import attrs

from chaosharness.errors import InvalidDefinition as Wrong
from chaosharness.kernel.allowed import spelled
from chaosharness.orchestrators.stepfunctions.branch import Work
from chaosharness.orchestrators.stepfunctions.definition import Graph, read_definition
from chaosharness.orchestrators.stepfunctions.errors import StateError
from chaosharness.orchestrators.stepfunctions.execution import LASTS_MS, Execution
from chaosharness.orchestrators.stepfunctions.history import EVENTS_MAX, PAYLOAD_MAX
from chaosharness.orchestrators.stepfunctions.refusals import (
    ExecutionAlreadyExists,
    ExecutionDoesNotExist,
    ExecutionNotRedrivable,
    InvalidDefinition,
    InvalidExecutionInput,
    InvalidOutput,
    InvalidToken,
    StateMachineDoesNotExist,
    TaskTimedOut,
    ValidationException,
)
from chaosharness.orchestrators.stepfunctions.states import walk_states

__all__ = ["Asked", "Service", "arn_of"]

REDRIVABLE_MS: Final = 14 * 86_400_000
"""How long after its end an execution can be redriven."""

_PREFIX: Final = "arn:aws:states:us-east-1:123456789012"


def arn_of(machine: str, execution: str = "") -> str:
    """The ARN of a state machine, or of an execution of it."""
    if execution:
        return f"{_PREFIX}:execution:{machine}:{execution}"
    return f"{_PREFIX}:stateMachine:{machine}"


def check_length(field: str, text: str) -> None:
    """Refuse a text that is longer than the API takes, whatever is in it.

    Raises:
        ValidationException: It is.
    """
    if len(text) > PAYLOAD_MAX:
        raise ValidationException(
            f"1 validation error detected: Value at '{field}' failed to satisfy constraint: Member "
            f"must have length less than or equal to {PAYLOAD_MAX}"
        )


@attrs.frozen
class Asked:
    """Work that an execution waits for."""

    execution: Execution
    work: Work
    state: str


@attrs.define
class Service:
    """Step Functions of one account: `graphs` are its state machines by name."""

    graphs: dict[str, Graph]
    kinds: Mapping[str, Literal["STANDARD", "EXPRESS"]]
    executions: dict[tuple[str, str], Execution] = attrs.field(factory=dict)
    owners: dict[str, Execution] = attrs.field(factory=dict)  # who a token belongs to
    told: set[int] = attrs.field(factory=set)
    before: dict[str, tuple[Graph, int]] = attrs.field(factory=dict)
    """Definitions that were updated, and until when executions may still begin under them."""

    # ---- the operations of callers

    def start(
        self,
        machine: str,
        name: str,
        text: str,
        now_ms: int,
        choose: Callable[[str], Graph | None] = lambda machine: None,
    ) -> Execution:
        """StartExecution: the same name with the same input, while it runs, is the same execution.

        An Express state machine begins another one each time. An execution keeps the definition
        that it began with; `choose` may give it another one than the last (S13).
        """
        machine = self._machine(machine)
        if not isinstance(text, str):
            raise InvalidExecutionInput(
                f"Invalid State Machine Execution Input: it is a JSON text, not {spelled(text)}: "
                "give json.dumps(...)"
            )
        check_length("input", text)
        try:
            data = json.loads(text)
        except ValueError as error:
            raise InvalidExecutionInput(f"Invalid State Machine Execution Input: {error}") from None
        known = self.executions.get((machine, name))
        if known is not None and self.kinds[machine] == "EXPRESS":
            name, known = f"{name}#{len(self.executions) + 1}", None
        if known is not None:
            if known.status == "RUNNING" and known.data == data:
                return known
            raise ExecutionAlreadyExists(f"Execution Already Exists: '{arn_of(machine, name)}'")
        graph = choose(machine) or self._graph(machine, now_ms)
        execution = Execution(
            name, machine, graph, data, now_ms, walk_states, lasts_ms=LASTS_MS[self.kinds[machine]]
        )
        self.executions[machine, name] = execution
        execution.begin()
        return execution

    def _graph(self, machine: str, now_ms: int) -> Graph:
        """The definition that an execution begins with: for a moment that may be an old one."""
        before, until_ms = self.before.get(machine, (None, 0))
        return before if before is not None and now_ms < until_ms else self.graphs[machine]

    def update(self, machine: str, definition: str, now_ms: int, seen_ms: int) -> None:
        """UpdateStateMachine: executions that run keep what they have (S13).

        Raises:
            InvalidDefinition: AWS's refusal: the definition is wrong, and the old one stays.
        """
        machine = self._machine(machine)
        try:
            graph = read_definition(definition, name=machine)
        except Wrong as error:
            raise InvalidDefinition(f"Invalid State Machine Definition: {error}") from None
        self.before[machine] = (self.graphs[machine], seen_ms)
        self.graphs[machine] = graph

    def again(self, execution: Execution, now_ms: int) -> Execution:
        """Run an Express execution again, from its beginning: the same one, by its name (S1)."""
        lives = sum(one.name == execution.name for one in self.executions.values())
        twin = Execution(
            execution.name, execution.machine, execution.graph, copy.deepcopy(execution.data),
            now_ms, walk_states, life=lives + 1, lasts_ms=execution.lasts_ms,
        )  # fmt: skip
        self.executions[twin.machine, f"{twin.name}#{len(self.executions) + 1}"] = twin
        twin.begin()
        return twin

    def _machine(self, machine: str) -> str:
        name = machine.rsplit(":", 1)[-1]
        if name not in self.graphs:
            raise StateMachineDoesNotExist(
                f"State Machine Does Not Exist: '{machine}' (there are: {', '.join(self.graphs)})"
            )
        return name

    def find(self, arn: str) -> Execution:
        """The execution of an ARN, or of `machine:name`."""
        machine, _, name = arn.removeprefix(f"{_PREFIX}:execution:").partition(":")
        found = self.executions.get((machine, name))
        if found is None:
            raise ExecutionDoesNotExist(f"Execution Does Not Exist: '{arn}'")
        return found

    def stop(self, arn: str, error: str | None, cause: str | None, now_ms: int) -> None:
        """StopExecution: no Catch runs, so no compensation either."""
        execution = self.find(arn)
        if execution.status == "RUNNING":
            execution.now_ms = now_ms
            execution.stop(error, cause)

    def redrive(self, arn: str, now_ms: int) -> Execution:
        """RedriveExecution: one that has failed, was stopped or timed out goes on where it was.

        Raises:
            ExecutionNotRedrivable: It is none of these, or too old.
        """
        execution = self.find(arn)
        why = self.not_redrivable(execution, now_ms)
        if why:
            raise ExecutionNotRedrivable(f"Execution is not redrivable: {why}")
        self.told.discard(id(execution))
        execution.redrive(now_ms)
        return execution

    def not_redrivable(self, execution: Execution, now_ms: int) -> str:
        """Why an execution cannot be redriven; empty where it can."""
        if self.kinds[execution.machine] == "EXPRESS":
            return "it is of an Express workflow"
        if execution.status not in ("FAILED", "ABORTED", "TIMED_OUT"):
            return f"Execution is {execution.status} and cannot be redriven"
        if now_ms - execution.events[-1].at_ms > REDRIVABLE_MS:
            return "its time to be redriven, 14 days, is over"
        if len(execution.events) >= EVENTS_MAX - 1:
            return "its history is full"
        return ""

    def send_success(self, token: str, text: str, now_ms: int) -> None:
        """SendTaskSuccess.

        Raises:
            InvalidOutput, ValidationException: It is no JSON text, or a longer one than is taken.
        """
        if not isinstance(text, str):
            raise InvalidOutput(
                f"Invalid Output: it is a JSON text, not {spelled(text)}: give json.dumps(...)"
            )
        check_length("output", text)
        try:
            output = json.loads(text)
        except ValueError as error:
            raise InvalidOutput(f"Invalid Output: {error}") from None
        self.succeed(token, output, now_ms)

    def succeed(self, token: str, output: Any, now_ms: int) -> None:
        """The answer of a task, or of a function."""
        self._waiting(token, now_ms).succeed(token, output)

    def fail(self, token: str, error: StateError, now_ms: int) -> None:
        """SendTaskFailure, or a function that raised."""
        self._waiting(token, now_ms).fail(token, error)

    def beat(self, token: str, now_ms: int) -> None:
        """SendTaskHeartbeat."""
        self._waiting(token, now_ms).beat(token)

    def submitted(self, token: str, output: Any, now_ms: int) -> None:
        """A callback task's message was accepted."""
        self._waiting(token, now_ms).submitted(token, output)

    def is_waited_for(self, token: str) -> bool:
        """Whether some state still waits for this token."""
        owner = self.owners.get(token)
        return owner is not None and token in owner.pending

    def _waiting(self, token: str, now_ms: int) -> Execution:
        owner = self.owners.get(token)
        if owner is None:
            raise InvalidToken(f"Invalid Token: '{token}'")
        owner.now_ms = max(owner.now_ms, now_ms)
        if token in owner.pending:
            return owner
        raise TaskTimedOut("Task Timed Out: 'Provided task does not exist anymore'")

    # ---- what comes out

    def take_work(self) -> list[Asked]:
        """The work that was asked for since the last call, in its order."""
        found: list[Asked] = []
        for execution in self.executions.values():
            for work in execution.asked:
                self.owners[work.token] = execution
                pending = execution.pending.get(work.token)
                found.append(Asked(execution, work, pending.branch.state if pending else ""))
            execution.asked.clear()
        return found

    def take_ended(self) -> list[Execution]:
        """The executions that have ended since the last call."""
        found = [e for e in self.executions.values()
                 if e.status != "RUNNING" and id(e) not in self.told]  # fmt: skip
        self.told.update(id(e) for e in found)
        return found

    # ---- time

    def due(self) -> int | None:
        """When time must act next, in milliseconds."""
        times = [execution.due() for execution in self.executions.values()]
        return min((at for at in times if at is not None), default=None)

    def tick(self, now_ms: int) -> None:
        """Let time act on every execution that is due."""
        for execution in self.executions.values():
            due = execution.due()
            if due is not None and due <= now_ms:
                execution.tick(now_ms)
