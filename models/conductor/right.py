"""Charge, then ship; what fails after the charge is undone, in the workflow itself.

A failureWorkflow would not do: between the end of a workflow and the start of what undoes it the
server can die, and it never comes back to it. So no task ends the workflow: those that fail are
optional, and a SWITCH reads how they have ended.
"""

from collections.abc import Callable
from typing import Any

import attrs

from chaosharness import Conductor, Env, External, Order, System, every_saga_settles
from models.third_parties import (
    VASE,
    Bank,
    Courier,
    Insurer,
    money_is_kept_for_parcels,
    parcels_are_stopped_before_money_goes_back,
)

INPUT = {"order": "${workflow.input.order}", "item": "${workflow.input.item}",
         "cents": "${workflow.input.cents}"}  # fmt: skip


def task(name: str, **more: Any) -> dict[str, Any]:
    """A SIMPLE task with the order as its input."""
    return {"name": name, "taskReferenceName": name, "type": "SIMPLE", "inputParameters": INPUT,
            **more}  # fmt: skip


def switch(on: str, done: list[dict[str, Any]], otherwise: list[dict[str, Any]]) -> dict[str, Any]:
    """Go on as a task has ended."""
    return {
        "name": f"{on}_ended",
        "taskReferenceName": f"{on}_ended",
        "type": "SWITCH",
        "evaluatorType": "value-param",
        "expression": "status",
        "inputParameters": {"status": f"${{{on}.status}}"},
        "decisionCases": {"COMPLETED": done},
        "defaultCase": otherwise,
    }


def undo(*names: str, after: str) -> list[dict[str, Any]]:
    """Tasks that undo, each with a reference name of its own."""
    return [task(name, taskReferenceName=f"{name}_after_{after}") for name in names]


def charge(key: str = "${workflow.input.order}", **more: Any) -> dict[str, Any]:
    """The task that charges, under a key."""
    return task("charge", **{"inputParameters": {**INPUT, "key": key}, **more})


def workflows() -> list[dict[str, Any]]:
    """Return the workflows, as their JSON is."""
    ship = [
        task("ship", optional=True),
        switch("ship", [], undo("recall", "refund", "cancel", after="ship")),
    ]
    return [
        {
            "name": "order",
            "version": 1,
            "tasks": [
                charge(optional=True),
                switch("charge", ship, undo("refund", "cancel", after="charge")),
            ],
        }
    ]


def with_insurance(*undoes: str) -> list[dict[str, Any]]:
    """Return the workflow with a third step, after which two are undone: the last first."""
    [order] = workflows()
    _, ended = order["tasks"][1]["decisionCases"]["COMPLETED"]
    undoing = undo(*(undoes or ("recall", "refund", "cancel")), after="insure")
    ended["decisionCases"]["COMPLETED"] = [
        task("insure", optional=True),
        switch("insure", [], undoing),
    ]
    return [order]


def renamed() -> list[dict[str, Any]]:
    """Return the next version: who charges is called otherwise, and polled for as that."""
    [order] = workflows()
    first, *rest = order["tasks"]
    return [{**order, "tasks": [{**first, "name": "take_money"}, *rest]}]


def with_failure_workflow() -> list[dict[str, Any]]:
    """Return workflows of which one is also undone if the server ends it: its store has failed."""
    [order] = workflows()
    undone = {"name": "undo", "tasks": undo("recall", "refund", "cancel", after="failure")}
    return [{**order, "failureWorkflow": "undo"}, undone]


def definition(name: str, **more: Any) -> dict[str, Any]:
    """A task's definition: tried again later and later, and lost workers are noticed soon."""
    return {"name": name, "retryCount": 6, "retryLogic": "EXPONENTIAL_BACKOFF",
            "retryDelaySeconds": 2, "maxRetryDelaySeconds": 600, "responseTimeoutSeconds": 30,
            "timeoutPolicy": "RETRY", **more}  # fmt: skip


def tasks() -> list[dict[str, Any]]:
    """Return the definitions of the tasks, as their JSON is: what undoes is tried for hours."""
    doing = [definition(name) for name in ("charge", "take_money", "ship", "insure")]
    return [*doing, *(definition(name, retryCount=20) for name in ("recall", "refund", "cancel"))]


@attrs.frozen
class Parts:
    """What a variant may replace."""

    workflows: Callable[[], list[dict[str, Any]]] = workflows
    tasks: Callable[[], list[dict[str, Any]]] = tasks
    previous: Callable[[], list[dict[str, Any]]] = list
    charges: tuple[str, ...] = ("charge",)  # the tasks that are polled for by who charges
    store_may_fail: bool = False
    work_s: float = 0.0
    bank: type = Bank
    insured: bool = False


def build(parts: Parts = Parts(), *, name: str = "conductor") -> System:
    """Build the shop."""
    shop = System(name)
    server = shop.add(
        Conductor(
            "conductor",
            workflows=parts.workflows(),
            tasks=parts.tasks(),
            previous=parts.previous(),
            store_may_fail=parts.store_may_fail,
        )
    )
    bank = shop.add(External("bank", parts.bank))
    courier = shop.add(External("courier", Courier))

    @shop.service("payments")
    def payments(env: Env) -> None:
        client = env.client(bank)

        def charge(key: str, cents: int) -> Any:
            if parts.work_s:
                env.sleep(parts.work_s)
            return {"paid": client.charge(key, cents)}

        def refund(order: str, cents: int) -> Any:
            return {"refunded": client.refund(order, cents)}

        for polled in parts.charges:
            env.task_worker(server, charge, name=polled)
        env.task_worker(server, refund)

    @shop.service("shipping")
    def shipping(env: Env) -> None:
        client = env.client(courier)

        def ship(order: str, item: str) -> Any:
            return {"parcel": client.ship(order, item)}

        def recall(order: str, item: str) -> Any:
            return {"recalled": client.recall(order)}

        env.task_worker(server, ship)
        env.task_worker(server, recall)

    if parts.insured:
        insurer = shop.add(External("insurer", Insurer, reads=("cover",)))

        @shop.service("insurance")
        def insurance(env: Env) -> None:
            client = env.client(insurer)

            def insure(order: str, item: str) -> Any:
                return {"cover": client.cover(order, item)}

            env.task_worker(server, insure)

    @shop.service("orders")
    def orders(env: Env) -> None:
        def cancel(order: str) -> None:
            env.note("order cancelled", order=order)

        env.task_worker(server, cancel)

    some = [Order("o1", "ann", "book", 500), Order("o2", "bob", "lamp", 700)]

    @shop.entry(examples=[VASE] if parts.insured else some)
    def place(env: Env, order: Order) -> None:
        env.client(server).start_workflow_by_name(
            "order",
            {"order": order.id, "item": order.item, "cents": order.cents},
            idempotency_key=order.id,
            idempotency_strategy="RETURN_EXISTING",
        )

    shop.claim(
        every_saga_settles(
            started="workflow started",
            settled=("workflow completed", "workflow failed", "workflow timed out"),
            by="saga",
        ),
        money_is_kept_for_parcels(),
    )
    if parts.insured:
        shop.claim(parcels_are_stopped_before_money_goes_back())
    return shop


shop = build()
undone_twice = build(
    Parts(workflows=with_failure_workflow, store_may_fail=True), name="undone twice"
)
insured = build(Parts(workflows=with_insurance, insured=True), name="insured")
deployed = build(
    Parts(workflows=renamed, previous=workflows, charges=("take_money", "charge")), name="deployed"
)
