"""The hybrid with each engine as its critical path: charge, ship, say so once; a mailer listens.

chaosharness run models.hybrid.engines:on_step_functions

Right, nothing that befalls the mailer is felt by an order. There are three ways in which it is, on
each engine: the order waits for its mail (`delays`), is undone without it (`fails`), or is charged
once more since its mail is asked for in the step that charges (`repeats`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, Literal

import attrs
from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from chaosharness import (
    Airflow,
    AirflowDAG,
    AirflowTask,
    Conductor,
    Env,
    External,
    Orchestrator,
    Order,
    Queue,
    RabbitMQ,
    Refused,
    Retry,
    Saga,
    SagaStore,
    Step,
    StepFunctions,
    System,
    Temporal,
)
from models.hybrid.side import AlreadySent, MailService
from models.third_parties import Bank, Courier

Given = dict[str, Any]
Mistake = Literal["", "delays", "fails", "repeats"]
ORDER = Order("o1", "ann", "book", 500)
COMPLETED = "completed"
TRIES = 20
FLOWS: dict[Mistake, tuple[str, ...]] = {
    "": ("charge", "ship", "announce"),
    "delays": ("charge", "thank", "ship", "announce"),
    "fails": ("charge", "thank", "ship", "announce"),
    "repeats": ("charge", "ship", "announce"),
}
"""The steps of an order. Where a mail `fails`, it is asked for once, and then `refund` is next."""


@attrs.frozen
class Parts:
    """Who takes part, and what is wrong."""

    bank: Any
    courier: Any
    bus: Any
    wrong: Mistake

    @property
    def flow(self) -> tuple[str, ...]:
        """The steps, in order."""
        return FLOWS[self.wrong]

    def tries(self, step: str) -> int:
        """How often a step is tried."""
        return 1 if self.wrong == "fails" and step == "thank" else TRIES

    def steps(self, env: Env) -> dict[str, Callable[[Given, Any], Any]]:
        """What is done at each step: `step(order, attempt)`."""
        money, parcels, publish = (
            env.client(self.bank),
            env.client(self.courier),
            env.publisher(self.bus),
        )
        again = self.wrong == "repeats"

        def charge(order: Given, attempt: int) -> None:
            money.charge(f"{order['id']} {attempt}" if again else order["id"], order["cents"])
            if again:
                env.call("mailer", "thank", order["id"])

        def announce(order: Given, attempt: int) -> None:
            publish(COMPLETED, order, key=order["id"])

        return {
            "charge": charge,
            "thank": lambda order, attempt: env.call("mailer", "thank", order["id"]),
            "ship": lambda order, attempt: parcels.ship(order["id"], order["item"]),
            "announce": announce,
            "refund": lambda order, attempt: money.refund(order["id"], order["cents"]),
        }


Add = Callable[[System, Parts], Callable[[Env, Given], Any]]
"""Adds an engine with its workers to a system; returns what starts an order, and is awaited."""


# ---- the engines


def add_saga(shop: System, parts: Parts) -> Callable[[Env, Given], Any]:
    """An orchestrator of one's own, in the service that starts orders."""
    store = shop.add(SagaStore("engine"))
    patient = Retry(times=TRIES)

    def step(name: str) -> Step:
        undo = "refund" if name == "charge" else None
        return Step(name, undo=undo, retry=patient)

    saga = Saga("order", *map(step, parts.flow))

    @shop.service("orders")
    def orders(env: Env) -> None:
        def calls() -> dict[str, Any]:
            return {name: _of_command(name, do, parts) for name, do in parts.steps(env).items()}

        def sagas() -> Orchestrator:
            return Orchestrator(saga, env.connect(store), now_ms=env.now_ms, sleep=env.sleep,
                                calls=calls(), not_happened=(ConnectionError,))  # fmt: skip

        on_order = sagas()
        env.consume(parts.bus, "orders", lambda order: on_order.start(order["id"], order))
        env.main(sagas().run)

    return lambda env, order: env.publisher(parts.bus)("orders", order, key=order["id"])


def _of_command(name: str, do: Callable[..., Any], parts: Parts) -> Callable[[Any], None]:
    def call(command: Any) -> None:
        try:
            do(command.input, command.attempt)
        except Exception as error:
            if parts.tries(name) == 1:
                raise Refused(str(error)) from error
            raise

    return call


