"""The triggerer: runs the triggers of deferred tasks, in a loop of asyncio.

Each trigger runs in a process on one of the workers. One that dies is noticed after a while, and
its triggers are begun anew from what `serialize()` says of them: what a trigger does, it may do
twice. Its first event counts, and what comes after that finds a task that waits no longer.

*Source*: apache-airflow-core 3.3.2: `jobs/triggerer_job_runner.py`, `models/trigger.py`
(`submit_event`, `submit_failure`, `assign_unassigned`), `triggers/base.py` (rule A13).
*Not modelled*: a triggerer on a host of its own (here its triggers die with a worker), its capacity
and queues, a trigger that blocks the loop for the others, `on_kill`, events of assets.
"""

import copy
import importlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.carrier import PLAIN
from chaosharness.handlers.handling import ended, reach, suffer
from chaosharness.handlers.port import HANDLE
from chaosharness.handlers.script import Script, drive_in_kernel
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.orchestrators.airflow.callbacks import Loaded
from chaosharness.orchestrators.airflow.moments import ms_of
from chaosharness.orchestrators.airflow.records import (
    FAILED,
    SKIPPED,
    SUCCESS,
    DagRun,
    TaskInstance,
)
from chaosharness.orchestrators.airflow.xcoms import strange_in

__all__ = ["Kept", "Triggerer", "keep"]

NO_EVENT: Final = "Trigger exited without sending an event. Dependent tasks will be failed."

LATE_MS: Final = 61_000
"""A trigger that looks at the clock now and then notices within a minute that its time has come."""


@attrs.frozen(eq=False)
class Kept:
    """A trigger as the database has it: what makes it anew."""

    make: Callable[[], Any]
    called: str
    until_ms: tuple[int, ...] = ()
    """When the moments are, and the durations over, that it is made of: in virtual time."""


def keep(trigger: Any, now_ms: int) -> Kept:
    """Return what is kept of a trigger, at a moment of the run.

    Raises:
        TypeError: It says of itself what cannot be kept: its task fails, as in Airflow.
    """
    if not callable(getattr(trigger, "serialize", None)):
        until_ms = _ahead(vars(trigger) if hasattr(trigger, "__dict__") else {}, now_ms)
        return Kept(lambda: copy.deepcopy(trigger), type(trigger).__name__, until_ms)
    path, kwargs = trigger.serialize()
    if (strange := strange_in(kwargs)) is not None:
        raise TypeError(f"cannot serialize object of type {strange}")
    kept = copy.deepcopy(kwargs)

    def make() -> Any:
        return _class_at(path, type(trigger))(**copy.deepcopy(kept))

    return Kept(make, str(path).rpartition(".")[2], _ahead(kept, now_ms))


def _ahead(words: Any, now_ms: int) -> tuple[int, ...]:
    found = []
    for value in words.values() if isinstance(words, dict) else ():
        if isinstance(value, timedelta):
            found.append(now_ms + round(value.total_seconds() * 1000))
        elif isinstance(value, datetime) and value.tzinfo is not None:
            found.append(ms_of(value))
    return tuple(found)  # one that is behind may be ahead of a clock that is wrong


def _class_at(path: str, own: type) -> Any:
    """The class that a trigger names; its own one may stand inside of a function, in tests."""
    module, _, name = path.rpartition(".")
    if (module, name) == (own.__module__, own.__name__):
        return own
    return getattr(importlib.import_module(module), name)


