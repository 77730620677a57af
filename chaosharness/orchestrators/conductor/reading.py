"""Reads definitions of workflows and of tasks, and says all that is wrong with them, with places.

*Source*: conductor-oss/conductor, `common/.../WorkflowDef.java`, `WorkflowTask.java`,
`TaskDef.java`, `MetadataMapperService.java` (rules C2, C14, C15).
*Not modelled*: KAFKA_PUBLISH, EXCLUSIVE_JOIN, HTTP_POLL, the tasks of language models; schemas of
inputs, rate limits of workflows, schema version 1.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.kernel.allowed import listed, mistakes, spelled
from chaosharness.orchestrators.conductor.definition import Blueprint, Step, TaskDef
from chaosharness.orchestrators.conductor.expressions import roots
from chaosharness.orchestrators.conductor.fields import (
    OF_STEPS,
    OF_SUB_WORKFLOWS,
    OF_TASK_DEFS,
    OF_WORKFLOWS,
    tell_unknown,
)
from chaosharness.orchestrators.conductor.script import BadScript, Script, compile_script

__all__ = ["as_mapping", "read_blueprint", "read_step", "read_task_def"]

KINDS: Final = frozenset(
    {"SIMPLE", "DYNAMIC", "FORK_JOIN", "FORK_JOIN_DYNAMIC", "JOIN", "SWITCH", "DO_WHILE",
     "SUB_WORKFLOW", "START_WORKFLOW", "WAIT", "HUMAN", "EVENT", "HTTP", "INLINE", "SET_VARIABLE",
     "TERMINATE", "NOOP", "JSON_JQ_TRANSFORM"}
)  # fmt: skip
OLD: Final = {"DECISION": "SWITCH", "LAMBDA": "INLINE"}
"""Types that are deprecated, and what they are the same as."""
NOT_MODELLED: Final = {
    "KAFKA_PUBLISH": "use EVENT, or let a worker publish",
    "EXCLUSIVE_JOIN": "use SWITCH",
    "HTTP_POLL": "use HTTP in a DO_WHILE",
    "USER_DEFINED": "use SIMPLE",
}
LOGICS: Final = ("FIXED", "LINEAR_BACKOFF", "EXPONENTIAL_BACKOFF")
POLICIES: Final = ("RETRY", "TIME_OUT_WF", "ALERT_ONLY")

Find = Callable[[str], TaskDef | None]


def read_task_def(source: Any, *, where: str, registered: bool = True) -> TaskDef:
    """Read a task's definition, as its JSON is or as `TaskDef` of conductor-python.

    Args:
        source: The definition.
        where: What to call it, where it is wrong.
        registered: Whether it is registered by itself: what stands in a workflow is checked less.

    Raises:
        InvalidDefinition: Something is wrong with it.
    """
    given = as_mapping(source, where)
    reader = _Reader(where)
    given = reader.shaped(given, {"inputTemplate": _OBJECT, "name": _TEXT})
    name = reader.text(given, "name", "")
    found = TaskDef(
        name=name,
        retry_count=reader.number(given, "retryCount", 3),
        retry_logic=reader.one_of(given, "retryLogic", "FIXED", LOGICS),
        retry_delay_s=reader.number(given, "retryDelaySeconds", 60),
        backoff_scale=reader.number(given, "backoffScaleFactor", 1, least=1),
        delay_max_s=reader.number(given, "maxRetryDelaySeconds", 0),
        timeout_s=reader.number(given, "timeoutSeconds", 0),
        policy=reader.one_of(given, "timeoutPolicy", "TIME_OUT_WF", POLICIES),
        response_timeout_s=reader.number(given, "responseTimeoutSeconds", 3600),
        poll_timeout_s=reader.number(given, "pollTimeoutSeconds", 0),
        total_timeout_s=reader.number(given, "totalTimeoutSeconds", 0),
        input_template=given.get("inputTemplate") or {},
        at_once=reader.number(given, "concurrentExecLimit", 0),
        in_window=reader.number(given, "rateLimitPerFrequency", 0),
        window_s=reader.number(given, "rateLimitFrequencyInSeconds", 1),
    )
    tell_unknown(where, given, OF_TASK_DEFS)
    if registered and 0 < found.timeout_s < found.response_timeout_s:
        reader.wrong.append(
            f"{where}: responseTimeoutSeconds {found.response_timeout_s} must not be more than "
            f"timeoutSeconds {found.timeout_s}: the server refuses it"
        )
    reader.end("task definition")
    return found


def read_blueprint(
    source: Any, *, name: str, task_defs: Find, scripts: Mapping[str, Script] = {}
) -> Blueprint:
    """Read a workflow's definition.

    Args:
        source: JSON text, a mapping, or `WorkflowDef` of conductor-python.
        name: What it is called.
        task_defs: The definition of a task's name; None where none is registered.
        scripts: What stands in for JavaScript that is not understood, by its text.

    Raises:
        InvalidDefinition: Every mistake with its place.
    """
    where = f"workflow {spelled(name)}"
    given = as_mapping(source, where)
    reader = _Reader(where, scripts)
    tell_unknown(where, given, OF_WORKFLOWS)
    given = reader.shaped(given, _SHAPES_OF_WORKFLOWS)
    if given.get("name", name) != name:
        reader.say(f"it calls itself {spelled(given['name'])}: register it under that name")
    if not isinstance(given.get("tasks"), list) or not given["tasks"]:
        reader.say("it has no tasks: give it a list of tasks, the first one first")
        reader.end("workflow")
    steps = reader.steps(given["tasks"], "/tasks", task_defs)
    blueprint = Blueprint(
        name=name,
        version=reader.number(given, "version", 1, least=1),
        steps=steps,
        output_parameters=given.get("outputParameters") or {},
        input_template=given.get("inputTemplate") or {},
        failure_workflow=given.get("failureWorkflow") or None,
        timeout_s=reader.number(given, "timeoutSeconds", 0),
        policy=reader.one_of(given, "timeoutPolicy", "TIME_OUT_WF", ("TIME_OUT_WF", "ALERT_ONLY")),
        by_ref={one.ref: one for step in steps for one in step.everything()},
    )
    reader.joins(steps, "/tasks")
    reader.expressions(blueprint)
    reader.end("workflow")
    return blueprint


def read_step(source: Any, *, where: str, task_defs: Find) -> Step:
    """Read one task that was made while a workflow runs: of a dynamic fork."""
    reader = _Reader(where)
    step = reader.step(source, "", task_defs, dynamic=True)
    reader.end("task")
    assert step is not None
    return step


def as_mapping(source: Any, where: str) -> Mapping[str, Any]:
    """Return a definition as a mapping in the names of its JSON.

    Raises:
        InvalidDefinition: It is no JSON object.
    """
    if isinstance(source, str | bytes):
        try:
            source = json.loads(source)
        except ValueError as error:
            raise InvalidDefinition(f"{where} is no JSON: {error}") from None
    if hasattr(source, "to_workflow_def"):  # ConductorWorkflow of conductor-python
        source = source.to_workflow_def()
    if hasattr(source, "attribute_map") and hasattr(source, "swagger_types"):
        source = _from_swagger(source)
    if not isinstance(source, Mapping):
        raise InvalidDefinition(
            f"{where} must be JSON text, a mapping or an object of conductor-python, not "
            f"{spelled(source)}"
        )
    return source


def _from_swagger(value: Any) -> Any:
    """Spell an object of conductor-python's models in the names of its JSON."""
    if isinstance(value, list | tuple):
        return [_from_swagger(one) for one in value]
    if isinstance(value, Mapping):
        return {key: _from_swagger(one) for key, one in value.items()}
    names = getattr(value, "attribute_map", None)
    if names is None:
        return getattr(value, "value", value)
    found = {spelled: _from_swagger(getattr(value, name, None)) for name, spelled in names.items()}
    return {key: one for key, one in found.items() if one is not None}


