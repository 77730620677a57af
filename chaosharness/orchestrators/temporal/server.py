"""The Temporal server as a pure machine: runs, workflow tasks, activities, timers, children.

No SDK, no world, no fault inside. Requests are methods; `due()` says when time must act and
`tick(now_ms)` lets it. Payloads and failures are what Temporal's own JSON has, untouched.

*Source*: temporalio/temporal, `docs/architecture` and `service/history`; compared with sequences
recorded from Temporal Server 1.32.0.
*Not modelled*: Nexus, worker versioning, reset.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from chaosharness.orchestrators.long_waits import Rows
from chaosharness.orchestrators.temporal import activities, children, timetables, updates
from chaosharness.orchestrators.temporal.chains import (
    continue_as,
    handed_on,
    next_of_cron_in,
    run_again,
    try_again,
)
from chaosharness.orchestrators.temporal.commands import CLOSING, Command, check
from chaosharness.orchestrators.temporal.deadlines import timed_out, times_of
from chaosharness.orchestrators.temporal.elsewhere import ASKED_ELSEWHERE, ask
from chaosharness.orchestrators.temporal.limits import NONE, TIMED_OUT, Limits, next_run_in
from chaosharness.orchestrators.temporal.refusals import (
    ACTIVITY_GONE,
    RUN_ENDED,
    TASK_GONE,
    Refused,
    not_found,
)
from chaosharness.orchestrators.temporal.retries import (
    timeout_failure,
)
from chaosharness.orchestrators.temporal.run import (
    Activity,
    ActivityTask,
    Run,
    Timer,
    Update,
    WorkflowTask,
    execution_of,
    milliseconds,
    seconds_text,
    upserted,
)
from chaosharness.orchestrators.temporal.timetables import Timetable
from chaosharness.orchestrators.temporal.visibility import typed

__all__ = ["Server"]


@attrs.define(eq=False)
class Server:
    """All runs of one namespace. `now_ms` moves with `tick` alone."""

    now_ms: int = 0
    runs: dict[str, list[Run]] = attrs.field(factory=dict)  # by workflow id, the latest last
    tasks: dict[str, Run] = attrs.field(factory=dict)  # by the token of a workflow task
    holders: dict[str, tuple[Run, Activity]] = attrs.field(factory=dict)  # by an activity's token
    tokens: int = 0
    made: int = 0
    timetable_runs: int | None = None  # how often a cron, and a schedule, has something begin
    timetables: dict[str, Timetable] = attrs.field(factory=dict)  # schedules, by their id
    timers_of: Callable[[str], tuple[int, int]] | None = None
    """Of a type: how many timers of a workflow are waited for, and how long they are at least."""
    rows: Rows = attrs.field(factory=Rows)  # such timers, by who began it all
    searchable: dict[str, str] = attrs.field(factory=dict)  # types of search attributes, by name
    abandoned: set[str] = attrs.field(factory=set)  # children that their parents may leave behind
    afterwards: list[Callable[[], None]] = attrs.field(factory=list)  # when a task is written

    def _now(self) -> int:
        return self.now_ms

    # ---- starting and telling

    def start(
        self,
        workflow_id: str,
        type: str,
        queue: str,
        *,
        input: Any = None,
        task_timeout_ms: int = 10_000,
        extra: Mapping[str, Any] | None = None,
        parent: tuple[str, int] | None = None,
        wait_ms: int = 0,
        limits: Limits = NONE,
    ) -> Run:
        """Begin a run; of a workflow id that runs already it is refused (T21)."""
        known = self.runs.setdefault(workflow_id, [])
        if known and known[-1].status == "RUNNING":
            raise Refused("ALREADY_EXISTS", "Workflow execution is already running. "
                          f"WorkflowId: {workflow_id}, RunId: {known[-1].run_id}.")  # fmt: skip
        self.made += 1
        run = Run(
            workflow_id, f"run-{self.made}", type, queue, task_timeout_ms, self.now_ms, self._now
        )
        run.parent, run.limits = parent, limits
        run.begins_ms = self.now_ms + wait_ms
        run.due_ms = limits.due_ms(run.begins_ms)
        run.task_timeout_ms = task_timeout_ms = limits.task_ms(task_timeout_ms)
        known.append(run)
        begun = sum(bool(one.limits.cron) and one.limits.attempt == 1 for one in known)
        most = self.timetable_runs
        run.beyond = bool(limits.cron and wait_ms) and most is not None and begun > most
        attributes: dict[str, Any] = {
            "taskQueue": {"kind": "TASK_QUEUE_KIND_NORMAL", "name": queue},
            "workflowType": {"name": type},
            "workflowId": workflow_id,
            "originalExecutionRunId": run.run_id,
            "firstExecutionRunId": run.run_id,
            "workflowTaskTimeout": seconds_text(task_timeout_ms),
            "firstWorkflowTaskBackoff": seconds_text(wait_ms),
            **(extra or {}),
            **limits.told(),
        }
        if input is not None:
            attributes["input"] = input
        run.memo = dict(attributes.get("memo", {}).get("fields", {}))
        run.search_attributes = dict(
            attributes.get("searchAttributes", {}).get("indexedFields", {})
        )
        run.write("WORKFLOW_EXECUTION_STARTED", attributes)
        run.not_before_ms = run.begins_ms if wait_ms else 0
        run.schedule_task()
        return run

    def latest(self) -> list[Run]:
        """The latest run of each workflow id: no other one can be running."""
        return [runs[-1] for runs in self.runs.values() if runs]

    def find(self, workflow_id: str) -> Run:
        """The latest run of a workflow id."""
        if not self.runs.get(workflow_id):
            raise not_found(f"workflow not found for ID: {workflow_id}")
        return self.runs[workflow_id][-1]

    def _open(self, workflow_id: str) -> Run:
        run = self.find(workflow_id)
        if run.status != "RUNNING":
            raise not_found(RUN_ENDED)
        return run

    def signal(
        self,
        workflow_id: str,
        name: str,
        input: Any = None,
        *,
        by: tuple[Run, int] | None = None,
        header: Any = None,
    ) -> None:
        """Tell a run something; once this returns it is durable (T19).

        `by` is the run that asked for it, and the event with which it did.
        """
        attributes: dict[str, Any] = {"signalName": name}
        if by is not None:
            attributes["externalWorkflowExecution"] = execution_of(by[0])
        if input is not None:
            attributes["input"] = input
        if header:
            attributes["header"] = header
        self._open(workflow_id).tell("WORKFLOW_EXECUTION_SIGNALED", lambda: attributes)

    def cancel(
        self, workflow_id: str, reason: str = "", *, by: tuple[Run, int] | None = None
    ) -> None:
        """Ask a run to end; a second request, or one after its end, changes nothing.

        `by` is the run that asks for it, and the event with which it does (0: none).
        """
        run = self.find(workflow_id)
        if run.status == "RUNNING" and not run.cancel_requested:
            run.cancel_requested = True
            told: dict[str, Any] = {"cause": reason} if reason else {}
            if by is not None:
                if by[1]:
                    told["externalInitiatedEventId"] = str(by[1])
                told["externalWorkflowExecution"] = execution_of(by[0])
            if not run.limits.cron:
                run.not_before_ms = 0  # its first task comes now
            run.tell("WORKFLOW_EXECUTION_CANCEL_REQUESTED", lambda: told)

    def terminate(self, workflow_id: str, reason: str = "", details: Any = None) -> None:
        """End a run where it stands: no code of it runs any more."""
        run = self._open(workflow_id)
        _take_task(run)
        told: dict[str, Any] = {"reason": reason} if reason else {}
        if details is not None:
            told["details"] = details
        run.write("WORKFLOW_EXECUTION_TERMINATED", told)
        self._closed(run, "TERMINATED", told)

    def update(self, workflow_id: str, update_id: str, request: Mapping[str, Any]) -> Update:
        """Ask a run to change, and to say how it went (T27)."""
        return updates.admit(self.find(workflow_id), update_id, request)

    # ---- workflow tasks

    def expire_sticky(self, run: Run) -> None:
        """The worker whose cache has this run did not come for its task: any worker may (T5)."""
        run.sticky = False
        run.settle()
        task = run.task
        if task is None or task.token or not task.written:
            return
        run.task = None
        told = {
            "scheduledEventId": str(task.scheduled_id),
            "timeoutType": "TIMEOUT_TYPE_SCHEDULE_TO_START",
        }
        run.write("WORKFLOW_TASK_TIMED_OUT", told)
        run.schedule_task()

    def _token(self) -> str:
        self.tokens += 1
        return f"token-{self.tokens}"

    def waiting_runs(self, queue: str) -> list[Run]:
        """Runs with a workflow task that nobody has taken, oldest first."""
        found = [
            run
            for run in self.latest()
            if run.queue == queue and run.task is not None and not run.task.token
        ]
        return sorted(found, key=lambda run: run.task.since_ms if run.task else 0)

    def poll_workflow(
        self, queue: str, run: Run | None = None, *, identity: str = ""
    ) -> WorkflowTask | None:
        """Take a workflow task; None where there is none."""
        waiting = self.waiting_runs(queue)
        if run is not None:
            waiting = [one for one in waiting if one is run]
        if not waiting:
            return None
        chosen = waiting[0]
        token = self._token()
        task = chosen.start_task(token, identity)
        self.tasks[token] = chosen
        sent = updates.send(chosen)
        return WorkflowTask(token, chosen, task.attempt, [*chosen.shown_events()], sent)

    def _holder(self, token: str) -> Run:
        run = self.tasks.get(token)
        if run is None or run.task is None or run.task.token != token:
            raise not_found(TASK_GONE)
        return run

    def finish_workflow(
        self,
        token: str,
        commands: list[Command],
        *,
        sdk: Mapping[str, Any] | None = None,
        sticky: bool = False,
        again: bool = False,
    ) -> bool:
        """Apply what a task decided, all of it or nothing (one transaction).

        Args:
            token: Of the task.
            commands: What was decided.
            sdk: What the worker's SDK wants remembered with it (flags that it used).
            sticky: Whether the worker has the run in its cache, and asks for its next task.
            again: Whether the worker wants another task at once: it works on (T29).

        Returns:
            Whether the task is in the history: one that only rejected updates is not (T28).
        """
        run = self._holder(token)
        wrong = check(run, commands, self.searchable)
        if wrong is not None:
            cause, refusal = wrong
            if not cause or run.task is None or run.task.attempt > 1:
                raise refusal  # a later attempt is left to time out (T3)
            run.fail_task(f"WORKFLOW_TASK_FAILED_CAUSE_{cause}", {"message": refusal.message})
            raise refusal
        closes = bool(commands) and commands[-1][0] in CLOSING
        if closes and run.buffer:
            failure = {"message": "UnhandledCommand", "serverFailureInfo": {}}
            run.fail_task("WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND", failure)
            raise Refused("INVALID_ARGUMENT", "UnhandledCommand")
        if not again and updates.leave_nothing(run, commands):
            for name, attributes in commands:
                updates.apply(run, name, attributes)
            run.drop_task()
            self._bring_updates(run)
            return False
        completed = run.complete_task(sdk)
        run.sticky = sticky
        woken = again
        self.afterwards = []
        for name, attributes in commands:
            woken = self._apply(run, name, dict(attributes), str(completed)) or woken
        if run.status == "RUNNING" and (run.flush() or woken):
            run.schedule_task()
        for carry_out in self.afterwards:
            carry_out()
        self._bring_updates(run)
        return True

    def _bring_updates(self, run: Run) -> None:
        if updates.wait_still(run):
            run.schedule_task(speculative=True)

    def fail_workflow(self, token: str, cause: str, failure: Any = None) -> None:
        """A worker could not decide: the task is tried again (T6)."""
        run = self._holder(token)
        run.fail_task(cause, failure)

    def _apply(self, run: Run, name: str, attributes: dict[str, Any], completed: str) -> bool:
        """Apply one command; return whether it has woken the workflow by itself."""
        by = {"workflowTaskCompletedEventId": completed}
        match name:
            case "StartTimer":
                number = run.write("TIMER_STARTED", {**attributes, **by})
                due = self.now_ms + milliseconds(attributes["startToFireTimeout"])
                timer = Timer(attributes["timerId"], number, due, self._is_beyond(run, due))
                run.timers[timer.id] = timer
            case "CancelTimer":
                timer = run.timers.pop(attributes["timerId"])
                run.write("TIMER_CANCELED", {"startedEventId": str(timer.started_id),
                                             "timerId": timer.id, **by})  # fmt: skip
            case "ScheduleActivityTask":
                activities.schedule(run, attributes, by, now_ms=self.now_ms)
            case "RequestCancelActivityTask":
                return activities.cancel(run, int(attributes["scheduledEventId"]), by)
            case "RecordMarker":
                run.write("MARKER_RECORDED", {**attributes, **by})
            case "UpsertWorkflowSearchAttributes":
                fields = typed(attributes["searchAttributes"]["indexedFields"], self.searchable)
                attributes["searchAttributes"] = {"indexedFields": fields}
                run.search_attributes = upserted(run.search_attributes, fields)
                run.write("UPSERT_WORKFLOW_SEARCH_ATTRIBUTES", {**attributes, **by})
            case "ModifyWorkflowProperties":
                run.memo = upserted(run.memo, attributes["upsertedMemo"]["fields"])
                run.write("WORKFLOW_PROPERTIES_MODIFIED", {**attributes, **by})
            case "StartChildWorkflowExecution":
                self.afterwards.append(children.start(self, run, attributes, by))
            case "AcceptUpdate" | "CompleteUpdate" | "RejectUpdate":
                updates.apply(run, name, attributes)
            case _ if name in ASKED_ELSEWHERE:
                self.afterwards.append(ask(self, run, name, attributes, by))
            case _ if name in CLOSING:
                self._close(run, name, attributes, by)
        return False

    # ---- activities

    def ready_activities(self, queue: str | None = None) -> list[tuple[Run, Activity]]:
        """Activities that may be polled now, in the order in which they became ready."""
        found = [
            (run, activity)
            for run in self.latest()
            if run.status == "RUNNING"
            for activity in run.activities.values()
            if not activity.started
            and activity.ready_ms <= self.now_ms
            and (queue is None or activity.queue == queue)
        ]
        return sorted(found, key=lambda one: (one[1].ready_ms, one[1].scheduled_id))

    def poll_activity(
        self, queue: str, activity: Activity | None = None, *, identity: str = ""
    ) -> ActivityTask | None:
        """Take an activity; None where none is ready. Any ready one may come first."""
        for run, ready in self.ready_activities(queue):
            if activity is None or ready is activity:
                ready.token, ready.identity = self._token(), identity
                ready.started_ms = ready.beat_ms = self.now_ms
                self.holders[ready.token] = (run, ready)
                return ActivityTask(ready.token, run, ready, ready.attempt)
        return None

    def _held(self, token: str) -> tuple[Run, Activity]:
        run, activity = self.holders.get(token, (None, None))
        if run is None or activity is None:
            raise not_found(ACTIVITY_GONE)
        if run.status != "RUNNING":
            raise not_found(RUN_ENDED)
        if activity.token != token or activity.scheduled_id not in run.activities:
            raise not_found(ACTIVITY_GONE)
        return run, activity

    def complete_activity(self, token: str, result: Any = None) -> None:
        """The result of an activity. A late one is refused (T14)."""
        run, activity = self._held(token)
        told = {} if result is None else {"result": result}
        activities.end(run, activity, "ACTIVITY_TASK_COMPLETED", told)

    def fail_activity(self, token: str, failure: Mapping[str, Any]) -> None:
        """An attempt has failed: it is tried again, or the activity has failed (T12)."""
        run, activity = self._held(token)
        activities.failed(run, activity, dict(failure), "ACTIVITY_TASK_FAILED", now_ms=self.now_ms)

    def canceled_activity(self, token: str, details: Any = None) -> None:
        """An activity that was asked to stop has stopped."""
        run, activity = self._held(token)
        told: dict[str, Any] = {"latestCancelRequestedEventId": str(activity.cancel_id)}
        if details is not None:
            told["details"] = details
        activities.end(run, activity, "ACTIVITY_TASK_CANCELED", told)

    def heartbeat(self, token: str, details: Any = None) -> bool:
        """Say that an activity goes on; return whether its cancellation was asked for."""
        _, activity = self._held(token)
        activity.beat_ms = self.now_ms
        activity.details = details if details is not None else activity.details
        return bool(activity.cancel_id)

    # ---- the end

    def _close(self, run: Run, name: str, attributes: dict[str, Any], by: dict[str, str]) -> None:
        status = CLOSING[name]
        if status == "CONTINUED_AS_NEW":
            queue = {"kind": "TASK_QUEUE_KIND_NORMAL", "name": run.queue}
            attributes = {"workflowType": {"name": run.type}, "taskQueue": queue,
                          **handed_on(run), **attributes}  # fmt: skip
        told = {**attributes, **by}
        if status == "FAILED":
            self._end_or_try(run, "FAILED", told, attributes["failure"])
            return
        again_ms = next_of_cron_in(run, self.now_ms) if status == "COMPLETED" else None
        if status == "CONTINUED_AS_NEW" or again_ms is not None:
            told["newExecutionRunId"] = f"run-{self.made + 1}"
        run.write(f"WORKFLOW_EXECUTION_{status}", told)
        self._closed(run, status, attributes, followed=again_ms is not None)
        if status == "CONTINUED_AS_NEW":
            continue_as(self, run, attributes)
        elif again_ms is not None:
            run_again(self, run, again_ms, None)

    def _end_or_try(
        self, run: Run, status: Any, told: dict[str, Any], failure: Mapping[str, Any]
    ) -> None:
        """A run has failed, or its time is over: there is another one, if its policy says so."""
        wait_ms, state = next_run_in(run.limits, failure, self.now_ms)
        told["retryState"] = f"RETRY_STATE_{state}"
        again_ms = next_of_cron_in(run, self.now_ms) if wait_ms is None else None
        followed = wait_ms is not None or again_ms is not None
        if followed:
            told["newExecutionRunId"] = f"run-{self.made + 1}"
        run.write(f"WORKFLOW_EXECUTION_{status}", told)
        self._closed(run, status, told, followed=followed)
        if wait_ms is not None:
            try_again(self, run, wait_ms, failure)
        elif again_ms is not None:
            run_again(self, run, again_ms, failure)

    def _is_beyond(self, run: Run, due_ms: int) -> bool:
        """Count the timers that came one after the other, of a workflow, of those runs that go on
        with it, and of its children; say whether this is one more than a run of the system waits
        for."""
        if self.timers_of is None:
            return False
        line = [*self.above(run)]
        most, from_ms = min(self.timers_of(one.type) for one in line)
        if due_ms - self.now_ms < from_ms:
            return False
        return self.rows.add(line[-1].workflow_id, self.now_ms, due_ms) > most

    def above(self, run: Run) -> Iterator[Run]:
        """Yield a run, its parent, and so on."""
        yield run
        while run.parent is not None and run.parent[0] in self.runs:
            yield (run := self.find(run.parent[0]))

    def _closed(
        self, run: Run, status: Any, told: dict[str, Any], *, followed: bool = False
    ) -> None:
        run.status = status
        run.result = told
        run.task = None
        run.timers.clear()
        run.buffer.clear()
        updates.end(run)
        children.leave(self, run)  # those of a run that goes on as another one, too
        if status != "CONTINUED_AS_NEW" and not followed:
            children.tell_parent(self, run, status, told)
            timetables.ended(self, run)

    # ---- time

    def due(self) -> int | None:
        """When time must act next, in milliseconds; None where nothing waits for a time."""
        times: list[int] = []
        for run in self.latest():
            if run.status == "RUNNING":
                times += times_of(run, self.now_ms)
        times += [one.next_ms for one in self.timetables.values() if one.next_ms is not None]
        return min(times, default=None)

    def promised(self, *, made_up: bool) -> list[int]:
        """When crons and schedules have something begin next; for what they have skipped, too."""
        found = [
            one.next_ms
            for one in self.timetables.values()
            if one.next_ms is not None and (made_up or not one.made_up)
        ]
        for run in self.latest():
            if run.limits.cron and run.not_before_ms and not run.beyond:
                found.append(run.not_before_ms)
        return found

    def tick(self, now_ms: int) -> None:
        """Let time act, what was due first, first."""
        while (due := self.due()) is not None and due <= now_ms:
            self.now_ms = max(self.now_ms, due)
            for run in self.latest():
                if run.status == "RUNNING" and not run.beyond:
                    self._tick_run(run)
            for timetable in [*self.timetables.values()]:
                timetables.tick(self, timetable)
        self.now_ms = max(self.now_ms, now_ms)

    def _tick_run(self, run: Run) -> None:
        now = self.now_ms
        if run.due_ms is not None and run.due_ms <= now:
            _take_task(run)
            self._end_or_try(run, "TIMED_OUT", {}, TIMED_OUT)
            return
        if run.not_before_ms and run.not_before_ms <= now:
            run.not_before_ms = 0
            run.schedule_task()
        task = run.task
        if task is not None and task.deadline_ms is not None and task.deadline_ms <= now:
            run.fail_task("", timed_out="TIMEOUT_TYPE_START_TO_CLOSE")
        for timer in sorted(run.timers.values(), key=lambda one: (one.due_ms, one.started_id)):
            if timer.due_ms <= now and not timer.beyond:
                self._fire(run, timer)
        for activity in [*run.activities.values()]:
            if (kind := timed_out(activity, now)) is not None:
                late = timeout_failure(kind)
                activities.failed(run, activity, late, "ACTIVITY_TASK_TIMED_OUT", now_ms=now)
            elif activity.ready_ms <= now:
                activity.ready_ms = min(activity.ready_ms, now)

    def _fire(self, run: Run, timer: Timer) -> None:
        del run.timers[timer.id]
        told = {"startedEventId": str(timer.started_id), "timerId": timer.id}
        run.tell("TIMER_FIRED", lambda: told)


def _take_task(run: Run) -> None:
    """A run is ended where it stands: whoever has its task is too late."""
    if run.task is not None and run.task.speculative:
        run.drop_task()
    if run.task is not None and run.task.token:
        run.fail_task("WORKFLOW_TASK_FAILED_CAUSE_FORCE_CLOSE_COMMAND")
    run.task = None