class Triggerer:
    """Has the triggers of one Airflow run."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.until: dict[Kept, list[Any]] = {}  # of triggers that say until when they wait
        self.processes: dict[Incarnation, None] = {}  # in which triggers run

    def take(self, run: DagRun, instance: TaskInstance) -> None:
        """Have a trigger begin that is new in the database."""
        engine = self.engine
        timeout_ms = instance.trigger_timeout_ms
        if timeout_ms is not None:
            engine.world.know_timeout(max(0, timeout_ms - engine.world.now))
        for until_ms in instance.trigger.until_ms:
            engine.world.know_duration(until_ms - engine.world.now)
        what = (run, instance, instance.trigger)
        engine.world.after(engine.machine.settings.triggerer_ms, self._begin, what)

    def _begin(self, what: tuple[DagRun, TaskInstance, Kept]) -> None:
        run, instance, kept = what
        if instance.trigger is not kept:
            return
        engine = self.engine
        if not engine.hosts:
            engine.waiting.append(lambda _: self._begin(what))
            return
        owner = engine.scope_of(run)
        host = engine.hosts[owner.entity % len(engine.hosts)]

        def begin(process: Incarnation) -> None:
            loaded = engine.loaded.pop(process, None)
            if loaded is not None:
                self.processes[process] = None
                process.on_death.append(lambda: self.processes.pop(process, None))
                process.on_death.append(lambda: self._begin_later(what))
                self._run(process, loaded, *what)

        host.run(owner.cause, begin)

    def _begin_later(self, what: tuple[DagRun, TaskInstance, Kept]) -> None:
        """Its triggerer is gone: another one takes the trigger once that is noticed."""
        if what[1].trigger is what[2]:
            health_ms = self.engine.machine.settings.triggerer_health_ms
            self.engine.world.after(health_ms, self._begin, what)

    def _run(
        self, process: Incarnation, loaded: Loaded, run: DagRun, instance: TaskInstance, kept: Kept
    ) -> None:
        engine, owner = self.engine, self.engine.scope_of(run)
        for until_ms in kept.until_ms:  # one that polls a clock is run on till then
            latest_ms = max(until_ms, engine.world.now) + abs(process.skew_ms) + LATE_MS
            entry = engine.world.agenda.add(latest_ms, _nothing, None, False)
            self.until.setdefault(kept, []).append(entry)
        place = engine.place_of(loaded, run.dag_id, instance.task_id)
        scope = Scope(
            engine.world, process, place, owner.entity, owner.cause, PLAIN, owner.hops + 1,
            owner.message,
        )  # fmt: skip
        drive_in_kernel(self._running(scope, loaded, run, instance, kept), engine.world)

    def _running(
        self, scope: Scope, loaded: Loaded, run: DagRun, instance: TaskInstance, kept: Kept
    ) -> Script[None]:
        world = scope.world
        world.in_flight[scope] = scope.place
        operation = f"{scope.place}/trigger"
        attempt = reach(scope, operation, HANDLE)
        yield from suffer(scope, operation, "before", attempt)
        if not scope.incarnation.alive:
            return

        async def first_event() -> Any:
            events = kept.make().run()
            if not hasattr(events, "__aiter__"):
                raise TypeError(
                    f"trigger {kept.called}: run() is an async generator, which yields a "
                    f"TriggerEvent; not {type(events).__name__}"
                )
            async for event in events:
                return event
            return None

        def done(scope: Scope, event: Any, error: BaseException | None) -> None:
            if ended(scope, operation, attempt, error):
                telling = self._tell(scope, attempt, run, instance, kept, event, error)
                drive_in_kernel(telling, world)

        scope.colour = loaded.colour_of(first_event)
        scope.colour.start(scope, first_event, None, None, done)

    def _tell(
        self, scope: Scope, attempt: int, run: DagRun, instance: TaskInstance, kept: Kept,
        event: Any, error: BaseException | None,
    ) -> Script[None]:  # fmt: skip
        """Write into the database what a trigger has said."""
        engine, world = self.engine, scope.world
        yield from suffer(scope, f"{scope.place}/trigger", "after", attempt)
        while engine.outage.down:  # what it has said is written later
            yield engine.machine.settings.triggerer_ms
        if not scope.incarnation.alive:
            return
        words = "" if error is None else f"{type(error).__name__}: {error}"
        if error is None and event is None:
            words = NO_EVENT
        state = getattr(event, "task_instance_state", None)
        if not words and state is not None:
            self._end(instance, kept, event, str(getattr(state, "value", state)))
        elif not words and not hasattr(event, "payload"):
            world.refuse(
                InvalidDefinition(
                    f"the trigger {kept.called} of task {instance.task_id!r} of DAG "
                    f"{instance.dag_id!r} yields {event!r}: let it yield a TriggerEvent"
                )
            )
            return
        else:
            engine.machine.fire(instance, kept, getattr(event, "payload", None), words)
        for entry in self.until.pop(kept, ()):
            world.agenda.cancel(entry)
        world.effects += 1
        engine.scope_of(run).cause = scope.cause
        engine.go_on()
        world.exit(scope.incarnation)

    def _end(self, instance: TaskInstance, kept: Kept, event: Any, state: str) -> None:
        """A trigger ends its task itself: `TaskSuccessEvent` and the like."""
        machine = self.engine.machine
        if state in (SUCCESS, FAILED, SKIPPED) and machine.end_deferred(
            instance, kept, state, self.engine.world.now
        ):
            for key, value in (getattr(event, "xcoms", None) or {}).items():
                machine.push(
                    instance.dag_id, instance.run_id, instance.task_id, key, value,
                    instance.map_index,
                )  # fmt: skip


def _nothing(_: Any) -> None:
    """Let time go by."""
