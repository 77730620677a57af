"""What Temporal's sdk-core does: a history in, activations to the workflow, its commands out.

A history is cut where workflow tasks were started; each part becomes one activation, and the
commands that it brings must be those of the events that follow. The last part is new; what it
brings is what this task decides.

*Source*: sdk-core, `arch_docs/workflow_task_chunking.md`, `workflow_activation.proto` (rules T8 to
T10, T16); every history made here is held against `temporalio.worker.Replayer` by the tests.
Local activities are carried out by the worker while it decides: `Decision.local` asks for them, and
`Cached.resolve` goes on with how one has ended (T29).

*Not modelled*: Nexus: a workflow that commands it ends the run with an error that names it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.bridge.proto.workflow_activation import WorkflowActivation, WorkflowActivationJob
from temporalio.bridge.proto.workflow_commands import WorkflowCommand

from chaosharness.errors import InvalidDefinition
from chaosharness.orchestrators.temporal import jobs, markers
from chaosharness.orchestrators.temporal.forms import (
    CLOSING_COMMANDS,
    COMMAND_OF,
    NOT_MODELLED,
    SERVER_FORM,
    Commanded,
    Marker,
    kind_of,
)
from chaosharness.orchestrators.temporal.instances import Instance
from chaosharness.orchestrators.temporal.parts import (
    attributes_of,
    local_markers,
    of_a_patch,
    parts_of,
    patches,
    shown,
)
from chaosharness.orchestrators.temporal.protos import EPOCH_MS, failure_json, stamp
from chaosharness.orchestrators.temporal.run import Update
from chaosharness.orchestrators.temporal.sizes import TOO_LARGE, is_too_large

__all__ = ["Cached", "Decision", "Nondeterminism", "TaskFailed"]

#: Flags of sdk-core that say that ids and types are checked, and closing commands come last.
CORE_FLAGS: Final = [1, 2, 3, 4]
TRY, WAIT, ABANDON = 0, 1, 2
CHILD_ABANDON, CHILD_TRY, CHILD_WAIT, CHILD_WAIT_REQUESTED = 0, 1, 2, 3
"""How an activity, and a child workflow, is cancelled: numbers of sdk-core."""


SUGGESTED_EVENTS: Final = 4_096
"""From how many events on a workflow is told that it should continue as new.

