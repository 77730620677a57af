"""Charge, then ship; what fails after the charge is undone. Tasks know their keys."""

from collections.abc import Callable
from typing import Any

import attrs

from chaosharness import (
    Airflow,
    AirflowDAG,
    AirflowFailException,
    AirflowTask,
    Env,
    External,
    Order,
    System,
    every_saga_settles,
)
from models.third_parties import (
    VASE,
    Bank,
    CannotDeliver,
    Courier,
    Insurer,
    NotInsurable,
    money_is_kept_for_parcels,
    parcels_are_stopped_before_money_goes_back,
)

PATIENCE: dict[str, Any] = {"retries": 6, "retry_delay_s": 10}
LONG_PATIENCE: dict[str, Any] = {
    "retries": 20, "retry_delay_s": 10, "retry_exponential_backoff": 2, "max_retry_delay_s": 600,
}  # fmt: skip
"""Of what undoes: it is tried for longer than anything is away."""


def dag(first: str = "charge") -> AirflowDAG:
    """Return the DAG, as its file has it."""
    return AirflowDAG(
        "order",
        tasks=[
            AirflowTask(first, **PATIENCE),
            AirflowTask("ship", upstream=[first], **PATIENCE),
            # A request without an answer may have been carried out: the parcel is stopped first.
            AirflowTask("recall", upstream=[first, "ship"], trigger_rule="one_failed",
                        **LONG_PATIENCE),
            AirflowTask("refund", upstream=["recall"], **LONG_PATIENCE),
            # A run ends as its leaves do: without this one, a cancelled order is a success.
            AirflowTask("cancelled", upstream=["refund"]),
        ],
    )  # fmt: skip


def with_insurance(*undoes: str) -> AirflowDAG:
    """Return the DAG with a third step, after which two are undone: the last first."""
    charge, ship, *_ = dag().tasks
    tasks = [charge, ship, AirflowTask("insure", upstream=["ship"], **PATIENCE)]
    rule: dict[str, Any] = {"trigger_rule": "one_failed"}
    before = ["charge", "ship", "insure"]
    for name in undoes or ("recall", "refund"):
        tasks.append(AirflowTask(name, upstream=before, **rule, **LONG_PATIENCE))
        before, rule = [name], {}
    return AirflowDAG("order", tasks=[*tasks, AirflowTask("cancelled", upstream=before)])


def renamed() -> AirflowDAG:
    """Return the next version, in which the first task has another name."""
    return dag("take_money")


def key_of_order(ti: Any, dag: AirflowDAG) -> str:
    """The order's id, which is the run's, too."""
    return str(ti.run_id)


def charge_by_key(money: Any, ti: Any, cents: int, key: str) -> None:
    """Take the money: asking twice under one key takes it once."""
    money.charge(key, cents)


@attrs.frozen
class Parts:
    """What a variant may replace: its DAG, its keys, how it charges, which callbacks undo."""

    dag: Callable[[], AirflowDAG] = dag
    previous: Callable[[], AirflowDAG] | None = None
    key: Callable[[Any, AirflowDAG], str] = key_of_order
    charge: Callable[[Any, Any, int, str], None] = charge_by_key
    callbacks: tuple[str, ...] = ()
    insured: bool = False


def build(parts: Parts = Parts(), *, name: str = "airflow") -> System:
    """Build the shop."""
    shop = System(name)
    before = [] if parts.previous is None else [parts.previous()]
    airflow = shop.add(Airflow("airflow", dags=[parts.dag()], previous=before))
    bank = shop.add(External("bank", Bank))
    courier = shop.add(External("courier", Courier))

    insurer = shop.add(External("insurer", Insurer, reads=("cover",))) if parts.insured else None

    @shop.service("workers", replicas=2)
    def workers(env: Env) -> None:
        money, parcels = env.client(bank), env.client(courier)

        def charge(ti: Any, dag: AirflowDAG, params: Any) -> None:
            parts.charge(money, ti, params["cents"], parts.key(ti, dag))

        def ship(ti: Any, params: Any) -> Any:
            try:
                return parcels.ship(ti.run_id, params["item"])
            except CannotDeliver as error:
                raise AirflowFailException(str(error)) from error

        cover = None if insurer is None else env.client(insurer).cover

        def insure(ti: Any, params: Any) -> Any:
            assert cover is not None
            try:
                return cover(ti.run_id, params["item"])
            except NotInsurable as error:
                raise AirflowFailException(str(error)) from error

        def recall(ti: Any) -> None:
            parcels.recall(ti.run_id)

        def refund(ti: Any, dag: AirflowDAG, params: Any) -> None:
            money.refund(parts.key(ti, dag), params["cents"])

        def cancelled(ti: Any) -> None:
            raise AirflowFailException(f"{ti.run_id} was cancelled: its money was given back")

        def refund_unless_shipped(ti: Any, dag: AirflowDAG, params: Any) -> None:
            if ti.xcom_pull("ship") is None:
                refund(ti, dag, params)
                cancelled(ti)

        def undo(context: Any) -> None:
            refund(context["ti"], context["dag"], context["params"])

        known = {"charge": charge, "take_money": charge, "ship": ship, "recall": recall,
                 "refund": refund, "cancelled": cancelled, "insure": insure,
                 "clean_up": refund_unless_shipped}  # fmt: skip
        named = {name for one in (parts.dag(), *before) for name in one.by_id}
        ran = {name: code for name, code in known.items() if name in named}
        env.tasks(airflow, ran | dict.fromkeys(parts.callbacks, undo))

    some = [Order("o1", "ann", "book", 500), Order("o2", "bob", "lamp", 700)]

    @shop.entry(examples=[VASE] if parts.insured else some)
    def place(env: Env, order: Order) -> None:
        env.client(airflow).trigger_dag_run(
            "order", dag_run_id=order.id, conf={"item": order.item, "cents": order.cents}
        )

    shop.claim(
        every_saga_settles(
            started="dag run started", settled=("dag run success", "dag run failed"), by="saga"
        ),
        money_is_kept_for_parcels(),
    )
    if parts.insured:
        shop.claim(parcels_are_stopped_before_money_goes_back())
    return shop


shop = build()
insured = build(Parts(dag=with_insurance, insured=True), name="insured")
deployed = build(Parts(dag=renamed, previous=dag), name="deployed")
