"""Callbacks of tasks and DAGs: told the context, once, after the state is in the database.

*Source*: apache-airflow-task-sdk 1.3.2, `execution_time/task_runner.py` (`finalize`);
apache-airflow-core 3.3.2, `dag_processing/processor.py` (rule A8).
*Not modelled*: `on_execute_callback`, `on_skipped_callback`, mail.
"""

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from chaosharness.handlers.handling import reach, suffer
from chaosharness.handlers.places import told
from chaosharness.handlers.port import HANDLE
from chaosharness.handlers.script import Script, drive_in_kernel
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import World

__all__ = ["Loaded", "Teller", "call_back"]


@attrs.frozen
class Loaded:
    """What a process has read of the DAG file: code by task id, and what colours it has."""

    service: str
    callables: Mapping[str, Any]
    colour_of: Callable[[Callable[..., Any]], Any]

    def find(self, dag_id: str, name: str, default: Any) -> Any:
        """Return the code of a task or of a callback."""
        return self.callables.get(f"{dag_id}.{name}", self.callables.get(name, default))


@attrs.frozen
class Teller:
    """A process that runs a callback, and ends with it."""

    world: World
    incarnation: Incarnation
    loaded: Loaded
    scope: Scope


def call_back(teller: Teller, kind: str, code: Any, context: Mapping[str, Any]) -> None:
    """Run a callback in a process, and end that; what it raises is only logged, as in Airflow."""
    drive_in_kernel(_call_back(teller, kind, code, context), teller.world)


def _call_back(teller: Teller, kind: str, code: Any, context: Mapping[str, Any]) -> Script[None]:
    scope, world = teller.scope, teller.world
    world.in_flight[scope] = scope.place
    operation = f"{scope.place}/{kind}"
    attempt = reach(scope, operation, HANDLE)
    yield from suffer(scope, operation, "before", attempt)
    if not teller.incarnation.alive:
        return

    def done(scope: Scope, _: Any, error: BaseException | None) -> None:
        world.in_flight.pop(scope, None)
        if error is None:
            scope.record("handled", operation, attempt, None)
        else:
            scope.record("raised", operation, attempt, told(error))
        if world.is_mistake(error):
            world.refuse(error)
        world.exit(teller.incarnation)

    scope.colour = teller.loaded.colour_of(code)
    scope.colour.start(scope, code, _alone, context, done)


def _alone(context: Any) -> tuple[Any, ...]:
    return (context,)
