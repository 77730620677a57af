"""A server driven by hand: workers that answer at once, and a process that dies where it is told.

No world: time goes from one due moment to the next.
"""

from collections.abc import Callable, Iterable
from typing import Any

import attrs

from chaosharness.orchestrators.conductor.reading import read_blueprint, read_task_def
from chaosharness.orchestrators.conductor.records import Task, Workflow
from chaosharness.orchestrators.conductor.server import Result, Server
from chaosharness.orchestrators.conductor.steps import Called, Steps, run
from chaosharness.orchestrators.conductor.store import Store

Work = Callable[[Task], Any]


class Died(Exception):
    """The server's process has died between two writes."""


def server_of(workflows: Iterable[dict[str, Any]], tasks: Iterable[dict[str, Any]] = ()) -> Server:
    """Return a server with these definitions, and nothing in its store."""
    defs = {one["name"]: read_task_def(one, where=one["name"]) for one in tasks}
    blueprints = {
        one["name"]: read_blueprint(one, name=one["name"], task_defs=defs.get) for one in workflows
    }
    return Server(Store(), blueprints, defs.get)


@attrs.define
class Driven:
    """Drives a server: each operation's writes are counted, and one of them may be the last."""

    server: Server
    workers: dict[str, Work]
    dies_after: int = 0  # the write after which the process dies; 0 for never
    writes: list[str] = attrs.field(factory=list)

    def carry_out(self, steps: Steps[Any]) -> Any:
        while True:
            try:
                write = next(steps)
            except StopIteration as stop:
                return stop.value
            self.writes.append(write.what)
            if len(self.writes) == self.dies_after:
                steps.close()
                raise Died

    def attempt(self, steps: Steps[Any]) -> Any:
        """Carry an operation out; None where the server dies amid."""
        try:
            return self.carry_out(steps)
        except Died:
            return None

    def start(self, name: str, given: dict[str, Any]) -> None:
        self.attempt(self.server.start(name, given, key=name, existing=True))
        if not self.server.store.workflows:
            self.attempt(self.server.start(name, given))

    def work(self) -> bool:
        """Poll once for each kind of task, work, and report as often as the library would."""
        worked = False
        for name, work in self.workers.items():
            task = self.attempt(self.server.poll(name, "worker"))
            if task is None:
                continue
            worked = True
            result = answer(task, work)
            before = len(self.writes)
            self.attempt(self.server.update(result))
            if len(self.writes) == self.dies_after and before < self.dies_after:
                self.server.now += 10_000  # nobody has answered: it is sent again
                self.attempt(self.server.update(result))
        return worked

    def run(self, rounds: int = 400) -> None:
        """Go on until nothing is left to do."""
        for _ in range(rounds):
            if self.work():
                continue
            due = self.server.due()
            if due is None:
                return
            self.tick(due)
        raise AssertionError("never quiet")

    def tick(self, now: int) -> None:
        for what, name in self.server.works(now)[:1] or ():
            steps = self.server.sweep(name) if what == "sweep" else self.server.work(name)
            self.attempt(steps)
        for told in self.server.take():
            if isinstance(told, Called):
                self.attempt(self.server.answer(told.task, 200, {"body": told.request}, None))

    def workflow(self, number: int = 0) -> Workflow:
        return self.server.store.load(list(self.server.store.workflows)[number])

    def statuses(self) -> dict[str, str]:
        return {one.id: one.status for one in self.server.store.workflows.values()}


def answer(task: Task, work: Work) -> Result:
    try:
        return Result(task_id=task.id, status="COMPLETED", output=work(task) or {})
    except Exception as error:
        return Result(task_id=task.id, status="FAILED", reason=str(error))


def finish(server: Server, task: Task | None, status: str = "COMPLETED", **output: Any) -> None:
    """Report on a task."""
    assert task is not None
    run(server.update(Result(task_id=task.id, status=status, output=output)))
