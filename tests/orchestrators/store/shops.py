"""One business on each engine: an order comes over a queue, and its workflow charges it.

`desk` starts the workflow, and what it starts again under the order's id is the one that there is,
where the engine says so. Then it asks how the workflow stands, and notes it.
"""

import json
from datetime import timedelta
from typing import Any

import temporalio.exceptions
from temporalio import activity, workflow

from chaosharness import (
    Airflow,
    AirflowDAG,
    AirflowTask,
    Conductor,
    Env,
    Gateway,
    Queue,
    RabbitMQ,
    StepFunctions,
    System,
    Temporal,
)
from models.saga_engine import right as saga

LOOK_S = 40
RESPONSE_S = 20
TIMEOUT_S = 20


def _over_a_queue(name: str, engine: Any, begin: Any, look: Any) -> tuple[System, Any, Any]:
    """A system in which `desk` takes orders from a queue, and begins a workflow for each."""
    system = System(name)
    server = system.add(engine)
    rabbit = system.add(RabbitMQ("rabbit", queues={"orders": Queue("quorum", dead_letter="dead"),
                                                   "dead": Queue("quorum")}))  # fmt: skip
    bank = system.add(Gateway("bank"))

    @system.service("desk")
    def desk(env: Env) -> None:
        client = env.client(server)

        async def on_order(order: dict[str, Any]) -> None:
            await begin(client, order["id"])
            await env.sleep(LOOK_S)
            env.note("seen", status=await look(client, order["id"]))

        env.consume(rabbit, "orders", on_order)

    @system.entry(examples=["o1"])
    def place(env: Env, order: str) -> None:
        env.publisher(rabbit)("orders", {"id": order})

    return system, server, bank


@workflow.defn(name="Order")
class OneCharge:
    """Charges, and ends with how many signals had come by then."""

    def __init__(self) -> None:
        self.signals = 0

    @workflow.signal
    def hurry(self) -> None:
        self.signals += 1

    @workflow.run
    async def run(self, id: str) -> int:
        await workflow.execute_activity(
            "charge", id, start_to_close_timeout=timedelta(seconds=TIMEOUT_S)
        )
        return self.signals


def temporal() -> System:
    """The workflow is started and looked for as users do: the look is at an index."""

    async def begin(client: Any, id: str) -> None:
        try:
            await client.start_workflow("Order", id, id=id, task_queue="q")
        except temporalio.exceptions.WorkflowAlreadyStartedError:
            return

    async def look(client: Any, id: str) -> Any:
        found = [one async for one in client.list_workflows(f"WorkflowId = '{id}'")]
        return found[0].status.name if found else "not there"

    system, server, bank = _over_a_queue("temporal", Temporal("engine"), begin, look)

    @system.service("workers")
    def workers(env: Env) -> None:
        money = env.client(bank)

        @activity.defn(name="charge")
        async def charge(id: str) -> None:
            await money.charge(id, 500)

        env.worker(server, task_queue="q", workflows=[OneCharge], activities=[charge])

    return system


def temporal_with_signal(*, after_s: float = 2) -> System:
    """A signal comes so long after the start, whatever the workflow does then."""
    system = System("signals")
    server = system.add(Temporal("engine"))

    @system.service("workers")
    def workers(env: Env) -> None:
        @activity.defn(name="charge")
        async def charge(id: str) -> None: ...

        env.worker(server, task_queue="q", workflows=[OneCharge], activities=[charge])

    @system.entry(examples=["o1"])
    async def place(env: Env, order: str) -> None:
        handle = await env.client(server).start_workflow("Order", order, id=order, task_queue="q")
        await env.sleep(after_s)
        try:
            await handle.signal("hurry")
        except temporalio.service.RPCError:
            env.note("signal", refused=True)

    return system


CHARGE = {"Type": "Task", "Resource": "charge", "TimeoutSeconds": TIMEOUT_S, "End": True,
          "Retry": [{"ErrorEquals": ["States.ALL"], "MaxAttempts": 5}]}  # fmt: skip


def step_functions(*, express: bool = False) -> System:
    """The execution has the order's name, and is described later."""

    async def begin(client: Any, id: str) -> None:
        try:
            words = json.dumps({"id": id})
            await client.start_execution(stateMachineArn="order", name=id, input=words)
        except Exception as error:
            if type(error).__name__ != "ExecutionAlreadyExists":
                raise

    async def look(client: Any, id: str) -> Any:
        if express:
            return "nobody can ask"
        try:
            return (await client.describe_execution(executionArn=f"order:{id}"))["status"]
        except Exception as error:
            return type(error).__name__

    machine = {"StartAt": "Charge", "States": {"Charge": CHARGE}}
    engine = StepFunctions(
        "engine", machines={"order": machine}, express=["order"] if express else []
    )
    system, server, bank = _over_a_queue("step functions", engine, begin, look)

    @system.service("workers")
    def workers(env: Env) -> None:
        money = env.client(bank)

        def charge(event: Any, context: Any) -> None:
            money.charge(event["id"], 500, key=context.aws_request_id)

        env.function(server, "charge", charge)

    return system


