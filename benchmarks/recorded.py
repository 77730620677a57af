"""Plays AWS's recorded Step Functions histories through our interpreter, and compares them.

python -m benchmarks recorded

The recordings lie beside the checkout (`../shared/data/aws-recorded/stepfunctions`): inputs,
definitions and full event histories. What a task answered is taken from the history too, so no
Lambda is needed. Compared event by event: type, state, input, output, error, cause, variables and
`previousEventId`. What the recorder has blanked (`<uuid:1>`, `timestamp`) matches anything.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs

from chaosharness.orchestrators.stepfunctions.definition import read_definition
from chaosharness.orchestrators.stepfunctions.errors import StateError
from chaosharness.orchestrators.stepfunctions.execution import Execution
from chaosharness.orchestrators.stepfunctions.states import walk_states

DATA: Final = Path(__file__).parents[2] / "shared/data/aws-recorded/stepfunctions"
UNTOLD: Final = {"region", "roleArn", "mapRunArn", "timestamp"}
DETAILS: Final = {"inputDetails", "outputDetails", "assignedVariablesDetails"}
BLANKS: Final = {"date", "timestamp", "start-time", "entered-time", "snf_role_arn", "a_task_token",
                 "generated-uuid", "RandomNumberGenerated"}  # fmt: skip

ACCOUNT: Final = "111111111111"

#: What is known to differ, by a part of the recording's name, and why.
EXPLAINED: Final = {
    "test_wait_timestamp": "the input's time is blanked in the recording",
    "TestLogs": "a log stream, whose first event has no input",
    "test_log_group": "a log stream, whose first event has no input",
    "max_items_path": "the items lie in S3, and are not in the recording",
    "MAP_STATE_REFERENCE_IN_MAX": "the items lie in S3, and are not in the recording",
    "test_map_item_reader": "the items lie in S3, and are not in the recording",
    "test_map_item_batching": "the items lie in S3, and are not in the recording",
    "test_escape_sequence_parsing[ESCAPE_SEQUENCES_STRING_LITERALS]": "half a character, as JSON5 "
    "reads it, is joined by AWS's own reader",
    "test_parallel_state_lambda": "the recording leaves events out",
    "test_max_concurrency_path_negative": "the recording holds its first event alone",
    "test_service_lambda_map_timeout": "items side by side, in an order of AWS's own",
    "test_lambda_service_invoke_with_retry_extended_input": "recorded before contexts had a "
    "RedriveCount",
    "test_parallel_state_nested": "the recording leaves events out",
    "test_invoke_with_headers[singleStringHeader]": "not modelled: parameters of API Gateway are "
    "not checked",
    "test_fifo_message_attribute": "the test changed the definition, though not marked so",
    "test_publish_message_attributes": "the test changed the definition, though not marked so",
}


class NotRecorded(Exception):
    """Something was asked whose answer is not in the recording."""


@attrs.frozen
class Recording:
    """One recorded history and the definition that it ran."""

    entry: str
    name: str
    definition: str
    changed: bool
    events: list[dict[str, Any]]

    @property
    def redacted(self) -> bool:
        """Whether the recorder has blanked values that the run depends on."""
        given = self.events[0].get("executionStartedEventDetails", {}).get("input")
        blank = r"<[\w:-]+>|_arn\b|_url\b|\"(timestamp|date)\""
        return bool(re.search(blank, json.dumps(given)))


def recordings() -> Iterator[Recording]:
    """Yield the histories that are matched with a definition."""
    loaded: dict[str, Any] = {}
    for match in json.loads((DATA / "matching.json").read_text()):
        if not match["definition"]:
            continue
        path = match["recording"]
        if path not in loaded:
            loaded[path] = json.loads((DATA / "v2" / path).read_text())
        events = loaded[path][match["entry"]]["recorded-content"]
        for key in match["key"]:
            events = events[key]
        name = match["entry"].split("::", 1)[1]
        changed = match["definition_changed_in_test"]
        yield Recording(match["entry"], name, match["definition"], changed, events)


def read_source(definition: str) -> Any:
    """Return a definition as it is deployed: JSON with comments and long texts."""
    import json5

    return json5.loads((DATA / "templates" / definition).read_text())


# ---- playing


def play(recording: Recording) -> Execution:
    """Run the definition on the recorded input, with the recorded answers of tasks."""
    given = recording.events[0]["executionStartedEventDetails"].get("input")
    graph = read_definition(read_source(recording.definition), name="recorded")
    execution = Execution("e", "recorded", graph, _input(given), 1_700_000_000_000, walk_states)
    execution.begin()
    answers = _answers(recording.events)
    while execution.status == "RUNNING":
        if execution.asked:
            work = execution.asked.pop(0)
            if work.kind == "reader":
                raise NotRecorded("what lies in S3")
            _give(execution, work.token, next(answers, []))
        elif (due := execution.due()) is not None:
            execution.tick(due)
        else:
            raise NotRecorded("an answer that never came")
    return execution


def _input(given: Any) -> Any:
    """Return an input: the recorder has read objects, and left arrays and scalars as texts."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except ValueError:
        return given


