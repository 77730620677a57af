"""What one workflow of n steps in a row costs, by engine: counted, and not measured.

Each number says what it counts and where it was read. A *transaction* is one commit of the engine's
store; *writes* are the rows or documents that it makes.
"""

from typing import Final

import attrs

from chaosharness.errors import InvalidDefinition

__all__ = ["ENGINES", "Engine", "Linear", "engine_of"]


@attrs.frozen
class Linear:
    """So many for each step, and so many for each workflow."""

    per_step: int
    per_workflow: int

    def of(self, steps: int) -> int:
        """Return how many a workflow of so many steps makes."""
        return self.per_step * steps + self.per_workflow

    def __str__(self) -> str:
        per_step = "n" if self.per_step == 1 else f"{self.per_step}n" if self.per_step else ""
        return (
            f"{per_step}+{self.per_workflow}"
            if self.per_workflow and per_step
            else (per_step or str(self.per_workflow))
        )


@attrs.frozen(kw_only=True)
class Engine:
    """What an engine asks of its store for one workflow, and how its workers report.

    Attributes:
        name: What it is called.
        begin: Transactions before the first step.
        before: Transactions of a step before its code runs.
        after: Transactions of a step once its code has run; the first is the worker's report.
        end: Transactions after the last step.
        more_writes: Writes beside one for each transaction; None where nobody has counted them.
        told: What the writes are.
        retry_s: The pauses between a worker's reports that nobody hears; the last is repeated.
        gives_up_s: How long it tries; None: for ever. What it has not told by then is lost.
        times_out: Whether the engine begins a step again whose report does not come in time.
        again_s: The pause before that.
        source: Where this was read.
    """

    name: str
    begin: int
    before: int
    after: int
    end: int
    more_writes: Linear | None = Linear(0, 0)
    told: str = ""
    retry_s: tuple[float, ...] = (1.0,)
    gives_up_s: float | None = None
    times_out: bool = True
    again_s: float = 1.0
    source: str

    @property
    def transactions(self) -> Linear:
        return Linear(self.before + self.after, self.begin + self.end)

    @property
    def writes(self) -> Linear | None:
        more = self.more_writes
        if more is None:
            return None
        own = self.transactions
        return Linear(own.per_step + more.per_step, own.per_workflow + more.per_workflow)


ENGINES: Final = (
    Engine(
        name="temporal", begin=1, before=3, after=1, end=2, more_writes=Linear(3, 3),
        told="and a history append with each but 'activity started'; 2 visibility records besides",
        retry_s=(0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0), gives_up_s=10.0, again_s=1.0,
        source="temporalio/temporal, docs/architecture/history-service.md; sdk-core, client/src/"
               "retry.rs; counted on this package's server machine",
    ),
    Engine(
        name="conductor", begin=1, before=2, after=3, end=1, more_writes=Linear(6, 3),
        told="and about 6 operations on queues for each step",
        retry_s=(10.0, 20.0, 30.0), gives_up_s=60.0, again_s=60.0,
        source="conductor-oss/conductor, counted in WorkflowExecutorOps and the task runner of "
               "conductor-python; about, since persistence modules differ",
    ),
    Engine(
        name="airflow", begin=2, before=3, after=2, end=1,
        told="scheduled, queued, running, XCom, success; and a heartbeat each 5 s of a step",
        retry_s=(1.0, 2.0, 4.0, 8.0), gives_up_s=15.0, again_s=300.0,
        source="apache-airflow-core 3.3.2, models/dagrun.py, routes/task_instances.py; task-sdk "
               "1.3.2, supervisor.py",
    ),
    Engine(
        name="dbos", begin=1, before=0, after=1, end=1,
        told="a row for each step, one at each end",
        retry_s=(1.0, 2.0, 4.0, 8.0, 16.0), times_out=False,
        source="dbos-transact-py, _sys_db.py, _core.py: the process itself repeats its writes",
    ),
    Engine(
        name="lambda-durable", begin=0, before=0, after=1, end=1,
        told="checkpoints, at least once; at most once are 2n+1",
        retry_s=(1.0, 2.0, 4.0), times_out=False,
        source="aws-durable-execution-sdk-python, execution and state modules: checkpoint calls",
    ),
    Engine(
        name="step-functions", begin=1, before=0, after=1, end=0, more_writes=None,
        told="state transitions: the store is AWS's",
        source="Step Functions developer guide, quotas: a transition for each state entered",
    ),
    Engine(
        name="saga", begin=1, before=0, after=1, end=0, more_writes=Linear(2, 4),
        told="`Orchestrator` with calls: journal and lease; --timeout-s is its lease",
        retry_s=(1.0,), gives_up_s=0.0, again_s=30.0,
        source="chaosharness/orchestrators/saga, counted on its own store; a write that fails is "
               "not repeated, and who looks after sagas comes each poll_s = 30 s",
    ),
)  # fmt: skip


def engine_of(name: str) -> Engine:
    """Return an engine by its name.

    Raises:
        InvalidDefinition: There is none of that name.
    """
    for engine in ENGINES:
        if engine.name == name:
            return engine
    known = ", ".join(engine.name for engine in ENGINES)
    raise InvalidDefinition(f"no costs are known of an engine {name!r}; there are: {known}")
