"""What a definition says: tasks' definitions, steps, and workflows, as values.

*Source*: conductor-oss/conductor, `common/.../WorkflowDef.java`, `WorkflowTask.java`,
`TaskDef.java` (rules C2, C14, C15).
"""

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from chaosharness.orchestrators.conductor.script import Script

__all__ = ["Blueprint", "Step", "TaskDef"]


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
    at_once: int = 0
    """concurrentExecLimit; 0 is no limit."""
    in_window: int = 0
    """rateLimitPerFrequency; 0 is no limit."""
    window_s: int = 1
    """rateLimitFrequencyInSeconds"""


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

    _refs: frozenset[str] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_refs", frozenset(one.ref for one in self.everything()))

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
        return ref in self._refs

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