*Source*: temporalio/temporal, `limit.historyCount.suggestContinueAsNew`.
"""


UNHANDLED: Final = "WORKFLOW_WORKER_UNHANDLED_FAILURE"


class Nondeterminism(Exception):
    """The workflow commands something else than it did when its history was written (T7)."""


class TaskFailed(Exception):
    """The workflow raised what is no failure: the task fails, and the workflow does not (T6)."""

    def __init__(self, failure: Mapping[str, Any], cause: str = UNHANDLED) -> None:
        super().__init__(failure.get("message", ""))
        self.failure = dict(failure)
        self.cause = cause


@attrs.frozen
class Decision:
    """What a workflow task decides so far: commands for the server, and what is done meanwhile."""

    commands: list[tuple[str, dict[str, Any]]]
    lang_flags: list[int]
    local: list[Any]  # local activities to begin: `ScheduleLocalActivity`
    stopped: list[int]  # those to be cancelled, by number
    waits: bool  # whether local activities are still out


@attrs.define(eq=False)
class Cached:
    """One run in a worker's cache: the workflow object, and how far it has read its history."""

    make: Callable[[], Instance]
    instance: Instance | None = None
    read: int = 0  # events that the workflow has been woken with
    pending: list[Commanded] = attrs.field(factory=list)
    timers: dict[str, int] = attrs.field(factory=dict)  # id of a TimerStarted event: its number
    activities: dict[str, int] = attrs.field(factory=dict)
    activity_names: dict[int, tuple[str, str]] = attrs.field(factory=dict)  # id and type
    children: dict[str, int] = attrs.field(factory=dict)
    child_ids: dict[int, str] = attrs.field(factory=dict)
    asked: dict[str, Commanded] = attrs.field(factory=dict)  # of other workflows, by event
    kinds: dict[int, int] = attrs.field(factory=dict)  # how an activity is to be cancelled
    child_kinds: dict[int, int] = attrs.field(factory=dict)
    fired: set[int] = attrs.field(factory=set)  # timers
    resolved: set[int] = attrs.field(factory=set)  # activities that have ended for the workflow
    gone: set[int] = attrs.field(factory=set)  # children, likewise
    patches: set[str] = attrs.field(factory=set)
    lang_flags: set[int] = attrs.field(factory=set)
    accepted: set[str] = attrs.field(factory=set)  # updates
    local: dict[int, Any] = attrs.field(factory=dict)  # local activities that are out
    begun: set[int] = attrs.field(factory=set)  # those of them that the worker has begun
    stopped: set[int] = attrs.field(factory=set)
    kept: list[markers.Kept] = attrs.field(factory=list)  # ends that the history has
    wakings: int = 0  # of the workflow in this workflow task
    run_id: str = ""

    def let_go(self) -> None:
        """End what is under way in it, as whoever takes it out of a cache does."""
        if self.instance is not None:
            self.instance.let_go()

    def decide(
        self, events: list[dict[str, Any]], *, run_id: str, updates: Sequence[Update] = ()
    ) -> Decision:
        """Read the history to its end and return what the workflow decides.

        Raises:
            Nondeterminism: The history was written by other code.
            TaskFailed: The workflow raised what is no failure.
            InvalidDefinition: The workflow commands what is not modelled.
        """
        self.run_id = run_id
        parts = [*parts_of(events, self.read)]
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            self._commands_of(part)
            self.wakings = 0
            following = parts[number + 1] if not last else []
            told = [*self._jobs(part, following, () if following else updates)]
            self.read += len(part)
            self.kept += [markers.kept(one) for one in local_markers(following)]
            now = stamp(part[-1]["eventTime"])
            if told or self.instance is None:
                self._activate(told, now, run_id, replaying=not last)
            self._resolve_kept(run_id, last=last)
        return self.so_far()

    def resolve(self, end: markers.End, *, run_id: str, now_ms: int) -> Decision:
        """Go on with how a local activity has ended."""
        asked = self.local.pop(end.seq)
        self.begun.discard(end.seq)
        told = markers.marker(asked, end, now_ms, self.wakings)
        self.pending.append(Marker(end.seq, told))
        self._activate([markers.job(end)], stamp(now_ms), run_id, replaying=False)
        return self.so_far()

    def query(self, job: WorkflowActivationJob, *, run_id: str, now_ms: int) -> Any:
        """Ask the workflow something, once its history is read; nothing changes by it."""
        assert self.instance is not None
        asked = WorkflowActivation(run_id=run_id, timestamp=stamp(now_ms), jobs=[job],
                                   history_length=self.read)  # fmt: skip
        completion = self.instance.activate(asked)
        if completion.HasField("failed"):
            raise TaskFailed(failure_json(completion.failed.failure)) from self.instance.raised
        return next(c.respond_to_query for c in completion.successful.commands)

    def forget(self, events: int) -> None:
        """The last events never got into the history (T28)."""
        self.read -= events

    def so_far(self) -> Decision:
        """What is decided, with the local activities that are to begin and to stop."""
        begin = [one for seq, one in self.local.items() if seq not in self.begun]
        self.begun.update(self.local)
        stopped, self.stopped = sorted(self.stopped), set()
        commands = [*self._for_server()]
        return Decision(commands, sorted(self.lang_flags), begin, stopped, bool(self.local))

    # ---- waking the workflow

    def _resolve_kept(self, run_id: str, *, last: bool) -> None:
        """Tell the workflow of local activities that have ended, as its history says."""
        while self.kept and self.kept[0].end.seq in self.local:
            number = self.kept[0].number
            told: list[WorkflowActivationJob] = []
            now = self.kept[0].completed
            while self.kept and self.kept[0].number == number:
                kept = self.kept.pop(0)
                self.local.pop(kept.end.seq, None)
                self.begun.discard(kept.end.seq)
                self.pending.append(Marker(kept.end.seq, kept.attributes))
                told.append(markers.job(kept.end))
            self._activate(told, now, run_id, replaying=not last)

    def _activate(
        self,
        told: list[WorkflowActivationJob],
        now: Timestamp,
        run_id: str,
        *,
        replaying: bool,
    ) -> None:
        if self.instance is None:
            self.instance = self.make()
        while True:
            activation = WorkflowActivation(
                run_id=run_id,
                timestamp=now,
                is_replaying=replaying,
                history_length=self.read,
                jobs=told,
                continue_as_new_suggested=self.read >= SUGGESTED_EVENTS,
            )
            completion = self.instance.activate(activation)
            self.wakings += 1
            if completion.HasField("failed"):
                raised = self.instance.raised
                raise TaskFailed(failure_json(completion.failed.failure)) from raised
            if not replaying and is_too_large(completion.successful.commands):
                raise TaskFailed(TOO_LARGE, "PAYLOADS_TOO_LARGE")
            if hasattr(completion.successful, "used_internal_flags"):
                self.lang_flags.update(completion.successful.used_internal_flags)
            now_ms = now.ToMilliseconds() - EPOCH_MS
            told = self._took([*completion.successful.commands], now_ms)
            if not told:
                return

    def _took(self, commands: list[WorkflowCommand], now_ms: int) -> list[WorkflowActivationJob]:
        """Take the workflow's commands; return what it must be told of them at once (T9, T16)."""
        again: list[WorkflowActivationJob] = []
        for command in commands:
            kind = kind_of(command)
            if kind not in SERVER_FORM and kind not in _UNSENT:
                raise InvalidDefinition(NOT_MODELLED.format(kind))
            if kind == "schedule_local_activity":
                self.local[command.schedule_local_activity.seq] = command.schedule_local_activity
            elif kind == "request_cancel_local_activity":
                seq = command.request_cancel_local_activity.seq
                again += self._cancel_local(seq, now_ms)
            elif kind == "cancel_timer":
                seq = command.cancel_timer.seq
                if seq not in self.fired and not self._unsend("start_timer", seq):
                    self.pending.append(command)
            elif kind == "request_cancel_activity":
                again += self._cancel_activity(command)
            elif kind == "cancel_child_workflow_execution":
                again += self._cancel_child(command)
            elif kind == "cancel_signal_workflow":
                seq = command.cancel_signal_workflow.seq
                if self._unsend("signal_external_workflow_execution", seq):
                    again.append(jobs.signal_cancelled(seq))
            else:
                self._remember(kind, command)
                self.pending.append(command)
        self._closing_last()
        return again

    def _remember(self, kind: str, command: WorkflowCommand) -> None:
        match kind:
            case "schedule_activity":
                asked = command.schedule_activity
                self.kinds[asked.seq] = asked.cancellation_type
            case "start_child_workflow_execution":
                child = command.start_child_workflow_execution
                self.child_ids[child.seq] = child.workflow_id
                self.child_kinds[child.seq] = child.cancellation_type
            case "set_patch_marker":
                self.patches.add(command.set_patch_marker.patch_id)
            case "update_response" if command.update_response.HasField("accepted"):
                self.accepted.add(command.update_response.protocol_instance_id)

    def _unsend(self, kind: str, seq: int) -> bool:
        """Take back a command that no server has seen."""
        for command in self.pending:
            if kind_of(command) == kind and getattr(command, kind).seq == seq:
                self.pending.remove(command)
                return True
        return False

    def _cancel_activity(self, command: WorkflowCommand) -> list[WorkflowActivationJob]:
        seq = command.request_cancel_activity.seq
        kind = self.kinds.get(seq, TRY)
        if seq in self.resolved:
            return []
        if self._unsend("schedule_activity", seq):
            self.resolved.add(seq)
            return [jobs.activity_cancelled(seq)]
        if kind != ABANDON:
            self.pending.append(command)
        if kind == WAIT:
            return []
        self.resolved.add(seq)
        return [jobs.activity_cancelled(seq)]

    def _cancel_local(self, seq: int, now_ms: int) -> list[WorkflowActivationJob]:
        """A local activity is to stop: at once for the workflow, unless it waits for that (T29)."""
        asked = self.local.get(seq)
        if asked is None:
            return []
        self.stopped.add(seq)
        if asked.cancellation_type == WAIT and seq in self.begun:
            return []
        end = markers.cancelled(seq)
        del self.local[seq]
        self.begun.discard(seq)
        self.pending.append(Marker(seq, markers.marker(asked, end, now_ms, self.wakings)))
        return [markers.job(end)]

    def _cancel_child(self, command: WorkflowCommand) -> list[WorkflowActivationJob]:
        seq = command.cancel_child_workflow_execution.child_workflow_seq
        kind = self.child_kinds.get(seq, CHILD_WAIT)
        if seq in self.gone:
            return []
        if self._unsend("start_child_workflow_execution", seq):
            self.gone.add(seq)
            return [jobs.child_never_started(seq, self.child_ids[seq])]
        if kind != CHILD_ABANDON:
            self.pending.append(command)
        if kind in (CHILD_WAIT, CHILD_WAIT_REQUESTED):
            return []
        self.gone.add(seq)
        return [jobs.child_cancelled(seq)]

    def _closing_last(self) -> None:
        """Of commands that end the run the first counts, and it comes last (core flag 3)."""
        closing = [c for c in self.pending if kind_of(c) in CLOSING_COMMANDS]
        if closing:
            rest = [c for c in self.pending if kind_of(c) not in CLOSING_COMMANDS]
            self.pending = [*rest, closing[0]]

    # ---- the events that commands have made

    def _commands_of(self, part: list[dict[str, Any]]) -> None:
        """Hold the command events of a part against what the workflow commanded (T7)."""
        waiting = [one for one in self.pending if self._leaves_an_event(one)]
        self.pending = []
        for event in part:
            kind = event["eventType"].removeprefix("EVENT_TYPE_")
            if kind not in COMMAND_OF or of_a_patch(kind, event):
                continue
            if not waiting:
                raise Nondeterminism(f"the history has {kind} ({shown(event)}), and the workflow "
                                     "commands nothing more")  # fmt: skip
            command = waiting.pop(0)
            self._match(kind, event, command)
        if waiting and self.read:
            left = kind_of(waiting[0])
            raise Nondeterminism(f"the workflow commands {left}, which is not in its history")

    def _leaves_an_event(self, command: Commanded) -> bool:
        if isinstance(command, Marker) or kind_of(command) != "update_response":
            return True
        told = command.update_response
        return not told.HasField("rejected") or told.protocol_instance_id in self.accepted

    def _match(self, kind: str, event: dict[str, Any], command: Commanded) -> None:
        which = kind_of(command)
        attributes, number = attributes_of(event), event["eventId"]
        wanted = COMMAND_OF[kind]
        if attributes.get("markerName") == markers.NAME:
            wanted = "record_local_activity"
        elif attributes.get("childWorkflowOnly") and wanted.startswith("request_cancel"):
            wanted = "cancel_child_workflow_execution"
        if which != wanted:
            raise Nondeterminism(f"the history has {kind} ({shown(event)}), and the workflow "
                                 f"commands {which}")  # fmt: skip
        if isinstance(command, Marker):
            return
        if kind == "TIMER_STARTED":
            self.timers[number] = command.start_timer.seq
        elif kind == "ACTIVITY_TASK_SCHEDULED":
            asked = command.schedule_activity
            recorded = (attributes["activityId"], attributes["activityType"]["name"])
            if recorded != (asked.activity_id, asked.activity_type):
                raise Nondeterminism(
                    f"Activity type of scheduled event {recorded[1]!r} does not match activity "
                    f"type of activity command {asked.activity_type!r}"
                )
            self.activities[number] = asked.seq
            self.activity_names[asked.seq] = recorded
        elif kind == "START_CHILD_WORKFLOW_EXECUTION_INITIATED":
            self.children[number] = command.start_child_workflow_execution.seq
        elif "_EXTERNAL_WORKFLOW_" in kind:
            self.asked[number] = command
        elif kind == "MARKER_RECORDED":
            self.patches.add(command.set_patch_marker.patch_id)

    # ---- the events that wake it

    def _jobs(
        self,
        part: list[dict[str, Any]],
        following: list[dict[str, Any]],
        updates: Sequence[Update],
    ) -> Iterator[WorkflowActivationJob]:
        """Yield jobs in sdk-core's order: init, patches, signals and updates, the rest."""
        first: list[WorkflowActivationJob] = []
        told: list[tuple[int, WorkflowActivationJob]] = []
        rest: list[WorkflowActivationJob] = []
        for event in part:
            kind = event["eventType"].removeprefix("EVENT_TYPE_")
            attributes = attributes_of(event)
            if kind == "WORKFLOW_EXECUTION_STARTED":
                first.append(jobs.initialize(attributes, event))
            elif kind == "WORKFLOW_EXECUTION_SIGNALED":
                told.append((int(event["eventId"]), jobs.signal(attributes, int(event["eventId"]))))
            elif kind == "WORKFLOW_EXECUTION_CANCEL_REQUESTED":
                rest.append(jobs.cancel())
            else:
                rest += self._resolutions(kind, attributes)
        for update in updates:
            job = jobs.update(update.id, update.request, validate=True)
            told.append((update.sequencing_id, job))
        for event in following:
            if event["eventType"].endswith("UPDATE_ACCEPTED"):
                seen = attributes_of(event)
                job = jobs.update(
                    seen["protocolInstanceId"], seen["acceptedRequest"], validate=False
                )
                told.append((int(seen["acceptedRequestSequencingEventId"]), job))
        patched = [jobs.patch(name) for name in patches(following)]
        self.patches.update(patches(following))
        ordered = [job for _, job in sorted(told, key=lambda one: one[0])]
        yield from (*first, *patched, *ordered, *rest)

    def _resolutions(
        self, kind: str, attributes: dict[str, Any]
    ) -> Iterator[WorkflowActivationJob]:
        if kind == "TIMER_FIRED":
            seq = self.timers[attributes["startedEventId"]]
            self.fired.add(seq)  # to cancel it now is no command any more
            yield jobs.timer(seq)
        elif kind.startswith("ACTIVITY_TASK_") and kind in jobs.ACTIVITY_ENDS:
            seq = self.activities[attributes["scheduledEventId"]]
            if seq not in self.resolved:
                self.resolved.add(seq)  # to cancel it now is no command any more
                yield jobs.activity(seq, kind, attributes, self.activity_names[seq])
        elif kind == "CHILD_WORKFLOW_EXECUTION_STARTED":
            yield jobs.child_started(self.children[attributes["initiatedEventId"]], attributes)
        elif kind == "START_CHILD_WORKFLOW_EXECUTION_FAILED":
            yield jobs.child_refused(self.children[attributes["initiatedEventId"]], attributes)
        elif kind in jobs.CHILD_ENDS:
            seq = self.children[attributes["initiatedEventId"]]
            if seq not in self.gone:
                self.gone.add(seq)
                yield jobs.child(seq, kind, attributes)
        elif kind in jobs.ANSWERED_ELSEWHERE:
            yield from self._answered(kind, self.asked[attributes["initiatedEventId"]])

    def _answered(self, kind: str, command: Commanded) -> Iterator[WorkflowActivationJob]:
        """What another workflow's server says; a child that is asked to end is waited for.

        Also where its parent waits for the request alone: the real core goes on when it has ended.
        """
        assert not isinstance(command, Marker)
        which = kind_of(command)
        if which != "cancel_child_workflow_execution":
            yield jobs.answered(kind, getattr(command, which).seq)

    # ---- for the server

    def _for_server(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for command in self.pending:
            which = kind_of(command)
            if not which:
                continue
            told = command if isinstance(command, Marker) else getattr(command, which)
            yield from SERVER_FORM[which](self, told)


_UNSENT: Final = frozenset(
    {"schedule_local_activity", "request_cancel_local_activity", "cancel_signal_workflow"}
)
"""Commands that are for the worker, and that no server sees."""
