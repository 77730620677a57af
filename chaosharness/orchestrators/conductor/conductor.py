"""Conductor, as a system is given it: its definitions, read and held against each other."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from chaosharness.errors import InvalidDefinition
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
            failureWorkflow and sub-workflows are among them.
        tasks: Definitions of tasks, likewise; a task that has none has the server's defaults.
        scripts: What stands in for JavaScript that is not understood, by its text: a function of
            what is `$` in it.
        latency_ms: There and back, of a call to the server.
        timeout_ms: How long a client waits for the server.

    Raises:
        InvalidDefinition: A definition is wrong: every mistake with its place.
    """

    name: str = attrs.field(validator=attrs.validators.instance_of(str))
    workflows: Sequence[Any] = attrs.field(kw_only=True)
    tasks: Sequence[Any] = attrs.field(default=(), kw_only=True)
    scripts: Mapping[str, Callable[[Any], Any]] = attrs.field(factory=dict, kw_only=True)
    latency_ms: int = attrs.field(default=20, validator=attrs.validators.ge(0), kw_only=True)
    timeout_ms: int = attrs.field(default=10_000, validator=attrs.validators.ge(1), kw_only=True)
    blueprints: Mapping[str, Blueprint] = attrs.field(init=False)
    task_defs: Mapping[str, TaskDef] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        for field in ("workflows", "tasks"):
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
        blueprints: dict[str, Blueprint] = {}
        for index, source in enumerate(self.workflows):
            where = f"Conductor({self.name!r}), workflow {index + 1}"
            name = as_mapping(source, where).get("name")
            if not isinstance(name, str) or not name:
                raise InvalidDefinition(f"{where}: it has no name")
            if name in blueprints:
                raise InvalidDefinition(
                    f"Conductor({self.name!r}): two workflows are called {spelled(name)}; versions "
                    "of one workflow are not modelled, so give each another name"
                )
            blueprints[name] = read_blueprint(
                source, name=name, task_defs=task_defs.get, scripts=self.scripts
            )
        if not blueprints:
            raise InvalidDefinition(f"Conductor({self.name!r}) needs workflows=[definition, ...]")
        _check_references(self.name, blueprints)
        object.__setattr__(self, "blueprints", blueprints)
        object.__setattr__(self, "task_defs", task_defs)

    def open(self, world: World) -> "OpenConductor":
        """Return the server, with no workflows, for one run."""
        return OpenConductor(
            world,
            name=self.name,
            blueprints=self.blueprints,
            task_defs=self.task_defs,
            latency_ms=self.latency_ms,
            timeout_ms=self.timeout_ms,
        )


def _check_references(conductor: str, blueprints: Mapping[str, Blueprint]) -> None:
    """Each workflow that another one starts is there."""
    known = listed(blueprints)
    for blueprint in blueprints.values():
        failure = blueprint.failure_workflow
        if failure is not None and not failure.startswith("$") and failure not in blueprints:
            raise InvalidDefinition(
                f"workflow {spelled(blueprint.name)}: its failureWorkflow {spelled(failure)} is "
                f"none of those of Conductor({conductor!r}): {known}. Nothing would be undone"
            )
        for step in blueprint.everything():
            if step.kind == "SUB_WORKFLOW":
                name = (step.fields.get("subWorkflowParam") or {}).get("name")
                if not isinstance(name, str) or ("$" not in name and name not in blueprints):
                    raise InvalidDefinition(
                        f"workflow {spelled(blueprint.name)}: {spelled(step.ref)} starts "
                        f"{spelled(name)}, which is none of Conductor({conductor!r}): {known}"
                    )
