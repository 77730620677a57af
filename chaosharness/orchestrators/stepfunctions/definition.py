"""Reads a state machine's definition, and says all that is wrong with it, each with its place.

*Source*: Amazon States Language; the developer guide's tables of fields per state.
*Not modelled*: the check of a Resource's service and action by name.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.kernel.allowed import listed, mistakes, spelled
from chaosharness.orchestrators.stepfunctions.choices import OPERATORS
from chaosharness.orchestrators.stepfunctions.errors import ERRORS
from chaosharness.orchestrators.stepfunctions.intrinsics import BadCall, compile_call, is_call
from chaosharness.orchestrators.stepfunctions.paths import BadPath, compile_path

__all__ = ["Graph", "State", "read_definition"]

KINDS = ("Task", "Pass", "Choice", "Wait", "Succeed", "Fail", "Parallel", "Map")

_EVERYWHERE = {"Type", "Comment", "QueryLanguage"}
_MOVES = {"Next", "End"}
_DATA = {"InputPath", "OutputPath", "Output", "Assign"}
_RESULT = {"Parameters", "Arguments", "ResultPath", "ResultSelector"}
_TRIES = {"Retry", "Catch"}
_FIELDS = {
    "Task": _MOVES | _DATA | _RESULT | _TRIES
    | {"Resource", "Credentials", "TimeoutSeconds", "TimeoutSecondsPath", "HeartbeatSeconds",
       "HeartbeatSecondsPath"},
    "Pass": _MOVES | _DATA | {"Parameters", "Result", "ResultPath"},
    "Choice": _DATA | {"Choices", "Default"},
    "Wait": _MOVES | _DATA | {"Seconds", "SecondsPath", "Timestamp", "TimestampPath"},
    "Succeed": {"InputPath", "OutputPath", "Output"},
    "Fail": {"Error", "ErrorPath", "Cause", "CausePath"},
    "Parallel": _MOVES | _DATA | _RESULT | _TRIES | {"Branches"},
    "Map": _MOVES | _DATA | _RESULT | _TRIES
    | {"Iterator", "ItemProcessor", "ItemsPath", "Items", "ItemSelector", "ItemReader",
       "ItemBatcher", "ResultWriter", "MaxConcurrency", "MaxConcurrencyPath", "Label",
       "ToleratedFailurePercentage", "ToleratedFailurePercentagePath", "ToleratedFailureCount",
       "ToleratedFailureCountPath"},
}  # fmt: skip
_OF_GRAPHS = {"StartAt", "States", "Comment", "Version", "TimeoutSeconds", "QueryLanguage",
              "ProcessorConfig"}  # fmt: skip
_OF_RETRIERS = {"ErrorEquals", "IntervalSeconds", "MaxAttempts", "BackoffRate", "MaxDelaySeconds",
                "JitterStrategy", "Comment"}  # fmt: skip
_OF_CATCHERS = {"ErrorEquals", "Next", "ResultPath", "Assign", "Output", "Comment"}
_ONLY_PATHS = {"InputPath", "OutputPath", "Parameters", "ResultPath", "ResultSelector",
               "ItemsPath", "SecondsPath", "TimestampPath", "ErrorPath", "CausePath",
               "TimeoutSecondsPath", "HeartbeatSecondsPath", "MaxConcurrencyPath"}  # fmt: skip
_ONLY_QUERIES = {"Arguments", "Output", "Items"}
SECONDS_MAX = 10**8  # 99,999,999 is the most that Step Functions takes
_ONE_WAIT = ("Seconds", "SecondsPath", "Timestamp", "TimestampPath")


@attrs.frozen
class State:
    """One state: its name, its type, its fields as they were written, and its query language."""

    name: str
    kind: str
    fields: Mapping[str, Any]
    jsonata: bool
    graphs: "tuple[Graph, ...]" = ()

    def __getitem__(self, field: str) -> Any:
        return self.fields[field]

    def get(self, field: str, default: Any = None) -> Any:
        return self.fields.get(field, default)

    @property
    def ends(self) -> bool:
        return self.kind in ("Succeed", "Fail") or bool(self.get("End"))


@attrs.frozen
class Graph:
    """States and where they start: a whole machine, a branch, or what a Map does with an item."""

    start: str
    states: Mapping[str, State]
    timeout_seconds: float | None = None
    distributed: bool = False

    def every_state(self) -> Iterator[State]:
        """Yield all states, those of branches too, in the order of the text."""
        for state in self.states.values():
            yield state
            for graph in state.graphs:
                yield from graph.every_state()


def read_definition(source: str | Mapping[str, Any], *, name: str) -> Graph:
    """Read a definition (a JSON text, or what `json.loads` made of one).

    Raises InvalidDefinition: one line per mistake, with its place in the definition, what is
    there and what is allowed.
    """
    if isinstance(source, str):
        try:
            source = json.loads(source)
        except ValueError as error:
            raise InvalidDefinition(f"state machine {spelled(name)} is no JSON: {error}") from None
    problems: list[str] = []
    graph = _graph(source, "", False, problems)
    if problems:
        raise InvalidDefinition(
            f"state machine {spelled(name)} is not valid:\n  {mistakes(problems)}"
        )
    assert graph is not None
    return graph


def _graph(source: Any, place: str, jsonata: bool, problems: list[str]) -> Graph | None:
    here = place or "/"
    if not isinstance(source, Mapping):
        problems.append(
            f"{here}: an object with StartAt and States is wanted, not {spelled(source)}"
        )
        return None
    _unknown(source, "a state machine", _OF_GRAPHS, here, problems)
    jsonata = _language(source, here, jsonata, problems)
    states = source.get("States")
    if not isinstance(states, Mapping) or not states:
        problems.append(f"{here}: States is missing or empty")
        return None
    wrong = [name for name in states if not isinstance(name, str)]
    if wrong:
        problems.append(f"{here}: the name of a state is a text, not {spelled(wrong[0])}")
        return None
    if not _names_one(source.get("StartAt"), states):
        problems.append(
            f"{here}: StartAt names {spelled(source.get('StartAt'))}, which is no state "
            f"(there are: {listed(states)})"
        )
    read = {
        name: _state(name, fields, f"{place}/States/{name}", jsonata, states, problems)
        for name, fields in states.items()
    }
    _unreachable(source.get("StartAt"), read, here, problems)
    limit = source.get("TimeoutSeconds")
    if limit is not None:
        _number(limit, f"{place}/TimeoutSeconds", False, problems, least=1)
    config = source.get("ProcessorConfig") or {}
    if not isinstance(config, Mapping):
        problems.append(f"{here}: ProcessorConfig is an object, not {spelled(config)}")
        return None
    return Graph(
        str(source.get("StartAt", "")),
        read,
        limit,
        config.get("Mode") == "DISTRIBUTED",
    )


def _language(source: Mapping[str, Any], here: str, jsonata: bool, problems: list[str]) -> bool:
    language = source.get("QueryLanguage")
    if language not in (None, "JSONPath", "JSONata"):
        problems.append(f"{here}: QueryLanguage is JSONPath or JSONata, not {spelled(language)}")
    if jsonata and language == "JSONPath":
        problems.append(f"{here}: QueryLanguage cannot be JSONPath inside a JSONata state machine")
    return jsonata if language is None else language == "JSONata"


def _state(
    name: str,
    fields: Any,
    place: str,
    jsonata: bool,
    states: Mapping[str, Any],
    problems: list[str],
) -> State:
    if not isinstance(fields, Mapping):
        problems.append(f"{place}: a state is an object, not {spelled(fields)}")
        return State(name, "Pass", {}, jsonata)
    kind = fields.get("Type")
    if not isinstance(kind, str) or kind not in KINDS:
        problems.append(f"{place}: Type is {spelled(kind)}; there are: {listed(KINDS)}")
        return State(name, "Pass", fields, jsonata)
    jsonata = _language(fields, place, jsonata, problems)
    for field in fields:
        if field not in _FIELDS[kind] | _EVERYWHERE:
            known = _FIELDS[kind] | _EVERYWHERE
            problems.append(
                f"{place}: a {kind} state has no field {spelled(field)}{_near(field, known)}"
            )
        elif field in (_ONLY_PATHS if jsonata else _ONLY_QUERIES):
            language = "JSONata" if jsonata else "JSONPath"
            problems.append(f"{place}: {field} does not exist in {language}")
    if not isinstance(fields.get("Assign", {}), Mapping):
        words = spelled(fields["Assign"])
        problems.append(f"{place}: Assign is an object: names, and what they are, not {words}")
    _moves(kind, fields, place, states, problems)
    _paths(fields, place, jsonata, problems)
    if kind == "Choice":
        _choices(fields, place, jsonata, states, problems)
    if kind == "Task" and not isinstance(fields.get("Resource"), str):
        problems.append(f"{place}: Resource is missing: what the task runs")
    if kind == "Wait" and sum(field in fields for field in _ONE_WAIT) != 1:
        problems.append(f"{place}: exactly one of {listed(_ONE_WAIT)} is wanted")
    _number(fields.get("Seconds", 1), f"{place}/Seconds", jsonata, problems)
    for field in ("TimeoutSeconds", "HeartbeatSeconds"):
        _number(fields.get(field, 1), f"{place}/{field}", jsonata, problems, least=1)
    for retrier in _objects(fields, "Retry", place, problems):
        _unknown(retrier, "a retrier", _OF_RETRIERS, f"{place}/Retry", problems)
        _retrier(retrier, f"{place}/Retry", problems)
    for catcher in _objects(fields, "Catch", place, problems):
        _unknown(catcher, "a catcher", _OF_CATCHERS, f"{place}/Catch", problems)
        _names(catcher, f"{place}/Catch", problems)
        _target(catcher.get("Next"), f"{place}/Catch", states, problems)
    return State(name, kind, fields, jsonata, _inner(kind, fields, place, jsonata, problems))


def _unknown(
    entry: Mapping[str, Any], what: str, known: Collection[str], place: str, problems: list[str]
) -> None:
    """Say which fields AWS refuses: `Field ... is not supported`."""
    for field in entry:
        if field not in known:
            problems.append(f"{place}: {what} has no field {spelled(field)}{_near(field, known)}")


def _near(name: Any, known: Collection[str], *, least: float = 0.65) -> str:
    """What was meant by a name, where one is near."""
    found = get_close_matches(str(name), sorted(known), n=1, cutoff=least)
    return f": is {found[0]} meant?" if found else ""


def _objects(
    fields: Mapping[str, Any], field: str, place: str, problems: list[str]
) -> list[Mapping[str, Any]]:
    """The objects of a list; what is no list, or no object in it, is told."""
    given = fields.get(field, [])
    if not isinstance(given, list):
        problems.append(f"{place}: {field} is a list of objects, not {spelled(given)}")
        return []
    for one in given:
        if not isinstance(one, Mapping):
            problems.append(f"{place}: {field} is a list of objects, and has {spelled(one)}")
    return [one for one in given if isinstance(one, Mapping)]


def _names_one(name: Any, states: Mapping[str, Any]) -> bool:
    return isinstance(name, str) and name in states


def _inner(
    kind: str, fields: Mapping[str, Any], place: str, jsonata: bool, problems: list[str]
) -> tuple[Graph, ...]:
    if kind == "Parallel":
        branches = fields.get("Branches")
        if not isinstance(branches, list) or not branches:
            problems.append(f"{place}: Branches is missing or empty")
            return ()
        read = [_graph(b, f"{place}/Branches[{n}]", jsonata, problems)
                for n, b in enumerate(branches)]  # fmt: skip
        return tuple(graph for graph in read if graph)
    if kind == "Map":
        field = "ItemProcessor" if "ItemProcessor" in fields else "Iterator"
        if field not in fields:
            problems.append(f"{place}: ItemProcessor is missing: what is done with each item")
            return ()
        graph = _graph(fields[field], f"{place}/{field}", jsonata, problems)
        return (graph,) if graph else ()
    return ()


def _moves(
    kind: str,
    fields: Mapping[str, Any],
    place: str,
    states: Mapping[str, Any],
    problems: list[str],
) -> None:
    if "Next" not in _FIELDS[kind]:
        return
    if ("Next" in fields) == bool(fields.get("End")):
        problems.append(f"{place}: exactly one of Next and End is wanted")
    if "Next" in fields:
        _target(fields["Next"], place, states, problems)


def _target(target: Any, place: str, states: Mapping[str, Any], problems: list[str]) -> None:
    if not _names_one(target, states):
        problems.append(
            f"{place}: Next names {spelled(target)}, which is no state here (there are: "
            f"{listed(states)})"
        )


def _number(value: Any, place: str, jsonata: bool, problems: list[str], *, least: int = 0) -> None:
    if jsonata and isinstance(value, str):
        return  # an expression: its value is looked at when it is there
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not least <= value < SECONDS_MAX
    ):
        from_1 = " from 1" if least else ""
        problems.append(f"{place}: a number of seconds{from_1} is wanted, not {spelled(value)}")


def _names(entry: Mapping[str, Any], place: str, problems: list[str]) -> None:
    names = entry.get("ErrorEquals")
    if not isinstance(names, list) or not names:
        problems.append(f"{place}: ErrorEquals is missing or empty")
    elif not all(isinstance(name, str) for name in names):
        problems.append(f"{place}: ErrorEquals is a list of texts, not {spelled(names)}")
    elif "States.ALL" in names and len(names) > 1:
        problems.append(f"{place}: States.ALL must stand alone, not in {names}")
    else:
        for name in names:
            meant = "" if name in ERRORS else _near(name, ERRORS, least=0.9)
            if meant and name.startswith("States."):
                problems.append(f"{place}: Step Functions has no error {spelled(name)}{meant}")


def _retrier(entry: Mapping[str, Any], place: str, problems: list[str]) -> None:
    _names(entry, place, problems)
    for field, least in (("IntervalSeconds", 1), ("MaxAttempts", 0), ("BackoffRate", 1.0)):
        value = entry.get(field, least)
        if isinstance(value, bool) or not isinstance(value, int | float):
            problems.append(f"{place}: {field} is a number, not {spelled(value)}")
        elif not least <= value < SECONDS_MAX:
            problems.append(
                f"{place}: {field} is {value}, and must be at least {least} (and below a "
                "hundred million)"
                if value >= least
                else f"{place}: {field} is {value}, and must be at least {least}"
            )
    delay = entry.get("MaxDelaySeconds", 1)
    if isinstance(delay, bool) or not isinstance(delay, int) or delay <= 0:
        problems.append(f"{place}: MaxDelaySeconds is a whole number from 1, not {spelled(delay)}")
    if entry.get("JitterStrategy", "NONE") not in ("NONE", "FULL"):
        words = spelled(entry["JitterStrategy"])
        problems.append(f"{place}: JitterStrategy is FULL or NONE, not {words}")


def _choices(
    fields: Mapping[str, Any],
    place: str,
    jsonata: bool,
    states: Mapping[str, Any],
    problems: list[str],
) -> None:
    rules = fields.get("Choices")
    if not isinstance(rules, list) or not rules:
        problems.append(f"{place}: Choices is missing or empty")
        return
    if "Default" in fields:
        _target(fields["Default"], f"{place}/Default", states, problems)
    for number, rule in enumerate(rules):
        here = f"{place}/Choices[{number}]"
        if not isinstance(rule, Mapping):
            problems.append(f"{here}: a choice is an object, not {spelled(rule)}")
            continue
        _target(rule.get("Next"), here, states, problems)
        if jsonata:
            if "Condition" not in rule:
                problems.append(f"{here}: Condition is missing")
        else:
            _rule(rule, here, problems)


def _rule(rule: Any, place: str, problems: list[str]) -> None:
    if not isinstance(rule, Mapping):
        problems.append(f"{place}: a comparison is an object, not {spelled(rule)}")
        return
    for word in ("And", "Or"):
        for each in _objects(rule, word, place, problems):
            _rule(each, f"{place}/{word}", problems)
    if "Not" in rule:
        _rule(rule["Not"], f"{place}/Not", problems)
    if not {"And", "Or", "Not"} & set(rule):
        if "Variable" not in rule:
            problems.append(f"{place}: Variable is missing")
        else:
            _path(rule["Variable"], f"{place}/Variable", problems)
        used = OPERATORS & set(rule)
        if len(used) != 1:
            problems.append(f"{place}: exactly one comparison is wanted, such as StringEquals")
        for name in used:
            _compared(name, rule[name], place, problems)


_COMPARED: Mapping[str, tuple[tuple[type, ...], str]] = {
    "String": ((str,), "a text"),
    "Numeric": ((int, float), "a number"),
    "Boolean": ((bool,), "true or false"),
    "Timestamp": ((str,), "a text"),
    "Is": ((bool,), "true or false"),
}
"""What a variable is compared with, by the first word of the comparison."""


def _compared(name: str, value: Any, place: str, problems: list[str]) -> None:
    if name.endswith("Path"):
        _path(value, f"{place}/{name}", problems)
        return
    for word, (kinds, told) in _COMPARED.items():
        number = word == "Numeric" and isinstance(value, bool)
        if name.startswith(word) and (number or not isinstance(value, kinds)):
            problems.append(f"{place}: {name} takes {told}, not {spelled(value)}")


def _paths(
    fields: Any, place: str, jsonata: bool, problems: list[str], *, own: bool = True
) -> None:
    """Refuse paths and calls that cannot be read, wherever they stand.

    `own`: these are the state's own fields. In a template of the user's `imagePath` is a name.
    """
    if isinstance(fields, list):
        for number, one in enumerate(fields):
            _paths(one, f"{place}[{number}]", jsonata, problems, own=own)
    if jsonata or not isinstance(fields, Mapping):
        return
    for field, value in fields.items():
        if own and field in ("Branches", "ItemProcessor", "Iterator", "Result", "Choices"):
            continue
        if str(field).endswith(".$") or (own and str(field).endswith("Path") and value is not None):
            _path(value, f"{place}/{field}", problems)
        elif isinstance(value, Mapping | list):
            _paths(value, f"{place}/{field}", jsonata, problems, own=False)


def _path(value: Any, place: str, problems: list[str]) -> None:
    try:
        if not isinstance(value, str):
            raise BadPath(f"a path is wanted, not {spelled(value)}")
        if is_call(value):
            compile_call(value)
        else:
            compile_path(value)
    except (BadPath, BadCall) as error:
        problems.append(f"{place}: {error}")


def _unreachable(start: Any, states: Mapping[str, State], here: str, problems: list[str]) -> None:
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if not _names_one(name, states) or name in reached:
            continue
        reached.add(name)
        state = states[name]
        entries = [state.fields]
        for field in ("Catch", "Choices"):
            entries += _objects(state.fields, field, "", [])
        waiting += [entry.get("Next") for entry in entries]
        waiting.append(state.get("Default"))
    for name in states:
        if _names_one(start, states) and name not in reached:
            problems.append(f"{here}: no state leads to {spelled(name)}")
