"""The index that is behind the store (C19), and a store that fails where tasks are made (C11)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chaosharness import (
    Conductor,
    Crash,
    Delay,
    FailedCommit,
    Schedule,
    Site,
    System,
    explore,
)
from chaosharness.errors import IllegalFault, InvalidDefinition
from chaosharness.system.run import Run
from models.conductor import right

QUERY = "workflowType = 'w' AND status IN (RUNNING, COMPLETED)"
UNDO = {"name": "undo", "tasks": [{"name": "undo", "taskReferenceName": "undo", "type": "SIMPLE"}]}


def shop(*, may_fail: bool = False, look_s: float = 5, query: str | None = QUERY) -> System:
    system = System("shop")
    tasks = [{"name": one, "taskReferenceName": one, "type": "SIMPLE"} for one in "ab"]
    flow = {"name": "w", "tasks": tasks, "failureWorkflow": "undo"}
    server = system.add(Conductor("conductor", workflows=[flow, UNDO], store_may_fail=may_fail))

    @system.service("workers")
    def workers(env: Any) -> None:
        for name in ("a", "b", "undo"):
            env.task_worker(server, lambda task: {}, name=name)

    @system.entry(examples=[{}])
    def begin(env: Any, item: Any) -> None:
        client = env.client(server)
        client.start_workflow_by_name("w", {"id": 1}, correlationId="c1")
        env.sleep(look_s)
        env.note("found", answer=client.search(query=query))

    return system


def found(run: Run) -> list[tuple[str, str]]:
    [answer] = [one.data["answer"] for one in run.history.of("note") if one.data["what"] == "found"]
    assert answer["totalHits"] == len(answer["results"])
    return [(one["workflowId"], one["status"]) for one in answer["results"]]


@pytest.mark.parametrize(
    ("late_ms", "expected"),
    [
        (None, [("w-1", "COMPLETED")]),
        (4_990, [("w-1", "RUNNING")]),
        (60_000, []),
    ],
)
def test_the_index_is_as_old_as_the_delay(
    late_ms: int | None, expected: list[tuple[str, str]]
) -> None:
    faults = [] if late_ms is None else [Delay(Site("conductor/search"), lasting=late_ms)]
    run = shop().run(None, Schedule(faults))
    assert found(run) == expected
    assert run.unused == ()


@pytest.mark.parametrize(
    ("query", "hits"),
    [
        (None, 1), ("correlationId = c1", 1), ("correlationId = 'c2'", 0), ("status = FAILED", 0),
        ("workflowId IN ('w-1', 'w-2') AND version=1", 1),
    ],
)  # fmt: skip
def test_a_query_is_terms_joined_by_and(query: str | None, hits: int) -> None:
    assert len(found(shop(query=query).run())) == hits


@pytest.mark.parametrize("query", ["startTime > 5", "status = A OR status = B", "status", "a=b"])
def test_a_query_that_is_not_modelled_is_refused(query: str) -> None:
    with pytest.raises(InvalidDefinition, match=r"a search has .* in its query: modelled is FIELD"):
        shop(query=query).run()


# ---- a store that fails


def workflow(run: Run, name: str = "w-1") -> dict[str, Any]:
    return dict(json.loads(run.event_histories[name]))


MAKE = "conductor.w/create tasks"


@pytest.mark.parametrize("outcome", ["rolled-back", "committed"])
@pytest.mark.parametrize(("attempt", "task"), [(1, "a"), (2, "b")])
def test_a_store_that_fails_while_tasks_are_made_ends_the_workflow(
    outcome: Any, attempt: int, task: str
) -> None:
    fault = FailedCommit(Site(MAKE, attempt=attempt), outcome=outcome)
    run = shop(may_fail=True).run(None, Schedule([fault]))
    ended = workflow(run)
    assert run.unused == ()
    assert ended["status"] == "FAILED"
    assert ended["reasonForIncompletion"].startswith("Error scheduling tasks: [")
    made = {one["referenceTaskName"]: one["status"] for one in ended["tasks"]}
    assert made.get(task) == ("CANCELED" if outcome == "committed" else None)
    assert workflow(run, "undo-1")["status"] == "COMPLETED"


def test_it_is_illegal_where_nobody_says_that_the_store_may_fail() -> None:
    with pytest.raises(IllegalFault):
        shop().run(None, Schedule([FailedCommit(Site(MAKE))]))


def test_attempts_are_counted_once() -> None:
    for may_fail in (False, True):
        crash = Crash(Site(MAKE, phase="after", attempt=2))
        run = shop(may_fail=may_fail).run(None, Schedule([crash]))
        assert run.unused == ()
        assert workflow(run)["status"] == "COMPLETED"


def test_what_is_undone_in_the_workflow_alone_is_not_undone_then() -> None:
    failing = right.build(right.Parts(store_may_fail=True))
    first = explore(failing, faults_max=1, kinds=[FailedCommit]).counterexamples[0]
    assert first.property == "money is conserved"
    assert len(first.schedule) == 1


def test_with_a_failure_workflow_too_it_is() -> None:
    campaign = explore(right.undone_twice, faults_max=1, kinds=[FailedCommit])
    assert campaign.counterexamples == ()
    assert campaign.coverage.levels[1].complete
