"""What a workflow costs: the arithmetic, and the counts on machines that can be counted on."""

import pytest

from chaosharness import AirflowDAG, AirflowTask, Orchestrator, Saga, SagaStore, Step, System
from chaosharness.capacity.costs import ENGINES, Linear, engine_of
from chaosharness.capacity.load import Load, Outage
from chaosharness.errors import InvalidDefinition
from chaosharness.orchestrators.airflow.machine import Machine
from chaosharness.orchestrators.airflow.records import DagRun, Moved


def load(engine: str = "temporal", **options: float) -> Load:
    given = {"rate": 10_000.0, "steps": 5, "latency_ms": 5.0, "step_ms": 50.0} | options
    return Load(engine=engine_of(engine), **given)  # type: ignore[arg-type]


def test_ten_thousand_workflows_a_second_of_five_steps() -> None:
    asked = load()
    assert (asked.transactions, asked.transactions_per_s) == (23, 230_000)
    writes = asked.engine.writes
    assert writes is not None
    assert writes.of(5) * asked.rate == 410_000
    assert (asked.shards_min, asked.shards_advised) == (1_150, 2_048)
    assert round(asked.utilisation(2_048), 2) == 0.56
    assert asked.in_flight == 2_500
    assert round(asked.drained_s(2_048, 5)) == 6


@pytest.mark.parametrize(
    ("engine", "counts"),
    [("temporal", (7, 23, 43)), ("conductor", (7, 27, 52)), ("airflow", (8, 28, 53)),
     ("dbos", (3, 7, 12)), ("lambda-durable", (2, 6, 11)), ("step-functions", (2, 6, 11)),
     ("saga", (2, 6, 11))],
)  # fmt: skip
def test_transactions_of_one_five_and_ten_steps(engine: str, counts: tuple[int, ...]) -> None:
    assert tuple(engine_of(engine).transactions.of(n) for n in (1, 5, 10)) == counts


def test_temporal_is_counted_on_its_server() -> None:
    """Each call that changes a run is one transaction; events are those of its history."""
    pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is not installed")
    import json

    from chaosharness import Gateway, Temporal
    from chaosharness.orchestrators.temporal.server import Server
    from tests.capacity.workflows import Steps, step

    counted: list[str] = []
    changing = ("start", "poll_workflow", "finish_workflow", "poll_activity", "complete_activity")
    patch = pytest.MonkeyPatch()
    for name in changing:
        own = getattr(Server, name)

        def count(self: Server, *args: object, own=own, name=name, **words: object) -> object:
            found = own(self, *args, **words)
            if found is not None or name in ("finish_workflow", "complete_activity"):
                counted.append(name)
            return found

        patch.setattr(Server, name, count)
    system = System("steps")
    temporal = system.add(Temporal("temporal"))
    system.add(Gateway("bank"))

    @system.service("worker")
    def worker(env):
        env.worker(temporal, task_queue="q", workflows=[Steps], activities=[step])

    @system.entry(examples=[5])
    async def place(env, steps):
        await env.client(temporal).start_workflow("Steps", args=[steps], id="w", task_queue="q")

    try:
        run = system.run()
    finally:
        patch.undo()
    events = json.loads(run.event_histories["w"])["events"]
    assert len(events) == 6 * 5 + 5
    plays = counted.count("start")
    assert len(counted) == plays * engine_of("temporal").transactions.of(5)


def test_airflow_is_counted_on_its_machine() -> None:
    """Each change of a state, each XCom, a run that is made, begins and ends."""
    tasks = [AirflowTask(f"t{n}", upstream=[f"t{n - 1}"] if n else []) for n in range(5)]
    machine = Machine({"d": AirflowDAG("d", tasks=tasks)})
    run = machine.trigger("d", "r", {}, 0)
    assert isinstance(run, DagRun)
    counted = 1
    for task in run.tasks.values():
        machine.schedule(0)
        machine.start(task.id, "process", 0)
        machine.push("d", "r", task.task_id, "return_value", 1)
        counted += 1
        machine.finish(task.id, "success", 0)
    machine.schedule(0)
    facts = machine.take()
    counted += len(facts)
    assert sum(isinstance(fact, Moved) for fact in facts) == 20
    assert run.state == "success"
    assert counted == engine_of("airflow").transactions.of(5)


def test_the_saga_of_ones_own_is_counted_on_its_store() -> None:
    """Each commit is a transaction, and the rows that it writes are the writes."""
    steps = 5
    system = System("steps")
    store = system.add(SagaStore("sagas"))
    names = [f"step {number}" for number in range(steps)]

    @system.service("orders")
    def orders(env):
        sagas = Orchestrator(
            Saga("all", *map(Step, names)), env.connect(store), now_ms=env.now_ms,
            sleep=env.sleep, calls={name: lambda command: "done" for name in names},
        )  # fmt: skip
        env.serve("begin", sagas.start)

    @system.entry(examples=["o1"])
    def place(env, id):
        env.call("orders", "begin", id)

    rows = [event.data["rows"] for event in system.run().history.of("commit")]
    saga = engine_of("saga")
    assert len(rows) == saga.transactions.of(steps)
    assert saga.writes is not None
    assert sum(rows) == saga.writes.of(steps)


def test_formulas_are_written_as_they_are() -> None:
    assert [str(one) for one in (Linear(4, 3), Linear(1, 2), Linear(0, 3), Linear(2, 0))] == [
        "4n+3", "n+2", "3", "2n",
    ]  # fmt: skip
    assert all(engine.source for engine in ENGINES)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: engine_of("cadence"), "no costs are known of an engine 'cadence'; there are: t"),
        (lambda: load(rate=0), "rate is a number above 0, not 0"),
        (lambda: load(steps=1.5), "steps is a whole number from 1, not 1.5"),
        (lambda: load(latency_ms=float("nan")), "latency_ms is a number above 0, not nan"),
        (lambda: Outage(seconds=-1, timeout_s=3), "seconds is a number above 0, not -1"),
    ],
)
def test_what_cannot_be_is_refused(call, words: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        call()
    assert words in str(caught.value)