_WANTED: Final = {
    "SWITCH": ("expression", "decisionCases"),
    "FORK_JOIN": ("forkTasks",),
    "DO_WHILE": ("loopOver",),
    "SUB_WORKFLOW": ("subWorkflowParam",),
    "EVENT": ("sink",),
    "DYNAMIC": ("dynamicTaskNameParam",),
}


@attrs.frozen
class _Shape:
    """What a field must be."""

    kinds: tuple[type, ...]
    told: str
    of: type | None = None  # what is in a list

    def fits(self, value: Any) -> bool:
        if int in self.kinds:
            return isinstance(value, int) and not isinstance(value, bool) and value >= 0
        if not isinstance(value, self.kinds):
            return False
        inside: Any = value
        return self.of is None or all(isinstance(one, self.of) for one in inside)


_OBJECT: Final = _Shape((Mapping,), "an object")
_TEXT: Final = _Shape((str,), "a text")
_LIST: Final = _Shape((list,), "a list")
_BOOL: Final = _Shape((bool,), "true or false")
_NUMBER: Final = _Shape((int,), "a whole number from 0")
_SHAPES: Final[Mapping[str, _Shape]] = {
    **dict.fromkeys(("name", "taskReferenceName", "type", "sink", "dynamicTaskNameParam",
                     "loopCondition", "evaluatorType", "expression", "dynamicForkTasksParam",
                     "dynamicForkTasksInputParamName", "caseExpression", "caseValueParam"), _TEXT),
    **dict.fromkeys(("decisionCases", "taskDefinition"), _OBJECT),
    "inputParameters": _Shape((Mapping,), "an object: names, and what they are"),
    "subWorkflowParam": _Shape((Mapping,), "an object with the name of a workflow"),
    "forkTasks": _Shape((list,), "a list of lists of tasks"),
    "joinOn": _Shape((list,), "a list of reference names", str),
    **dict.fromkeys(("loopOver", "defaultCase"), _LIST),
    **dict.fromkeys(("optional", "asyncComplete", "permissive"), _BOOL),
    **dict.fromkeys(("retryCount", "startDelay"), _NUMBER),
}  # fmt: skip
_SHAPES_OF_WORKFLOWS: Final = {
    **dict.fromkeys(("outputParameters", "inputTemplate", "variables"), _OBJECT),
    "failureWorkflow": _TEXT,
}


