"""The server dies after each of its writes, one by one: what is as in calm, and what is not."""

from collections import Counter
from typing import Any

import pytest

from models.conductor import broken, right
from tests.orchestrators.conductor.driven import Driven, server_of

GIVEN = {"order": "o1", "item": "lamp", "cents": 700}
RICH = [
    {
        "name": "rich",
        "tasks": [
            {"name": "fork", "taskReferenceName": "fork", "type": "FORK_JOIN", "forkTasks": [
                [{"name": "a", "taskReferenceName": "a"}, {"name": "b", "taskReferenceName": "b"}],
                [{"name": "child", "taskReferenceName": "child", "type": "SUB_WORKFLOW",
                  "subWorkflowParam": {"name": "small"}}],
            ]},
            {"name": "join", "taskReferenceName": "join", "type": "JOIN", "joinOn": ["b", "child"]},
            {"name": "loop", "taskReferenceName": "loop", "type": "DO_WHILE",
             "loopCondition": "$.loop['iteration'] < 2",
             "loopOver": [{"name": "c", "taskReferenceName": "c"}]},
            {"name": "wait", "taskReferenceName": "wait", "type": "WAIT",
             "inputParameters": {"duration": "90 seconds"}},
            {"name": "set", "taskReferenceName": "set", "type": "SET_VARIABLE",
             "inputParameters": {"seen": "${join.output.b.by}"}},
            {"name": "switch", "taskReferenceName": "switch", "type": "SWITCH",
             "evaluatorType": "javascript", "expression": "$.seen == 'b' ? 'yes' : 'no'",
             "inputParameters": {"seen": "${workflow.variables.seen}"},
             "decisionCases": {"yes": [{"name": "d", "taskReferenceName": "d"}]}},
        ],
    },
    {"name": "small", "tasks": [{"name": "e", "taskReferenceName": "e"}]},
]  # fmt: skip


class Parties:
    """Does each thing once for a key, and remembers how often it was asked."""

    def __init__(self) -> None:
        self.done: dict[tuple[str, str], int] = {}

    def work(self, task: Any) -> dict[str, Any]:
        if task.kind == "ship":
            raise ValueError("no lamps")
        key = (task.kind, task.input.get("key") or f"{task.workflow}/{task.ref}")
        self.done[key] = self.done.get(key, 0) + 1
        return {"by": task.kind}


def played(
    workflows: Any, tasks: Any, name: str, names: tuple[str, ...], *, dies_after: int = 0
) -> tuple[Driven, Parties]:
    parties = Parties()
    driven = Driven(server_of(workflows, tasks), dict.fromkeys(names, parties.work), dies_after)
    driven.start(name, GIVEN)
    driven.run()
    return driven, parties


def order(dies_after: int = 0) -> tuple[Driven, Parties]:
    names = ("charge", "ship", "recall", "refund", "cancel")
    return played(right.workflows(), right.tasks(), "order", names, dies_after=dies_after)


def rich(dies_after: int = 0) -> tuple[Driven, Parties]:
    return played(RICH, [], "rich", ("a", "b", "c", "d", "e"), dies_after=dies_after)


def outcome(driven: Driven) -> Counter[tuple[str, str]]:
    """Which tasks of the workflows are over, and how: the last attempt of each counts."""
    found: dict[tuple[str, str], str] = {}
    for name, workflow in driven.server.store.workflows.items():
        found[name, ""] = workflow.status
        for task in driven.server.store.load(name).tasks:
            found[name, task.ref] = task.status
    return Counter((ref, status) for (_, ref), status in found.items())


@pytest.mark.parametrize("saga", [order, rich])
def test_whichever_write_is_its_last_a_server_ends_as_in_calm(saga: Any) -> None:
    calm, did = saga()
    assert set(calm.statuses().values()) == {"COMPLETED"}
    assert len(calm.writes) > 30
    for number in range(1, len(calm.writes) + 1):
        driven, parties = saga(number)
        assert len(driven.writes) >= number
        assert outcome(driven) == outcome(calm), calm.writes[number - 1]
        assert parties.done.keys() == did.done.keys(), calm.writes[number - 1]


def test_what_a_failure_workflow_undoes_is_lost_in_two_windows_and_in_no_other() -> None:
    def undone(dies_after: int = 0) -> tuple[Driven, bool]:
        names = ("charge", "ship", "recall", "refund", "cancel")
        workflows = broken._with_failure_workflow()
        driven, parties = played(
            workflows, broken._one_try(), "order", names, dies_after=dies_after
        )
        return driven, any(kind == "refund" for kind, _ in parties.done)

    calm, refunded = undone()
    assert refunded
    assert calm.statuses() == {"order-1": "FAILED", "undo-1": "COMPLETED"}
    lost: dict[str, str] = {}
    for number in range(1, len(calm.writes) + 1):
        driven, refunded = undone(number)
        if not refunded:
            lost[calm.writes[number - 1]] = driven.statuses()["order-1"]
    assert lost == {"cancel tasks": "RUNNING", "end workflow": "FAILED"}
