"""What a store can do to each engine: each row of the table is run, and the rest is refused."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest

pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is not installed")

from chaosharness import (
    Airflow,
    AirflowDAG,
    AirflowTask,
    Env,
    Gateway,
    Run,
    Schedule,
    Site,
    System,
)
from chaosharness.errors import IllegalFault
from chaosharness.faults import (
    Crash,
    Delay,
    Duplicate,
    ErrorReply,
    FailedCommit,
    Fault,
    LostReply,
    LostRequest,
    LostWrites,
    Pause,
    Redeliver,
    StoreOutage,
)
from chaosharness.orchestrators.store_rows import (
    ENGINES,
    NEVER,
    ROWS,
    TROUBLES,
    Never,
    StoreRow,
    table,
)
from models.saga_engine import right as saga
from tests.orchestrators.store import shops

Shop = Callable[[], System]


def charges(run: Run) -> list[int]:
    """When money was taken."""
    return [one.at_ms for one in run.history.of("effect") if one.data["method"] == "charge"]


def told_of(run: Run) -> list[str]:
    """What began and ended and was seen, what an engine said no to, what nobody was told."""
    found = []
    for one in run.history:
        match one.kind, one.data:
            case "note", {"what": words, "status": status}:
                found.append(f"{words} {status}")
            case "note", {"what": words}:
                found.append(str(words))
            case "reply", {"late": True, "error": error}:
                found.append(f"{_end(one.operation)}: {error}")
            case "reply", {"late": True}:
                found.append(f"{_end(one.operation)}: late")
            case "reply", {"happened": False, "error": error}:
                found.append(f"{_end(one.operation)}: {error}")
            case "reply", {"happened": False}:
                found.append(f"{_end(one.operation)}: lost")
    return found


def _end(operation: str) -> str:
    return operation.rpartition("/")[2]


def operation(row: StoreRow, calm: Run) -> str:
    """The operation that a row names by its end; a call is one that `desk` makes."""
    for name in calm.surfaces:
        _, _, end = name.partition("/")
        if row.at == "call":
            if name.startswith("desk.") and end.startswith(CALLS):
                return name
        elif (end == row.at or name.endswith(f".{row.at}")) and not name.startswith("desk."):
            return name
    raise AssertionError(f"{row.at} is no operation of {row.engine}")


CALLS = tuple(f"engine.{verb}" for verb in ("start_", "trigger_", "send_task_success"))


@attrs.frozen
class Cell:
    """How a row is run, and what is seen.

    Attributes:
        charges: How often money is taken.
        late: Whether it is so later than in the calm run.
        says: What is among the notes and refusals.
        silent: What is not.
        shop: Where it runs.
        option: How long it lasts, or how it comes out.
        attempt: At which attempt it strikes.
    """

    charges: int = 1
    late: bool = False
    says: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    shop: Shop | None = None
    option: Any = None
    attempt: int = 1


AWAY, FAILS, UNTOLD, UNSYNCED, TORN, NEWER, FENCED, OLD = TROUBLES
SLOW = partial(shops.airflow, slow_s=200)
EXPRESS = partial(shops.step_functions, express=True)
MAY_FAIL = partial(shops.conductor, store_may_fail=True)
AGAIN = ("workflow started", "workflow started")
MINUTE = 60_000

#: By engine, trouble, place and fault: one or more runs.
CELLS: dict[tuple[str, str, str, type[Fault]], list[Cell]] = {
    ("saga", AWAY, "commit", StoreOutage): [Cell(late=True, option=MINUTE)],
    ("temporal", AWAY, "store decision", StoreOutage): [
        Cell(option=5_000, attempt=2, silent=("store decision: lost",)),
        Cell(option=30_000, attempt=2, says=("store decision: lost", "workflow completed")),
    ],
    ("temporal", AWAY, "report", LostRequest): [Cell(2, says=("report: lost",))],
    ("temporal", AWAY, "call", ErrorReply): [Cell(late=True)],
    ("step functions", AWAY, "call", ErrorReply): [Cell(late=True)],
    ("conductor", AWAY, "report", StoreOutage): [
        Cell(option=5_000, silent=("report: Task result LOST",)),
        Cell(3, option=90_000, says=("report: Task result LOST", *AGAIN)),
    ],
    ("conductor", AWAY, "report", LostRequest): [Cell(2, silent=AGAIN)],
    ("conductor", AWAY, "call", ErrorReply): [Cell(late=True)],
    ("airflow", AWAY, "queue", StoreOutage): [
        Cell(option=5_000, late=True, silent=("start: lost",)),
        Cell(option=MINUTE, late=True, says=("start: lost", "dag run success")),
    ],
    ("airflow", AWAY, "report", LostRequest): [Cell(2, says=("report: lost",))],
    ("airflow", AWAY, "call", ErrorReply): [Cell(late=True)],
    ("saga", FAILS, "commit", FailedCommit): [
        Cell(late=True, option="rolled-back", says=("saga completed",))
    ],
    ("conductor", FAILS, "create tasks", FailedCommit): [
        Cell(0, shop=MAY_FAIL, option="rolled-back", says=("workflow failed", *AGAIN))
    ],
    ("saga", UNTOLD, "commit", FailedCommit): [
        Cell(late=True, option="committed", says=("saga taken over", "saga completed"))
    ],
    ("temporal", UNTOLD, "store decision", LostReply): [Cell()],
    ("temporal", UNTOLD, "report", LostReply): [Cell()],
    ("temporal", UNTOLD, "call", LostReply): [Cell(2, says=AGAIN)],
    ("step functions", UNTOLD, "call", LostReply): [Cell()],
    ("conductor", UNTOLD, "poll", LostReply): [Cell(late=True)],
    ("conductor", UNTOLD, "report", LostReply): [Cell(says=("report: late",))],
    ("conductor", UNTOLD, "call", LostReply): [Cell(2, says=AGAIN)],
    ("airflow", UNTOLD, "report", LostReply): [Cell()],
    ("airflow", UNTOLD, "call", LostReply): [Cell()],
    ("saga", UNSYNCED, "commit", LostWrites): [
        Cell(shop=partial(saga.build, saga.Parts(synced=False)),
             says=("saga started", "saga started", "saga completed"))
    ],
    ("step functions", UNSYNCED, "run", Duplicate): [
        Cell(2, shop=EXPRESS, says=("execution started", "execution started"))
    ],
    **{("conductor", TORN, at, Crash): [Cell(2, says=AGAIN)]
       for at in ("create workflow", "create tasks", "queue tasks", "save tasks", "save workflow")},
    ("conductor", TORN, "hand out", Crash): [Cell(late=True, silent=AGAIN)],
    ("conductor", TORN, "save result", Crash): [Cell(says=("report: late",))],
    ("conductor", TORN, "end workflow", Crash): [Cell(says=("report: late",))],
    ("saga", TORN, "insert saga_journal", Crash): [Cell(says=("saga completed",))],
    ("temporal", TORN, "store decision", Crash): [Cell(says=("workflow completed",), silent=AGAIN)],
    ("airflow", TORN, "queue", Crash): [Cell()],
    ("airflow", TORN, "push", Crash): [Cell(2)],
    ("saga", NEWER, "deliver to orchestrator", Redeliver): [Cell(says=("saga completed",))],
    ("temporal", NEWER, "store decision", Pause): [
        Cell(0, shop=shops.temporal_with_signal, option=5_000, attempt=2, silent=("signal",))
    ],
    ("step functions", NEWER, "call", LostReply): [
        Cell(0, shop=shops.step_functions_with_token, says=("refused",))
    ],
    ("conductor", NEWER, "report", Pause): [Cell(2, option=MINUTE, says=("report: late",))],
    ("airflow", NEWER, "queue", Delay): [
        Cell(option=1_000_000, late=True, says=("start: 409",))
    ],
    ("saga", FENCED, "commit", Pause): [
        Cell(option=300_000, says=("saga taken over", "saga completed"))
    ],
    ("temporal", FENCED, "store decision", Pause): [
        Cell(option=MINUTE, says=("workflow completed",))
    ],
    ("step functions", FENCED, "handle", Pause): [Cell(2, option=MINUTE)],
    ("airflow", FENCED, "handle", Pause): [Cell(late=True, option=400_000, says=("heartbeat: 4",))],
    ("temporal", OLD, "visibility", Delay): [Cell(option=MINUTE, says=("seen not there",))],
    ("step functions", OLD, "describe", Delay): [
        Cell(option=MINUTE, says=("seen ExecutionDoesNotExist",))
    ],
    ("conductor", OLD, "search", Delay): [Cell(option=MINUTE, says=("seen []",))],
}  # fmt: skip


def key(row: StoreRow) -> tuple[str, str, str, type[Fault]]:
    return row.engine, row.trouble, row.at, row.fault


RUNS = [pytest.param(row, cell, id=f"{row.engine}-{row.trouble}-{row.at}-{row.phase}-{number}")
        for row in ROWS for number, cell in enumerate(CELLS[key(row)])]  # fmt: skip


def test_each_store_s_trouble_is_in_each_engine_or_cannot_be() -> None:
    told = {(row.engine, row.trouble) for row in ROWS}
    never = {(no.engine, no.trouble) for no in NEVER}
    assert told | never == {(engine, trouble) for engine in ENGINES for trouble in TROUBLES}
    assert not told & never
    assert {key(row) for row in ROWS} == set(CELLS)


@pytest.mark.parametrize(("row", "cell"), RUNS)
def test_a_run_shows_what_it_does(row: StoreRow, cell: Cell) -> None:
    shop = (cell.shop or shops.SHOPS[row.engine])()
    items = [shop.examples[0]]
    calm = shop.run(items)
    site = Site(operation(row, calm), row.phase, attempt=cell.attempt)  # type: ignore[arg-type]
    names = {row.fault.option_name, row.fault.length_name} - {""}
    option = {} if cell.option is None else {names.pop(): cell.option}
    surface = calm.surfaces[site.operation]
    assert row.fault in getattr(surface, row.phase)
    assert (row.fault in getattr(surface, f"searched_{row.phase}")) == row.searched
    run = shop.run(items, Schedule([row.fault(site, **option)]))
    assert run.unused == ()
    assert run.ending.verdict == "quiet"
    found = told_of(run)
    assert len(charges(run)) == cell.charges, found
    assert not cell.late or charges(run)[0] > charges(calm)[0]
    assert all(times(found, words) >= cell.says.count(words) for words in cell.says), found
    assert all(times(found, words) < cell.silent.count(words) for words in cell.silent), found


def times(found: list[str], words: str) -> int:
    """How often something is said that begins so."""
    return sum(one.startswith(words) for one in found)


@pytest.mark.parametrize("no", NEVER, ids=lambda no: f"{no.engine}-{no.trouble}")
def test_what_cannot_be_is_refused(no: Never) -> None:
    shop = shops.SHOPS[no.engine]()
    calm = shop.run()
    for end in no.at:
        own = [name for name in calm.surfaces
               if _end(name) == end or _end(name).endswith(f".{end}")]  # fmt: skip
        assert own, f"{no.engine} has no {end}"
        for phase in ("before", "after"):
            with pytest.raises(IllegalFault, match="can never happen"):
                shop.run(None, Schedule([no.fault(Site(own[0], phase))]))  # type: ignore[arg-type]


KINDS = tuple(Crash.__mro__[1].__subclasses__())


@pytest.mark.parametrize("engine", ENGINES)
def test_a_fault_that_cannot_be_there_is_refused_and_no_traceback(engine: str) -> None:
    shop = shops.SHOPS[engine]()
    calm = shop.run()
    for name, surface in calm.surfaces.items():
        for phase in ("before", "after"):
            site = Site(name, phase)  # type: ignore[arg-type]
            wrong = [kind(site) for kind in KINDS if kind not in getattr(surface, phase)]
            with pytest.raises(IllegalFault, match="can never happen"):
                shop.run(None, Schedule(wrong))


def test_the_page_has_the_table() -> None:
    page = Path(__file__).parents[3] / "docs" / "explanation" / "orchestrators.md"
    assert table() in page.read_text("utf-8")


# ---- whoever works while the store is away


def two_tasks() -> System:
    """A DAG whose slow task runs while another one is queued."""
    system = System("two")
    tasks = [AirflowTask("slow", retries=1, retry_delay_s=10), AirflowTask("quick"),
             AirflowTask("next", upstream=["quick"])]  # fmt: skip
    airflow = system.add(Airflow("engine", dags=[AirflowDAG("two", tasks=tasks)]))
    bank = system.add(Gateway("bank"))

    @system.service("workers")
    def workers(env: Env) -> None:
        money = env.client(bank)

        def slow(ti: Any) -> None:
            money.charge("o1", 500)
            env.sleep(250)
            money.charge("o1", 700)

        def nothing() -> None: ...

        env.tasks(airflow, {"slow": slow, "quick": nothing, "next": nothing})

    @system.entry(examples=["o1"])
    def place(env: Env, order: str) -> None:
        env.client(airflow).trigger_dag_run("two", dag_run_id=order, conf={})

    return system


@pytest.mark.parametrize(("away_ms", "cents"), [(90_000, [500, 700]), (150_000, [500, 500, 700])])
def test_an_airflow_task_that_beats_in_vain_for_long_is_killed(
    away_ms: int, cents: list[int]
) -> None:
    fault = StoreOutage(Site("two.next/queue"), lasting=away_ms)
    run = two_tasks().run(None, Schedule([fault]))
    assert [one.data["cents"] for one in run.history.of("effect")] == cents
    assert ("heartbeat: lost" in told_of(run)) == (len(cents) == 3)
    assert told_of(run)[-1] == "dag run success"


@pytest.mark.parametrize(("away_ms", "refused"), [(8_000, 0), (15_000, 1)])
def test_a_client_of_temporal_asks_for_ten_seconds(away_ms: int, refused: int) -> None:
    fault = StoreOutage(Site("workers.Order/store decision"), lasting=away_ms)
    run = shops.temporal_with_signal(after_s=0.03).run(None, Schedule([fault]))
    assert told_of(run).count("signal") == refused
    assert run.ending.verdict == "quiet"


def test_what_was_due_meanwhile_comes_all_at_once() -> None:
    shop = shops.temporal()
    calm, items = shop.run(), ["o1", "o2"]
    fault = StoreOutage(Site("workers.Order/store decision"), lasting=9_000)
    run = shop.run(items, Schedule([fault]))
    assert charges(calm) == [41]
    assert len(charges(run)) == 2
    assert min(charges(run)) > 9_000
    assert max(charges(run)) - min(charges(run)) < 100