class _Reader:
    """Collects what is wrong, each with its place."""

    def __init__(self, where: str, scripts: Mapping[str, Script] = {}) -> None:
        self.where = where
        self.scripts = scripts
        self.wrong: list[str] = []
        self.seen: dict[str, str] = {}

    def say(self, what: str, place: str = "") -> None:
        self.wrong.append(f"{self.where}{place and f' {place}'}: {what}")

    def end(self, what: str) -> None:
        if self.wrong:
            count = len(self.wrong)
            more = f"{count} mistakes in a {what}:\n  " if count > 1 else ""
            raise InvalidDefinition(more + mistakes(self.wrong))

    def text(self, given: Mapping[str, Any], field: str, place: str) -> str:
        value = given.get(field)
        if not isinstance(value, str) or not value:
            self.say(f"{field} is missing: every task has one", place)
            return ""
        return value

    def shaped(
        self, given: Mapping[str, Any], shapes: Mapping[str, "_Shape"], place: str = ""
    ) -> Mapping[str, Any]:
        """Say which fields are of another shape, and return the others."""
        found = {}
        for field, value in given.items():
            shape = shapes.get(field)
            if value is None or shape is None or shape.fits(value):
                found[field] = value
            else:
                self.say(f"{field} must be {shape.told}, not {spelled(value)}", place)
        return found

    def number(
        self, given: Mapping[str, Any], field: str, default: int, *, least: int = 0
    ) -> int:  # fmt: skip
        value = given.get(field)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            self.say(f"{field} must be a whole number of at least {least}, not {spelled(value)}")
            return default
        return value

    def one_of(
        self, given: Mapping[str, Any], field: str, default: str, allowed: tuple[str, ...]
    ) -> str:
        value = given.get(field) or default
        if value not in allowed:
            self.say(f"{field} must be one of {listed(allowed)}, not {spelled(value)}")
            return default
        return str(value)

    def steps(self, given: Any, place: str, task_defs: Find) -> tuple[Step, ...]:
        if not isinstance(given, list):
            self.say(f"must be a list of tasks, not {spelled(given)}", place)
            return ()
        read = [self.step(one, f"{place}/{index}", task_defs) for index, one in enumerate(given)]
        return tuple(one for one in read if one is not None)

    def step(
        self, source: Any, place: str, task_defs: Find, *, dynamic: bool = False
    ) -> Step | None:
        if not isinstance(source, Mapping):
            self.say(f"a task must be an object, not {spelled(source)}", place)
            return None
        tell_unknown(f"{self.where} {place}".rstrip(), source, OF_STEPS)
        param = source.get("subWorkflowParam")
        if isinstance(param, Mapping):
            at = f"{self.where} {place}/subWorkflowParam"
            tell_unknown(at, param, OF_SUB_WORKFLOWS)
        source = _modern(self.shaped(source, _SHAPES, place))
        kind = source.get("type") or "SIMPLE"
        ref = self.text(source, "taskReferenceName", place)
        name = source.get("name") or (kind if kind != "SIMPLE" else "")
        if not name:
            self.text(source, "name", place)
        if kind not in KINDS:
            self.unknown(kind, ref, place)
            return None
        if kind == "SIMPLE" and name in KINDS:
            words = f"a SIMPLE task is called {name}, which the server takes for that type"
            self.say(f"{words}: say type, or give it another name", f"{place} ({ref})")
        if ref and ref in self.seen and not dynamic:
            words = f"taskReferenceName {spelled(ref)} is used at {self.seen[ref]} as well"
            self.say(f"{words}: it must be unique in a workflow", place)
        self.seen[ref] = place
        for field in _WANTED.get(kind, ()):
            if not source.get(field):
                self.say(f"a {kind} needs {field}", f"{place} ({ref})")
        if kind == "DO_WHILE" and not _goes_by(source):
            self.say("a DO_WHILE needs loopCondition, or items", f"{place} ({ref})")
        if kind == "DO_WHILE" and "/loopOver/" in place:
            self.say("a DO_WHILE in a DO_WHILE is not supported by Conductor: put it into a "
                     "SUB_WORKFLOW", f"{place} ({ref})")  # fmt: skip
        lists, cases = self.inside(source, kind, place, task_defs)
        return Step(
            name=name,
            ref=ref,
            kind=kind,
            fields=source,
            task_def=self.task_def(name, kind, task_defs, source, dynamic),
            lists=lists,
            cases=cases,
            script=self.script(source, kind, f"{place} ({ref})"),
        )

    def unknown(self, kind: Any, ref: str, place: str) -> None:
        at = f"{place} ({ref})"
        if kind in NOT_MODELLED:
            self.say(f"type {kind} is not modelled: {NOT_MODELLED[kind]}", at)
        else:
            self.say(f"unknown type {spelled(kind)}; there are {listed(sorted(KINDS))}", at)

    def task_def(
        self, name: str, kind: str, find: Find, source: Mapping[str, Any], dynamic: bool
    ) -> TaskDef | None:
        own = source.get("taskDefinition")
        if own:
            whole = {"name": name, **as_mapping(own, name)}
            return read_task_def(whole, where=f"task {spelled(name)}", registered=False)
        found = find(name)
        if found is not None or dynamic:
            return found  # what a dynamic fork makes has no default: it is not retried
        if kind in ("SIMPLE", "DYNAMIC"):
            return TaskDef(name=name)
        return TaskDef(name=name, retry_count=0, response_timeout_s=0)

    def inside(
        self, source: Mapping[str, Any], kind: str, place: str, task_defs: Find
    ) -> tuple[tuple[tuple[Step, ...], ...], tuple[str, ...]]:
        match kind:
            case "SWITCH":
                cases = source.get("decisionCases") or {}
                if not isinstance(cases, Mapping):
                    self.say("decisionCases must be an object of lists of tasks", place)
                    cases = {}
                read = [self.steps(cases[case], f"{place}/decisionCases/{case}", task_defs)
                        for case in cases]  # fmt: skip
                default = self.steps(
                    source.get("defaultCase") or [], f"{place}/defaultCase", task_defs
                )
                return (*read, default), tuple(cases)
            case "FORK_JOIN":
                branches = source.get("forkTasks") or []
                read = [self.steps(branch, f"{place}/forkTasks/{index}", task_defs)
                        for index, branch in enumerate(branches)]  # fmt: skip
                if not all(read):
                    self.say("a branch of forkTasks is empty: the server refuses it", place)
                return tuple(read), ()
            case "DO_WHILE":
                return (self.steps(source.get("loopOver") or [], f"{place}/loopOver",
                                   task_defs),), ()  # fmt: skip
        return (), ()

    def script(self, source: Mapping[str, Any], kind: str, place: str) -> Script | None:
        text, field = _script_of(source, kind)
        if text is None:
            return None
        if not isinstance(text, str):
            self.say(f"{field} must be a text, not {spelled(text)}", place)
            return None
        if text in self.scripts:
            return self.scripts[text]
        if kind == "JSON_JQ_TRANSFORM":
            self.say(
                f"{field} {spelled(text)} is jq, which is not run here. Say what it computes: "
                "scripts={that text: a function of the task's input}",
                place,
            )
            return None
        try:
            return compile_script(text)
        except BadScript as error:
            self.say(
                f"{field} {spelled(text)} is not understood: {error}. Say what it computes: "
                "scripts={that text: a function of what is `$` in it}",
                place,
            )
            return None

    def joins(self, steps: tuple[Step, ...], place: str) -> None:
        """A fork is followed by its join, which waits for tasks that there are."""
        for index, step in enumerate(steps):
            at = f"{place}/{index} ({step.ref})"
            following = steps[index + 1] if index + 1 < len(steps) else None
            if step.kind in ("FORK_JOIN", "FORK_JOIN_DYNAMIC"):
                if following is None or following.kind != "JOIN":
                    self.say(f"a {step.kind} must be followed by a JOIN: the server ends the "
                             "workflow there", at)  # fmt: skip
                elif step.kind == "FORK_JOIN":
                    self.join(step, following, at)
            for inner in step.lists:
                self.joins(inner, f"{at}")

    def join(self, fork: Step, join: Step, at: str) -> None:
        for ref in join.fields.get("joinOn") or []:
            if not any(one.has(ref) for steps in fork.lists for one in steps):
                inside = [one.ref for steps in fork.lists for one in steps]
                words = f"its JOIN {spelled(join.ref)} waits for {spelled(ref)}, which is no task"
                self.say(f"{words} of its branches ({listed(inside)}): it would wait for ever", at)

    def expressions(self, blueprint: Blueprint) -> None:
        """What `${...}` reads is a task of the workflow, or the workflow itself."""
        known = {"workflow", *blueprint.by_ref}
        dynamic = any(
            step.kind in ("FORK_JOIN_DYNAMIC", "DYNAMIC") for step in blueprint.everything()
        )
        for step in blueprint.everything():
            for root, text in roots(step.parameters):
                if root not in known and not dynamic and not _outside(root):
                    words = (
                        f"{spelled(text)} reads {spelled(root)}, which is no task of this workflow"
                    )
                    self.say(words, f"({step.ref})")


