"""What orchestrators wrote down, as their users know it: step, attempt, lease, in every format."""

import json
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is not installed")

from temporalio.client import WorkflowHistory

from chaosharness import Crash, ErrorReply, LostRequest, Pause, Schedule, Site, System
from chaosharness.counterexample import Counterexample, plain_items
from chaosharness.faults import Fault
from chaosharness.reporting import masked, to_html, to_markdown, to_text, write
from chaosharness.reporting.story.executions import Execution, executions
from models.airflow import right as airflow
from models.conductor import broken as conductor
from models.saga_engine import broken as saga_engine
from models.step_functions import right as step_functions
from models.temporal import right as temporal


def struck(system: System, *faults: Fault, items: Any = None) -> Counterexample:
    """A run of a system, as reports are given it."""
    run = system.run(items, Schedule(faults))
    return Counterexample(
        property="none", system=system.name, schedule=Schedule(faults), findings=(),
        items=plain_items(run.items), digest=run.digest(), history=run.history,
        event_histories=run.event_histories,
    )  # fmt: skip


def table(found: Counterexample, item: int = 1) -> Execution:
    [one] = executions(found, frozenset({item}))
    return one


def cells(one: Execution, *names: str) -> list[tuple[str, ...]]:
    return [tuple(row.cells[one.head.index(name)] for name in names) for row in one.rows]


def a_temporal_run() -> Counterexample:
    return struck(temporal.build(), LostRequest(Site("orders.charge/bank.charge")))


def test_an_event_history_tells_each_attempt_and_whose_worker_it_was() -> None:
    one = table(a_temporal_run())
    assert (one.name, one.form, one.what) == ("o1", "event history", "OrderSaga COMPLETED")
    told = cells(one, "event", "of", "attempt", "worker", "what became of it")
    assert told[0] == ("1 WorkflowExecutionStarted", "OrderSaga", "", "", "")
    assert told[2][3] == "orders#1"
    started = [line for line in told if line[:2] == ("6 ActivityTaskStarted", "charge")]
    [(_, _, attempt, worker, why)] = started
    assert (attempt, worker) == ("2", "orders#1")
    assert why.startswith("before: TimeoutError: orders.charge/bank.charge")


def test_the_next_life_of_a_worker_has_another_name() -> None:
    one = table(struck(temporal.build(), Crash(Site("orders.charge/bank.charge"))))
    workers = [worker for [worker] in cells(one, "worker") if worker]
    assert {"orders#1", "orders#1/2"} == set(workers)


def test_a_journal_tells_the_lease_and_who_wrote_after_a_newer_one() -> None:
    found = struck(saga_engine.two_orchestrators_resume())
    operation = next(e.operation for e in found.history if e.operation.endswith("courier.ship"))
    stall = Pause(Site(operation, "after"), lasting="long")
    one = table(struck(saga_engine.two_orchestrators_resume(), stall))
    assert one.form == "journal"
    late = [row for row in one.rows if "was there before" in row.cells[-1]]
    assert late
    assert all(row.trouble and row.cells[4] == "1" for row in late)
    assert {lease for [lease] in cells(one, "lease")} >= {"1", "2", "3"}


def test_states_tell_their_attempts_and_what_was_caught() -> None:
    refused = ErrorReply(Site("payments.charge/bank.charge"))
    one = table(struck(step_functions.build(), refused))
    [charge, *_] = cells(one, "state", "type", "status", "attempts", "what became of it")
    assert charge[:4] == ("Charge", "Task", "succeeded", "2")
    assert charge[4].startswith("attempt 1 ConnectionError: ")
    undone = table(struck(step_functions.build()), 2)  # cannot be delivered
    by_name = {state: status for state, status in cells(undone, "state", "status")}
    assert by_name["Ship"] == "caught"
    assert [*by_name.values()][-1] == "failed"
    assert undone.what.startswith("FAILED")


def test_tasks_of_conductor_are_told_attempt_by_attempt() -> None:
    one = table(struck(conductor.response_timeout_too_short()))
    charged = [line for line in cells(one, "task", "status", "attempt", "worker")
               if line[0] == "charge"]  # fmt: skip
    assert charged == [
        ("charge", "TIMED_OUT", "1", "payments#1"),
        ("charge", "TIMED_OUT", "2", "payments#1"),
        ("charge", "TIMED_OUT", "3", "payments#1"),
        ("charge", "COMPLETED_WITH_ERRORS", "4", "payments#1"),
    ]


def test_task_instances_are_told_try_by_try() -> None:
    one = table(struck(airflow.build(), ErrorReply(Site("workers.charge/bank.charge"))))
    tries = [line for line in cells(one, "task", "state", "try") if line[0] == "charge"]
    assert tries == [("charge", "failed", "1"), ("charge", "success", "2")]
    begun = [row.at_ms for row in one.rows if row.at_ms is not None]
    assert begun == sorted(begun)
    assert all("process" in process for state, process in cells(one, "state", "process")
               if state == "success")  # fmt: skip


@pytest.mark.parametrize("render", [to_text, to_markdown, to_html])
def test_each_format_shows_the_table(render: Callable[..., str]) -> None:
    text = render(a_temporal_run())
    assert "Event history of o1" in text
    assert "6 ActivityTaskStarted" in text
    assert "orders\\#1" in text or "orders#1" in text
    if render is to_text:
        assert max(map(len, text.splitlines()[:-3])) <= 80


def test_the_file_of_the_history_holds_what_temporals_own_tools_read(tmp_path: Any) -> None:
    paths = write(a_temporal_run(), tmp_path, formats=["json"])
    [path] = [one for one in paths if one.name.endswith(".history.json")]
    kept = json.loads(path.read_text())["event_histories"]
    assert set(kept) == {"o1", "o2"}
    assert len(WorkflowHistory.from_json("o1", kept["o1"]).events) > 10


def test_what_is_masked_is_masked_inside_of_payloads_too() -> None:
    found = a_temporal_run()
    hidden = masked(found, "item")
    for kept, shown in zip(
        found.event_histories.values(), hidden.event_histories.values(), strict=True
    ):
        assert {"book", "lamp"} & set(map(str, payloads(kept)))
        assert WorkflowHistory.from_json("w", json.loads(shown)).events
        assert not {"book", "lamp"} & set(map(str, payloads(shown)))


def payloads(text: str) -> list[Any]:
    from chaosharness.reporting.formats.wrapped import PAYLOAD, opened

    found = []

    def look(value: Any) -> None:
        if isinstance(value, dict) and PAYLOAD in value:
            found.append(value[PAYLOAD])
        for inside in value.values() if isinstance(value, dict) else value:
            if isinstance(inside, (dict, list)):
                look(inside)

    look(opened(json.loads(text)))
    return found


def test_a_system_without_orchestrators_has_no_such_table() -> None:
    from tests.reporting.shops import double_charge

    assert "history of" not in to_text(double_charge()).lower()
