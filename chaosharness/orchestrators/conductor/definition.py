"""Reads definitions of workflows and of tasks, and says all that is wrong with them, with places.

*Source*: conductor-oss/conductor, `common/.../WorkflowDef.java`, `WorkflowTask.java`,
`TaskDef.java`, `MetadataMapperService.java` (rules C2, C14, C15).
*Not modelled*: JSON_JQ_TRANSFORM, KAFKA_PUBLISH, the tasks of language models; schemas of inputs,
rate limits, concurrency limits, schema version 1; definitions are of one version each.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.orchestrators.conductor.expressions import roots
from chaosharness.orchestrators.conductor.script import BadScript, Script, compile_script

__all__ = ["Blueprint", "Step", "TaskDef", "read_blueprint", "read_step", "read_task_def"]

KINDS: Final = frozenset(
    {"SIMPLE", "DYNAMIC", "FORK_JOIN", "FORK_JOIN_DYNAMIC", "JOIN", "SWITCH", "DO_WHILE",
     "SUB_WORKFLOW", "START_WORKFLOW", "WAIT", "HUMAN", "EVENT", "HTTP", "INLINE", "SET_VARIABLE",
     "TERMINATE", "NOOP"}
)  # fmt: skip
NOT_MODELLED: Final = {
    "JSON_JQ_TRANSFORM": "let a worker do it",
    "KAFKA_PUBLISH": "use EVENT, or let a worker publish",
    "DECISION": "it is deprecated: use SWITCH",
    "EXCLUSIVE_JOIN": "use SWITCH",
    "LAMBDA": "it is deprecated: use INLINE",
    "USER_DEFINED": "use SIMPLE",
}
LOGICS: Final = ("FIXED", "LINEAR_BACKOFF", "EXPONENTIAL_BACKOFF")
POLICIES: Final = ("RETRY", "TIME_OUT_WF", "ALERT_ONLY")


@attrs.frozen(kw_only=True)
class TaskDef:
    """How a task is retried, and how long it may take; the server's own defaults (rule C2)."""

    name: str
    retry_count: int = 3
    retry_logic: str = "FIXED"
    retry_delay_s: int = 60
    backoff_scale: int = 1
    delay_max_s: int = 0
    timeout_s: int = 0
    policy: str = "TIME_OUT_WF"
    response_timeout_s: int = 3600
    poll_timeout_s: int = 0
    total_timeout_s: int = 0
    input_template: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(eq=False, kw_only=True)