def _outside(root: str) -> bool:
    return root.isupper()  # CPEWF_TASK_ID and other variables of the environment


def _script_of(source: Mapping[str, Any], kind: str) -> tuple[Any, str]:
    if kind == "DO_WHILE" and source.get("loopCondition"):
        return source["loopCondition"], "loopCondition"
    if kind == "SWITCH" and source.get("evaluatorType", "value-param") != "value-param":
        return source.get("expression"), "expression"
    parameters = source.get("inputParameters") or {}
    if kind == "INLINE":
        return parameters.get("expression"), "expression"
    if kind == "JSON_JQ_TRANSFORM":
        return parameters.get("queryExpression"), "queryExpression"
    return None, ""


def _goes_by(source: Mapping[str, Any]) -> bool:
    """Whether a loop says how long it goes on."""
    parameters = source.get("inputParameters") or {}
    return bool(source.get("loopCondition") or source.get("items") or parameters.get("_items"))


def _modern(source: Mapping[str, Any]) -> Mapping[str, Any]:
    """Say in today's words what a deprecated task says."""
    kind = source.get("type")
    if kind == "LAMBDA":
        parameters = dict(source.get("inputParameters") or {})
        parameters["expression"] = parameters.pop("scriptExpression", None)
        return {**source, "type": OLD[kind], "inputParameters": parameters}
    if kind == "DECISION":
        script = source.get("caseExpression")
        return {
            **source,
            "type": OLD[kind],
            "evaluatorType": "javascript" if script else "value-param",
            "expression": script or source.get("caseValueParam"),
        }
    return source
