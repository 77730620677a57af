"""Conductor, as a system is given it: its definitions, read and held against each other."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.kernel import allowed
from chaosharness.kernel.allowed import listed, spelled
from chaosharness.kernel.world import World
from chaosharness.orchestrators.conductor.definition import Blueprint, TaskDef
from chaosharness.orchestrators.conductor.engine import OpenConductor
from chaosharness.orchestrators.conductor.reading import (
    as_mapping,
    read_blueprint,
    read_task_def,
)

__all__ = ["Conductor"]


@attrs.frozen
class Conductor:
    """A Conductor server: runs workflows in its JSON, and hands tasks to polling workers.

    Services have `@worker_task` functions polled for with `env.task_worker`, answer HTTP and EVENT
    tasks with `env.task_endpoint`, and call the server with `env.client`.

    Args:
        name: What reports call it.
        workflows: Definitions: JSON texts, mappings, or `WorkflowDef` of conductor-python. The
            failureWorkflow and sub-workflows are among them, and several versions of one name.
        previous: Of some of them the definition that was registered before: a `Redeploy` at
            `conductor.order/begin` has a workflow begin under it, and keep it to its end.
        tasks: Definitions of tasks, likewise; a task that has none has the server's defaults.
        scripts: What stands in for JavaScript that is not understood, by its text: a function of
            what is `$` in it.
        store_may_fail: Whether the server's store may fail while tasks are made (`FailedCommit` at
            `conductor.order/create tasks`): Conductor ends the workflow for that (C11).
        latency_ms: There and back, of a call to the server.
        timeout_ms: How long a client waits for the server.

    Raises:
        InvalidDefinition: A definition is wrong: every mistake with its place.
    """

    name: str = attrs.field(validator=allowed.text())
    workflows: Sequence[Any] = attrs.field(kw_only=True)
    tasks: Sequence[Any] = attrs.field(default=(), kw_only=True)
    previous: Sequence[Any] = attrs.field(default=(), kw_only=True)
    scripts: Mapping[str, Callable[[Any], Any]] = attrs.field(factory=dict, kw_only=True)
    store_may_fail: bool = attrs.field(default=False, validator=allowed.flag(), kw_only=True)
    latency_ms: int = attrs.field(default=20, validator=allowed.whole(0), kw_only=True)
    timeout_ms: int = attrs.field(default=10_000, validator=allowed.whole(1), kw_only=True)
    blueprints: Mapping[str, Blueprint] = attrs.field(init=False)
    versions: Mapping[tuple[str, int], Blueprint] = attrs.field(init=False)
    before: Mapping[str, Blueprint] = attrs.field(init=False)
    task_defs: Mapping[str, TaskDef] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        for field in ("workflows", "tasks", "previous"):
            given = getattr(self, field)
            if isinstance(given, str | bytes) or not isinstance(given, Sequence):
                raise InvalidDefinition(
                    f"Conductor({self.name!r}) needs {field}=[definition, ...], not "
                    f"{spelled(given)}"
                )
        task_defs: dict[str, TaskDef] = {}
        for index, source in enumerate(self.tasks):
            found = read_task_def(source, where=f"Conductor({self.name!r}), task {index + 1}")
            if found.name in task_defs:
                raise InvalidDefinition(
                    f"Conductor({self.name!r}): two definitions of the task {spelled(found.name)}"
                )
            task_defs[found.name] = found
        versions = self._read("workflow", self.workflows, task_defs)
        blueprints: dict[str, Blueprint] = {}
        for (name, number), one in versions.items():
            if name not in blueprints or blueprints[name].version < number:
                blueprints[name] = one
        if not blueprints:
            raise InvalidDefinition(f"Conductor({self.name!r}) needs workflows=[definition, ...]")
        before = self._read("previous workflow", self.previous, task_defs)
        for name, number in before:
            if name not in blueprints:
                raise InvalidDefinition(
                    f"Conductor({self.name!r}): previous has version {number} of {spelled(name)}, "
                    f"which is none of its workflows: {listed(blueprints)}"
                )
        _check_references(self.name, [*versions.values(), *before.values()], blueprints, versions)
        object.__setattr__(self, "blueprints", blueprints)
        object.__setattr__(self, "versions", versions)
        object.__setattr__(self, "before", {name: one for (name, _), one in before.items()})
        object.__setattr__(self, "task_defs", task_defs)

    def _read(
        self, what: str, sources: Sequence[Any], task_defs: Mapping[str, TaskDef]
    ) -> dict[tuple[str, int], Blueprint]:
        """Read definitions: each of another name, or version."""
        found: dict[tuple[str, int], Blueprint] = {}
        for index, source in enumerate(sources):
            where = f"Conductor({self.name!r}), {what} {index + 1}"
            name = as_mapping(source, where).get("name")
            if not isinstance(name, str) or not name:
                raise InvalidDefinition(f"{where}: it has no name")
            one = read_blueprint(source, name=name, task_defs=task_defs.get, scripts=self.scripts)
            if (name, one.version) in found:
                raise InvalidDefinition(
                    f"Conductor({self.name!r}): two {what}s are called {spelled(name)}, of version "
                    f"{one.version} each: give one of them another name or version"
                )
            found[name, one.version] = one
        return found

    def open(self, world: World) -> "OpenConductor":
        """Return the server, with no workflows, for one run."""
        return OpenConductor(
            world,
            name=self.name,
            blueprints=self.blueprints,
            versions=self.versions,
            before=self.before,
            store_may_fail=self.store_may_fail,
            task_defs=self.task_defs,
            latency_ms=self.latency_ms,
            timeout_ms=self.timeout_ms,
        )


def _check_references(
    conductor: str,
    every: Sequence[Blueprint],
    blueprints: Mapping[str, Blueprint],
    versions: Mapping[tuple[str, int], Blueprint],
) -> None:
    """Each workflow that another one starts is there."""
    known = listed(blueprints)
    for blueprint in every:
        failure = blueprint.failure_workflow
        if failure is not None and not failure.startswith("$") and failure not in blueprints:
            raise InvalidDefinition(
                f"workflow {spelled(blueprint.name)}: its failureWorkflow {spelled(failure)} is "
                f"none of those of Conductor({conductor!r}): {known}. Nothing would be undone"
            )
        for step in blueprint.everything():
            if step.kind == "SUB_WORKFLOW":
                given = step.fields.get("subWorkflowParam") or {}
                name, version = given.get("name"), given.get("version")
                if not isinstance(name, str) or ("$" not in name and name not in blueprints):
                    raise InvalidDefinition(
                        f"workflow {spelled(blueprint.name)}: {spelled(step.ref)} starts "
                        f"{spelled(name)}, which is none of Conductor({conductor!r}): {known}"
                    )
                if isinstance(version, int) and (name, version) not in versions:
                    there = listed(number for one, number in versions if one == name)
                    raise InvalidDefinition(
                        f"workflow {spelled(blueprint.name)}: {spelled(step.ref)} starts version "
                        f"{version} of {spelled(name)}; there are: {there}"
                    )