class Step:
    """One task of a workflow's definition.

    `lists` are the lists of steps inside: the cases of a SWITCH and last its default, the branches
    of a FORK_JOIN, the body of a DO_WHILE.
    """

    name: str
    ref: str
    kind: str
    fields: Mapping[str, Any]
    task_def: TaskDef | None
    lists: tuple[tuple["Step", ...], ...] = ()
    cases: tuple[str, ...] = ()
    script: Script | None = None

    @property
    def parameters(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.fields.get("inputParameters") or {}
        return found

    @property
    def optional(self) -> bool:
        return bool(self.fields.get("optional"))

    @property
    def permissive(self) -> bool:
        return bool(self.fields.get("permissive")) and not self.optional

    @property
    def retry_count(self) -> int:
        """How often it may be tried again; the step's own word counts before its definition's."""
        if self.task_def is None:
            return 0
        own = self.fields.get("retryCount")
        return int(own) if own is not None else self.task_def.retry_count

    def has(self, ref: str) -> bool:
        """Whether it is this step, or one inside it."""
        return self.ref == ref or any(one.has(ref) for steps in self.lists for one in steps)

    def everything(self) -> Iterator["Step"]:
        yield self
        for steps in self.lists:
            for one in steps:
                yield from one.everything()

    def after(self, ref: str, parent: "Step | None" = None) -> "Step | None":
        """Return what comes after one of the steps inside, as the server reckons it."""
        if self.kind not in ("DO_WHILE", "SWITCH", "FORK_JOIN"):
            return None
        for steps in self.lists:
            found, following = _find(steps, ref, self)
            if following is not None:
                return following
            if found and self.kind == "FORK_JOIN" and parent is not None:
                return parent.after(self.ref, parent)  # the join that follows the fork
        if self.kind == "DO_WHILE" and self.has(ref):
            return self
        return None


def _find(steps: tuple[Step, ...], ref: str, parent: Step) -> tuple[bool, Step | None]:
    """Look for a step in a list: whether it is there itself, and what comes next."""
    left = iter(steps)
    found = False
    for step in left:
        if step.ref == ref:
            found = True
            break
        following = step.after(ref, parent)
        if following is not None:
            return False, following
        if step.has(ref):
            break
    return found, next(left, None)


@attrs.frozen(eq=False, kw_only=True)
class Blueprint:
    """A workflow's definition."""

    name: str
    version: int
    steps: tuple[Step, ...]
    output_parameters: Mapping[str, Any]
    input_template: Mapping[str, Any]
    failure_workflow: str | None
    timeout_s: int
    policy: str
    by_ref: Mapping[str, Step]

    def after(self, ref: str) -> Step | None:
        """Return the step that follows a reference name; None where the workflow, or loop, ends."""
        own = self.by_ref.get(ref)
        if own is not None and own.kind == "TERMINATE":
            return None
        left = iter(self.steps)
        for step in left:
            if step.ref == ref:
                break
            following = step.after(ref)
            if following is not None:
                return following
            if step.has(ref):
                if step.kind == "DO_WHILE":
                    return None
                break
        return next(left, None)

    def everything(self) -> Iterator[Step]:
        for step in self.steps:
            yield from step.everything()

    def lazy(self, ref: str) -> bool:
        """Whether the end of this task waits for its join before anything is decided (C14)."""
        forked = any(step.kind == "FORK_JOIN" and step.has(ref) for step in self.everything())
        return forked and any(
            ref in step.fields.get("joinOn", ()) for step in self.everything()
            if step.kind == "JOIN"
        )  # fmt: skip


# ---- reading


Find = Callable[[str], TaskDef | None]


def read_task_def(source: Any, *, where: str) -> TaskDef:
    """Read a task's definition, as its JSON is or as `TaskDef` of conductor-python.

    Raises:
        InvalidDefinition: Something is wrong with it.
    """
    given = as_mapping(source, where)
    reader = _Reader(where)
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
    )
    if 0 < found.timeout_s < found.response_timeout_s:
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
    where = f"workflow {name!r}"
    given = as_mapping(source, where)
    reader = _Reader(where, scripts)
    if given.get("name", name) != name:
        reader.say(f"it calls itself {given['name']!r}: register it under that name")
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
            f"{where} must be JSON text, a mapping or an object of conductor-python, not {source!r}"
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
            raise InvalidDefinition(more + "\n  ".join(self.wrong))

    def text(self, given: Mapping[str, Any], field: str, place: str) -> str:
        value = given.get(field)
        if not isinstance(value, str) or not value:
            self.say(f"{field} is missing: every task has one", place)
            return ""
        return value

    def number(
        self, given: Mapping[str, Any], field: str, default: int, *, least: int = 0
    ) -> int:  # fmt: skip
        value = given.get(field)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            self.say(f"{field} must be a whole number of at least {least}, not {value!r}")
            return default
        return value

    def one_of(
        self, given: Mapping[str, Any], field: str, default: str, allowed: tuple[str, ...]
    ) -> str:
        value = given.get(field) or default
        if value not in allowed:
            self.say(f"{field} must be one of {', '.join(allowed)}, not {value!r}")
            return default
        return str(value)

    def steps(self, given: Any, place: str, task_defs: Find) -> tuple[Step, ...]:
        if not isinstance(given, list):
            self.say(f"must be a list of tasks, not {given!r}", place)
            return ()
        read = [self.step(one, f"{place}/{index}", task_defs) for index, one in enumerate(given)]
        return tuple(one for one in read if one is not None)

    def step(
        self, source: Any, place: str, task_defs: Find, *, dynamic: bool = False
    ) -> Step | None:
        if not isinstance(source, Mapping):
            self.say(f"a task must be an object, not {source!r}", place)
            return None
        kind = source.get("type") or "SIMPLE"
        ref = self.text(source, "taskReferenceName", place)
        name = source.get("name") or (kind if kind != "SIMPLE" else "")
        if not name:
            self.text(source, "name", place)
        if kind not in KINDS:
            self.unknown(kind, ref, place)
            return None
        if ref in self.seen and not dynamic:
            self.say(f"taskReferenceName {ref!r} is used at {self.seen[ref]} as well: it must be "
                     "unique in a workflow", place)  # fmt: skip
        self.seen[ref] = place
        for field in _WANTED.get(kind, ()):
            if not source.get(field):
                self.say(f"a {kind} needs {field}", f"{place} ({ref})")
        if kind == "DO_WHILE" and not (source.get("loopCondition") or source.get("items")):
            self.say("a DO_WHILE needs loopCondition, or items", f"{place} ({ref})")
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
            self.say(f"unknown type {kind!r}; there are {', '.join(sorted(KINDS))}", at)

    def task_def(
        self, name: str, kind: str, find: Find, source: Mapping[str, Any], dynamic: bool
    ) -> TaskDef | None:
        own = source.get("taskDefinition")
        if own:
            return read_task_def({"name": name, **as_mapping(own, name)}, where=f"task {name!r}")
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
            self.say(f"{field} must be a text, not {text!r}", place)
            return None
        if text in self.scripts:
            return self.scripts[text]
        try:
            return compile_script(text)
        except BadScript as error:
            self.say(
                f"{field} {text!r} is not understood: {error}. Say what it computes: "
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
        waited = join.fields.get("joinOn") or []
        if not waited:
            self.say(f"its JOIN {join.ref!r} has no joinOn: it would wait for nothing", at)
        for ref in waited:
            if not any(one.ref == ref for steps in fork.lists for one in steps):
                inside = [one.ref for steps in fork.lists for one in steps]
                self.say(f"its JOIN {join.ref!r} waits for {ref!r}, which is no task of its "
                         f"branches ({', '.join(inside)}): it would wait for ever", at)  # fmt: skip

    def expressions(self, blueprint: Blueprint) -> None:
        """What `${...}` reads is a task of the workflow, or the workflow itself."""
        known = {"workflow", *blueprint.by_ref}
        dynamic = any(
            step.kind in ("FORK_JOIN_DYNAMIC", "DYNAMIC") for step in blueprint.everything()
        )
        for step in blueprint.everything():
            for root, text in roots(step.parameters):
                if root not in known and not dynamic and not _outside(root):
                    self.say(f"{text!r} reads {root!r}, which is no task of this workflow",
                             f"({step.ref})")  # fmt: skip


def _outside(root: str) -> bool:
    return root.isupper()  # CPEWF_TASK_ID and other variables of the environment


def _script_of(source: Mapping[str, Any], kind: str) -> tuple[Any, str]:
    if kind == "DO_WHILE" and source.get("loopCondition"):
        return source["loopCondition"], "loopCondition"
    if kind == "SWITCH" and source.get("evaluatorType", "value-param") != "value-param":
        return source.get("expression"), "expression"
    if kind == "INLINE":
        return (source.get("inputParameters") or {}).get("expression"), "expression"
    return None, ""
