"""Plays the sequences that were recorded from a real Temporal server on our machine."""

import json
import re
from pathlib import Path
from typing import Any, Final

from chaosharness.orchestrators.temporal.commands import Command
from chaosharness.orchestrators.temporal.refusals import Refused
from chaosharness.orchestrators.temporal.run import Activity, Run
from chaosharness.orchestrators.temporal.server import Server

DATA: Final = Path(__file__).parents[4] / "shared/data/temporal-recorded"
EARLY_RETRY: Final = "under time skipping the real server hands out a retry before its time"
NEVER_HANDED_OUT: Final = "an activity that was scheduled by the task that ended the run"
EXPLAINED: Final = {39: EARLY_RETRY, 63: NEVER_HANDED_OUT}
"""Sequences in which the real server deviates from what it promises."""


class Player:
    """A client without an SDK, as the recorder was one."""

    def __init__(self) -> None:
        self.server = Server()
        self.run: Run = self.server.start("run", "W", "run", task_timeout_ms=100_000)
        self.token = ""
        self.activities: list[str] = []
        self.number = 0
        self.timers: list[str] = []
        self.scheduled: list[str] = []
        self.advanced = False

    def command(self, name: str) -> Command | None:
        self.number += 1
        own = str(self.number)
        match name:
            case "timer":
                self.timers.append(own)
                return "StartTimer", {"timerId": own, "startToFireTimeout": "3600s"}
            case "activity":
                policy = {
                    "initialInterval": "600s",
                    "backoffCoefficient": 2.0,
                    "maximumAttempts": 3,
                }
                return "ScheduleActivityTask", {
                    "activityId": own,
                    "activityType": {"name": "a"},
                    "taskQueue": {"name": f"run-{own}"},
                    "startToCloseTimeout": "36000s",
                    "retryPolicy": policy,
                }
            case "cancel timer" if self.timers:
                return "CancelTimer", {"timerId": self.timers[0]}
            case "cancel activity" if self.scheduled:
                return "RequestCancelActivityTask", {"scheduledEventId": self.scheduled[0]}
            case "marker":
                return "RecordMarker", {"markerName": "m"}
            case "complete workflow":
                return "CompleteWorkflowExecution", {}
        return None

    def step(self, step: list[Any]) -> Any:
        """Do one step; answer what a client sees."""
        try:
            return self._step(step)
        except Refused as refused:
            return str(refused)

    def _step(self, step: list[Any]) -> Any:
        server = self.server
        match step:
            case ["poll workflow"]:
                task = server.poll_workflow("run") if self.run.status == "RUNNING" else None
                if task is None:
                    return "none"
                self.token = task.token
                kind = "EVENT_TYPE_ACTIVITY_TASK_SCHEDULED"
                self.scheduled = [e["eventId"] for e in task.events if e["eventType"] == kind]
                return {"attempt": task.attempt, "events": len(task.events)}
            case ["finish workflow" | "fail workflow", *_] if not self.token:
                return "no token"
            case ["finish workflow", names]:
                commands = [each for each in map(self.command, names) if each]
                server.finish_workflow(self.token, commands)
            case ["fail workflow"]:
                cause = "WORKFLOW_TASK_FAILED_CAUSE_BAD_SCHEDULE_ACTIVITY_ATTRIBUTES"
                server.fail_workflow(self.token, cause)
            case ["poll activity"]:
                ready = sorted((a for _, a in server.ready_activities()), key=lambda a: a.id)
                if not ready:
                    return "none"
                taken = server.poll_activity(ready[0].queue)
                assert taken is not None
                self.activities.append(taken.token)
                return {"activity": taken.activity.id, "attempt": taken.attempt}
            case ["complete" | "fail" | "heartbeat", place, *_] if place >= len(self.activities):
                return "no token"
            case ["complete", place]:
                server.complete_activity(self.activities[place])
            case ["fail", place, final]:
                info = {"type": "T", **({"nonRetryable": True} if final else {})}
                failure = {"message": "f", "applicationFailureInfo": info}
                server.fail_activity(self.activities[place], failure)
            case ["heartbeat", place]:
                return {"cancel_requested": server.heartbeat(self.activities[place])}
            case ["signal"]:
                server.signal("run", "s")
            case ["cancel"]:
                server.cancel("run")
            case ["advance", seconds]:
                return self.advance(seconds)
        return "ok"

    def advance(self, seconds: int) -> str:
        """Let time pass, up to the first thing that comes into flight."""
        if self.run.status != "RUNNING":
            return "closed"
        if self._in_flight():
            return "in flight"
        self.advanced = True
        server, end = self.server, self.server.now_ms + seconds * 1000
        while (due := server.due()) is not None and due <= end:
            server.tick(due)
            if self._in_flight():
                stopped = "stopped on the way: something came into flight"
                return stopped if server.now_ms < end else "arrived"
        server.tick(end)
        return "arrived"

    def _in_flight(self) -> bool:
        def waits(activity: Activity) -> bool:
            return not activity.started and activity.ready_ms > self.server.now_ms

        return self.run.task is not None or not all(map(waits, self.run.activities.values()))


def sequences() -> list[dict[str, Any]]:
    """Return the recorded sequences: steps, answers, events."""
    found: list[dict[str, Any]] = json.loads((DATA / "sequences.json").read_text())
    return found


def difference(sequence: dict[str, Any]) -> str:
    """Play a sequence and say what is different; empty where nothing is."""
    player = Player()
    for number, (step, wanted) in enumerate(zip(*_steps(sequence), strict=True), 1):
        got = player.step(step)
        if player.advanced:  # the real server has events of its time skipping between
            wanted, got = _without_ids(wanted), _without_ids(got)
        if wanted != got:
            return f"step {number}, {step}: {wanted} is wanted, not {got}"
    events = [_normal(event) for event in player.run.shown_events()]
    for one, other in zip(sequence["events"], events, strict=False):
        if _loose(one, player) != _loose(other, player):
            return f"the event {one} is wanted, not {other}"
    if len(events) != len(sequence["events"]):
        return f"{len(sequence['events'])} events are wanted, not {len(events)}"
    return ""


def _steps(sequence: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    return sequence["steps"], sequence["answers"]


def _without_ids(answer: Any) -> Any:
    if isinstance(answer, dict) and "events" in answer:
        return {"attempt": answer["attempt"]}
    return re.sub(r"EventID: \d+", "", answer) if isinstance(answer, str) else answer


UNTOLD: Final = {"eventTime", "workflowId", "originalExecutionRunId", "firstExecutionRunId",
                 "workflowTaskTimeout", "firstWorkflowTaskBackoff", "sdkMetadata"}  # fmt: skip


def _normal(event: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for key, value in event.items():
        if key.endswith("EventAttributes"):
            value = {k: v for k, v in value.items() if k not in UNTOLD}
            if value.get("attempt", 1) != 1 and "startToCloseTimeout" in value:
                value = {**value, "startToCloseTimeout": "grows, with jitter"}
            if value:
                found[key] = value
        elif key not in UNTOLD:
            found[key] = value
    return found


def _loose(event: dict[str, Any], player: Player) -> str:
    text = json.dumps(event, sort_keys=True)
    return re.sub(r"EventID: \d+", "", text) if player.advanced else text