def add_step_functions(shop: System, parts: Parts) -> Callable[[Env, Given], Any]:
    """A state machine; the functions are one service."""
    names = (*parts.flow, "refund") if parts.wrong == "fails" else parts.flow
    states: dict[str, Any] = {}
    retry = [{"ErrorEquals": ["States.ALL"], "MaxAttempts": TRIES, "MaxDelaySeconds": 600}]
    for name, after in zip(names, (*parts.flow[1:], None, None), strict=False):
        then = {"Next": after} if after else {"End": True}
        states[name] = {"Type": "Task", "Resource": name, "ResultPath": None,
                        "TimeoutSeconds": 30, "Retry": retry, **then}  # fmt: skip
        if parts.tries(name) == 1:
            del states[name]["Retry"]
            states[name]["Catch"] = [{"ErrorEquals": ["States.ALL"], "Next": "refund",
                                      "ResultPath": None}]  # fmt: skip
    definition = {"StartAt": parts.flow[0], "States": states}
    engine = shop.add(StepFunctions("engine", machines={"order": definition}))

    @shop.service("orders")
    def orders(env: Env) -> None:
        for name, do in parts.steps(env).items():
            if name in names:
                env.function(engine, name, _of_event(do))

    def start(env: Env, order: Given) -> Any:
        given = json.dumps(order)
        return env.client(engine).start_execution(
            stateMachineArn="order", name=order["id"], input=given
        )

    return start


def _of_event(do: Callable[..., Any]) -> Callable[[Any, Any], None]:
    def handler(event: Any, context: Any) -> None:
        do(event, context.aws_request_id)

    return handler


@workflow.defn(name="Order")
class OrderFlow:
    """The steps in order; where the one that is tried once fails, the refund is the last."""

    @workflow.run
    async def run(self, order: Given, steps: list[tuple[str, int]]) -> str:
        for name, tries in steps:
            try:
                await workflow.execute_activity(
                    name, order, start_to_close_timeout=timedelta(seconds=30),
                    retry_policy=RetryPolicy(maximum_attempts=tries),
                )  # fmt: skip
            except ActivityError:
                await workflow.execute_activity(
                    "refund", order, start_to_close_timeout=timedelta(seconds=30)
                )
                return "cancelled"
        return "shipped"


def add_temporal(shop: System, parts: Parts) -> Callable[[Env, Given], Any]:
    """A workflow and its activities, which are plain functions."""
    engine = shop.add(Temporal("engine"))

    @shop.service("orders")
    def orders(env: Env) -> None:
        activities = [_as_activity(name, do) for name, do in parts.steps(env).items()]
        env.worker(engine, task_queue="orders", workflows=[OrderFlow], activities=activities)

    def start(env: Env, order: Given) -> Any:
        steps = [(name, int(parts.tries(name) == 1)) for name in parts.flow]  # 0: until it works
        return env.client(engine).start_workflow(
            "Order", args=[order, steps], id=order["id"], task_queue="orders"
        )

    return start


def _as_activity(name: str, do: Callable[..., Any]) -> Callable[..., Any]:
    @activity.defn(name=name)
    def one(order: Given) -> None:
        do(order, activity.info().attempt)

    return one


def add_conductor(shop: System, parts: Parts) -> Callable[[Env, Given], Any]:
    """A workflow of SIMPLE tasks, polled for by one service."""
    names = (*parts.flow, "refund") if parts.wrong == "fails" else parts.flow
    tasks: list[dict[str, Any]] = []
    last = tasks
    for name in parts.flow:
        once = parts.tries(name) == 1
        last.append(_simple(name, optional=once))
        if once:
            rest: list[dict[str, Any]] = []
            ended = {"status": f"${{{name}.status}}"}
            last.append({
                "name": "ended", "taskReferenceName": "ended", "type": "SWITCH",
                "evaluatorType": "value-param", "expression": "status", "inputParameters": ended,
                "decisionCases": {"COMPLETED": rest}, "defaultCase": [_simple("refund")],
            })  # fmt: skip
            last = rest
    definitions = [
        {"name": name, "retryCount": parts.tries(name) - 1, "retryDelaySeconds": 2,
         "retryLogic": "EXPONENTIAL_BACKOFF", "maxRetryDelaySeconds": 600,
         "responseTimeoutSeconds": 30, "timeoutPolicy": "RETRY"}
        for name in names
    ]  # fmt: skip
    engine = shop.add(
        Conductor("engine", workflows=[{"name": "order", "tasks": tasks}], tasks=definitions)
    )

    @shop.service("orders")
    def orders(env: Env) -> None:
        for name, do in parts.steps(env).items():
            if name in names:
                env.task_worker(engine, _of_task(do), name=name)

    def start(env: Env, order: Given) -> Any:
        return env.client(engine).start_workflow_by_name(
            "order", {"order": order}, idempotency_key=order["id"],
            idempotency_strategy="RETURN_EXISTING",
        )  # fmt: skip

    return start