def _answers(events: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield what became of each task that was scheduled, in the order of scheduling."""
    after: dict[int, dict[str, Any]] = {}
    for event in events:
        if isinstance(event["previousEventId"], int) and _of_task(event):
            after.setdefault(event["previousEventId"], event)
    for event in events:
        if event["type"].endswith("Scheduled") and isinstance(event["id"], int):
            chain, at = [], event["id"]
            while (found := after.get(at)) and not found["type"].endswith("Scheduled"):
                chain.append(found)
                at = found["id"]
            yield chain


def _of_task(event: dict[str, Any]) -> bool:
    return event["type"].startswith(("Task", "LambdaFunction", "Activity")) and (
        "State" not in event["type"]
    )


def _give(execution: Execution, token: str, chain: list[dict[str, Any]]) -> None:
    for event in chain:
        kind, details = event["type"], _details(event) or {}
        if kind == "ActivityStarted":
            execution.write(execution.pending[token].branch, kind, _decoded(details))
        elif kind.endswith("Submitted"):
            execution.submitted(token, _decoded(details.get("output")))
        elif kind.endswith("Succeeded"):
            execution.succeed(token, _decoded(details.get("output")))
        elif kind.endswith("Failed"):
            cause = details.get("cause")
            if isinstance(cause, dict | list):
                cause = json.dumps(cause, separators=(",", ":"))
            execution.fail(token, StateError(details.get("error"), cause))


# ---- comparing


def _details(event: dict[str, Any]) -> Any:
    return next((event[key] for key in event if key.endswith("EventDetails")), None)


def _decoded(value: Any) -> Any:
    """Return a value with JSON texts read: the recorder has read some of them, and not all."""
    if isinstance(value, str):
        try:
            return _decoded(json.loads(value))
        except ValueError:
            return value
    if isinstance(value, dict):
        return {key: _decoded(each) for key, each in value.items() if key not in DETAILS}
    if isinstance(value, list):
        return [_decoded(each) for each in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _normal(event: dict[str, Any]) -> tuple[str, Any]:
    details = _decoded(_details(event))
    if isinstance(details, dict):
        details = {k: v for k, v in details.items() if k not in UNTOLD and v is not None}
    return event["type"], details or None


def _alike(wanted: Any, got: Any) -> bool:
    if isinstance(wanted, str):
        if wanted in BLANKS or wanted.endswith(("_arn", "_url")):
            return True
        if "<" in wanted and isinstance(got, str):
            text = wanted.replace("<<task_token>:1>", "<task_token>")
            pattern = re.sub(r"<[\w:\\-]+>", ".+", re.escape(text)).replace(ACCOUNT, r"\d{12}")
            return bool(re.fullmatch(pattern, got, re.DOTALL))
        return bool(wanted == got)
    if isinstance(wanted, dict) and isinstance(got, dict):
        return wanted.keys() == got.keys() and all(_alike(wanted[k], got[k]) for k in wanted)
    if isinstance(wanted, list) and isinstance(got, list):
        return len(wanted) == len(got) and all(map(_alike, wanted, got))
    return isinstance(wanted, bool) == isinstance(got, bool) and bool(wanted == got)


def difference(recording: Recording) -> str:
    """Play a recording and say what is different; empty where nothing is."""
    try:
        execution = play(recording)
    except NotRecorded as missing:
        return f"not recorded: {missing}"
    except KeyError as missing:
        return f"not a history: it has no {missing}"
    told = {event["type"] for event in recording.events}
    ours = [e.as_json() for e in execution.events]
    if "ParallelStateSucceeded" not in told:  # the recorder's tests leave it out
        ours = [e for e in ours if e["type"] != "ParallelStateSucceeded"]
    wanted, got = [_normal(e) for e in recording.events], [_normal(e) for e in ours]
    if any(isinstance(e["id"], list) for e in recording.events):  # sorted by the recorder
        keys = [sorted(json.dumps(e, sort_keys=True) for e in each) for each in (wanted, got)]
        return "" if keys[0] == keys[1] else "other events, in any order"
    for number, (one, other) in enumerate(zip(wanted, got, strict=False), 1):
        if one[0] != other[0] or not _alike(one[1], other[1]):
            return f"event {number}: {one} is wanted, not {other}"
    if len(wanted) != len(got):
        return f"{len(wanted)} events are wanted, not {len(got)}"
    return _other_chain(recording.events, ours)


def _other_chain(wanted: list[dict[str, Any]], got: list[dict[str, Any]]) -> str:
    types = {event["type"] for event in wanted}
    if types & {"MapRunStarted", "ParallelStateStarted"}:
        return ""  # AWS's numbers follow no rule there that the recordings show
    for one, other in zip(wanted, got, strict=True):
        if one["previousEventId"] != other["previousEventId"]:
            return (
                f"event {one['id']}, {one['type']}, points back to {one['previousEventId']}, "
                f"not to {other['previousEventId']}"
            )
    return ""


def explained(recording: Recording) -> str:
    """Return why a recording is known to differ; empty where it is not."""
    return next((why for part, why in EXPLAINED.items() if part in recording.name), "")


def main() -> None:
    """Print how many recordings are equal, and why each other one is not."""
    rows: Counter[str] = Counter()
    why: Counter[str] = Counter()
    for recording in recordings():
        if recording.changed:
            rows["the test changed the definition: not played"] += 1
            continue
        kind = "blanked input" if recording.redacted else "as recorded"
        found = difference(recording)
        if not found:
            rows[f"{kind}: equal"] += 1
        elif reason := explained(recording):
            rows[f"{kind}: explained"] += 1
            why[reason] += 1
        else:
            rows[f"{kind}: DIFFERENT"] += 1
            print(f"{recording.name}\n    {found[:300]}")
    for row, count in sorted(rows.items()):
        print(f"{count:5} {row}")
    for reason, count in why.most_common():
        print(f"      {count:3} {reason}")


if __name__ == "__main__":
    main()