def step_functions_with_token() -> System:
    """A state waits for its token, which comes back over a queue, as often as its message comes."""
    system = System("tokens")
    state = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
             "Parameters": {"FunctionName": "ask", "Payload": {"token.$": "$$.Task.Token"}},
             "End": True}  # fmt: skip
    engine = StepFunctions("engine", machines={"m": {"StartAt": "Ask", "States": {"Ask": state}}})
    server = system.add(engine)
    rabbit = system.add(RabbitMQ("rabbit", queues=["answers"]))

    @system.service("workers")
    def workers(env: Env) -> None:
        publish = env.publisher(rabbit)

        def ask(event: Any, context: Any) -> None:
            publish("answers", {"token": event["token"]})

        env.function(server, "ask", ask)

    @system.service("desk")
    def desk(env: Env) -> None:
        client = env.client(server)

        def on_answer(answer: dict[str, Any]) -> None:
            try:
                client.send_task_success(taskToken=answer["token"], output="{}")
            except TimeoutError:
                raise
            except Exception as error:
                env.note("refused", error=type(error).__name__)

        env.consume(rabbit, "answers", on_answer)

    @system.entry(examples=["o1"])
    def place(env: Env, order: str) -> None:
        env.client(server).start_execution(stateMachineArn="m", name=order, input="{}")

    return system


def conductor(*, store_may_fail: bool = False) -> System:
    """Without an idempotency key each start is another workflow."""

    async def begin(client: Any, id: str) -> None:
        await client.start_workflow_by_name("order", {"id": id}, correlationId=id)

    async def look(client: Any, id: str) -> Any:
        found = await client.search(query=f"correlationId = {id}")
        return [one["status"] for one in found["results"]]

    flow = {"name": "order", "tasks": [{"name": "charge", "taskReferenceName": "charge",
            "type": "SIMPLE", "inputParameters": {"id": "${workflow.input.id}"}}],
            "failureWorkflow": "undo"}  # fmt: skip
    undo = {"name": "undo", "tasks": [{"name": "refund", "taskReferenceName": "refund",
                                       "type": "SIMPLE"}]}  # fmt: skip
    rules = {"responseTimeoutSeconds": RESPONSE_S, "timeoutPolicy": "RETRY", "timeoutSeconds": 0,
             "retryCount": 3, "retryDelaySeconds": 1}  # fmt: skip
    engine = Conductor(
        "engine", workflows=[flow, undo], store_may_fail=store_may_fail,
        tasks=[{"name": "charge", **rules}, {"name": "refund", **rules}],
    )  # fmt: skip
    system, server, bank = _over_a_queue("conductor", engine, begin, look)

    @system.service("workers")
    def workers(env: Env) -> None:
        money = env.client(bank)

        def charge(id: str) -> None:
            money.charge(id, 500)

        def refund() -> None: ...

        env.task_worker(server, charge)
        env.task_worker(server, refund)

    return system


def airflow(*, slow_s: float = 0) -> System:
    """The run has the order's id; the task has an XCom, and takes `slow_s`."""

    async def begin(client: Any, id: str) -> None:
        try:
            await client.trigger_dag_run("order", dag_run_id=id, conf={})
        except Exception as error:
            if getattr(error, "status", None) != 409:
                raise

    async def look(client: Any, id: str) -> Any:
        return (await client.get_dag_run("order", id))["state"]

    dag = AirflowDAG("order", tasks=[AirflowTask("charge", retries=3, retry_delay_s=10)])
    system, server, bank = _over_a_queue("airflow", Airflow("engine", dags=[dag]), begin, look)

    @system.service("workers")
    def workers(env: Env) -> None:
        money = env.client(bank)

        def charge(ti: Any) -> str:
            money.charge(ti.run_id, 500, key=f"{ti.run_id} {ti.try_number}")
            env.sleep(slow_s)
            return "receipt"

        env.tasks(server, {"charge": charge})

    return system


SHOPS = {
    "saga": saga.build,
    "temporal": temporal,
    "step functions": step_functions,
    "conductor": conductor,
    "airflow": airflow,
}
