"""Workflows that keep no rows: how they ended is noted by their engine, and is their word."""

from typing import Any

import pytest

from chaosharness import (
    Airflow,
    AirflowDAG,
    AirflowFailException,
    AirflowTask,
    Env,
    External,
    LostReply,
    NetworkPartition,
    Redeploy,
    System,
    assumed,
    explore,
)
from models.third_parties import Bank


class Mailer:
    """Sends a mail, and nobody gets it back."""

    def __init__(self) -> None:
        self.sent: set[str] = set()

    def tell(self, order: str) -> Any:
        if order in self.sent:
            return External.unchanged(order)
        self.sent.add(order)
        return order


class Courier(Mailer):
    """The same with parcels, which it stops when it is asked to."""

    def recall(self, order: str) -> Any:
        if order not in self.sent:
            return External.unchanged(order)
        self.sent.discard(order)
        return order


PATIENCE: dict[str, Any] = {"retries": 20, "retry_delay_s": 10, "retry_exponential_backoff": 2,
                            "max_retry_delay_s": 600}  # fmt: skip


def shop(
    party: type[Mailer], *, recalls: bool = False, apart: bool = False, undoes: bool = True
) -> System:
    """Charges, tells somebody, and refunds what nobody seems to have been told of.

    Args:
        party: Who is told.
        recalls: Whether that is taken back first.
        undoes: Whether anything is done after a failure at all.
        apart: Whether a version of the DAG before this one says otherwise how it ends.
    """
    system = System("no rows")
    last = AirflowTask("clean_up", upstream=["tell"], trigger_rule="all_done", **PATIENCE)
    tasks = [AirflowTask("charge", **PATIENCE), AirflowTask("tell", upstream=["charge"]), last]
    if not undoes:
        tasks.pop()
    before = [AirflowDAG("order", tasks=tasks[:2])] if apart else []
    airflow = system.add(Airflow("airflow", dags=[AirflowDAG("order", tasks=tasks)],
                                 previous=before))  # fmt: skip
    bank, other = system.add(External("bank", Bank)), system.add(External("other", party))

    @system.service("workers")
    def workers(env: Env) -> None:
        money, told = env.client(bank), env.client(other)

        def charge(ti: Any) -> None:
            money.charge(ti.run_id, 500)

        def tell(ti: Any) -> Any:
            return told.tell(ti.run_id)

        def clean_up(ti: Any) -> None:
            if ti.xcom_pull("tell") is None:
                if recalls:
                    told.recall(ti.run_id)
                money.refund(ti.run_id, 500)
                raise AirflowFailException("given back")
            if apart:
                money.charge(f"{ti.run_id}-tip", 1)

        code = {"charge": charge, "tell": tell, "clean_up": clean_up}
        env.tasks(airflow, {task.task_id: code[task.task_id] for task in tasks})

    @system.entry(examples=["o1"])
    def place(env: Env, order: str) -> None:
        env.client(airflow).trigger_dag_run("order", dag_run_id=order)

    return system


UNHEARD = (LostReply, NetworkPartition)


def found(system: System, *kinds: Any) -> list[tuple[str, str]]:
    campaign = explore(system, properties=assumed(system), kinds=kinds, faults_max=1)
    assert any(one.name == "idempotent" and one.tested for one in campaign.standings)
    return [(one.findings[0].kind, one.findings[0].place) for one in campaign.counterexamples]


def test_a_parcel_that_could_be_recalled_and_is_not_stands() -> None:
    assert found(shop(Courier), *UNHEARD) == [("half done", "other.tell")]


@pytest.mark.parametrize(
    "right", [pytest.param(lambda: shop(Mailer), id="a mail"),
              pytest.param(lambda: shop(Courier, recalls=True), id="recalled")]
)  # fmt: skip
def test_a_mail_and_a_parcel_that_was_recalled_are_nothing(right: Any) -> None:
    assert found(right(), *UNHEARD) == []


def test_money_in_a_workflow_that_failed_and_took_nothing_back_is_asked_about() -> None:
    """Somebody may see to it: whoever looks at the engine's screens sees that it failed."""
    campaign = explore(shop(Courier, undoes=False), kinds=UNHEARD, faults_max=1)
    assert campaign.counterexamples == ()
    assert {one.place for one in campaign.questions} >= {"bank.charge"}


def test_two_versions_that_come_to_something_else_are_not_compared() -> None:
    """The one before takes no tip, so that a run under either may end without."""
    system = shop(Courier, recalls=True, apart=True)
    campaign = explore(system, properties=assumed(system), kinds=[Redeploy], faults_max=1)
    assert campaign.counterexamples == ()
    assert campaign.coverage.levels[1].tried
    [idempotent] = [one for one in campaign.standings if one.name == "idempotent"]
    assert not idempotent.tested