def _simple(name: str, **more: Any) -> dict[str, Any]:
    given = {"order": "${workflow.input.order}", "task": "${CPEWF_TASK_ID}"}
    return {"name": name, "taskReferenceName": name, "type": "SIMPLE", "inputParameters": given,
            **more}  # fmt: skip


def _of_task(do: Callable[..., Any]) -> Callable[..., Any]:
    def one(order: Given, task: str) -> None:
        do(order, task)

    return one


def add_airflow(shop: System, parts: Parts) -> Callable[[Env, Given], Any]:
    """A DAG, each task after the one before."""
    tasks, before = [], ""
    for name in parts.flow:
        tries: Given = {"retries": parts.tries(name) - 1, "retry_delay_s": 10}
        tasks.append(AirflowTask(name, upstream=[before] if before else [], **tries))
        before = name
    if parts.wrong == "fails":
        tasks.append(AirflowTask("refund", upstream=["thank"], trigger_rule="one_failed",
                                 retries=TRIES, retry_delay_s=10))  # fmt: skip
    engine = shop.add(Airflow("engine", dags=[AirflowDAG("order", tasks=tasks)]))
    named = {one.task_id for one in tasks}

    @shop.service("orders", replicas=2)
    def orders(env: Env) -> None:
        steps = parts.steps(env)
        env.tasks(engine, {name: _of_try(do) for name, do in steps.items() if name in named})

    def start(env: Env, order: Given) -> Any:
        return env.client(engine).trigger_dag_run("order", dag_run_id=order["id"], conf=order)

    return start


def _of_try(do: Callable[..., Any]) -> Callable[..., Any]:
    def one(ti: Any, params: Any) -> None:
        do({name: params[name] for name in ("id", "item", "cents")}, ti.try_number)

    return one


ENGINES: dict[str, Add] = {
    "saga": add_saga,
    "step functions": add_step_functions,
    "temporal": add_temporal,
    "conductor": add_conductor,
    "airflow": add_airflow,
}


# ---- the shop


def build(engine: str, wrong: Mistake = "") -> System:
    """Build the shop on one of `ENGINES`; right, or with one mistake."""
    shop = System(f"hybrid on {engine}{' that ' * bool(wrong)}{wrong}")
    kept = Queue("quorum", dead_letter="parked")
    queues = {"orders": kept, COMPLETED: kept, "parked": Queue("quorum")}
    bus = shop.add(RabbitMQ("bus", queues=queues))
    bank, courier = shop.add(External("bank", Bank)), shop.add(External("courier", Courier))
    mails = shop.add(External("mails", MailService))
    start = ENGINES[engine](shop, Parts(bank, courier, bus, wrong))

    @shop.service("mailer")
    def mailer(env: Env) -> None:
        client = env.client(mails)

        def thank(id: str) -> None:
            with suppress(AlreadySent):
                client.send(id, "It is on its way", f"{id} thanks")

        env.serve("thank", thank)
        env.consume(bus, COMPLETED, lambda order: thank(order["id"]))

    @shop.entry(examples=[ORDER])
    async def place(env: Env, order: Order) -> None:
        await start(env, {"id": order.id, "item": order.item, "cents": order.cents})

    shop.critical_path("orders", "engine", bank, courier)
    return shop


on_saga, on_step_functions, on_temporal, on_conductor, on_airflow = map(build, ENGINES)
