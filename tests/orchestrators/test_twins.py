"""The mistakes that people make with orchestrators, by engine: each has a twin, or cannot be made.

That twins are named at their least faults is in the tests of each engine, and here for those of
Temporal and Step Functions; that right ones are silent likewise.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is not installed")

from chaosharness import System, assumed, explore
from chaosharness.faults import Crash, Delay, Duplicate, ErrorReply, Fault, Pause, Redeploy
from models.airflow import broken as airflow
from models.airflow import right as airflow_right
from models.conductor import broken as conductor
from models.conductor import right as conductor_right
from models.saga_engine import broken as saga
from models.saga_engine import right as saga_right
from models.step_functions import broken as step_functions
from models.step_functions import right as step_functions_right
from models.temporal import broken as temporal
from models.temporal import right as temporal_right

Twin = Callable[[], System]
BROKEN: dict[str, tuple[Twin, ...]] = {
    "saga": saga.BROKEN,
    "temporal": temporal.BROKEN,
    "step functions": step_functions.BROKEN,
    "conductor": conductor.BROKEN,
    "airflow": airflow.BROKEN,
}
ENGINE_WRITES = "the engine writes before it hands out: rules T11, S1, C3, A2"
ONE_SERVER = "the engine's server holds all leases itself: rules T4, S1, C5, A2"
RAISES = "code that raises fails its step, or is asked again, and is told: rules T6, S2, C7, A4"
NO_CODE = "a definition is data, and no code is replayed: rules S1, C1, A7"

#: By mistake and engine: the twins, or why it cannot be made there.
MISTAKES: dict[str, dict[str, tuple[Twin, ...] | str]] = {
    "an answer is not recorded": {
        "saga": (saga.answer_not_recorded,),
        **dict.fromkeys(("temporal", "step functions", "conductor", "airflow"), ENGINE_WRITES),
    },
    "two orchestrators resume one saga": {
        "saga": (saga.two_orchestrators_resume,),
        **dict.fromkeys(("temporal", "step functions", "conductor", "airflow"), ONE_SERVER),
    },
    "what is unknown is undone as if it were known": {
        "saga": (saga.refunds_the_unknown,),
        "temporal": (temporal.undoes_the_unknown,),
        "step functions": (step_functions.undoes_the_unknown,),
        "conductor": (conductor.undoes_what_did_not_happen,),
        "airflow": (airflow.cleaned_up_by_xcom,),
    },
    "a branch succeeds after compensation": {
        "saga": (saga.branch_succeeds_after_compensation,),
        "temporal": (temporal.branch_succeeds_after_compensation,),
        "step functions": (step_functions.branch_succeeds_after_compensation,),
        "conductor": (conductor.response_timeout_too_short,),
        "airflow": (airflow.undone_too_soon,),
    },
    "an attempt is given up, and still runs": {
        "saga": (saga.two_orchestrators_resume,),
        "temporal": (temporal.heartbeat_timeout_while_it_runs,),
        "step functions": (step_functions.key_of_attempt,),
        "conductor": (conductor.response_timeout_too_short,),
        "airflow": (airflow.charge_once_by_xcom,),
    },
    "another key at each attempt": {
        "saga": (saga.key_of_attempt,),
        "temporal": (temporal.key_of_attempt,),
        "step functions": (
            step_functions.key_of_attempt,
            step_functions.key_drawn_in_an_express_workflow,
        ),
        "conductor": (conductor.key_of_attempt,),
        "airflow": (airflow.key_of_try,),
    },
    "a copy that is read is old": {
        **dict.fromkeys(("saga", "airflow"), "what is read is the store itself"),
        **dict.fromkeys(("temporal", "conductor"), "of their indexes; their how-to pages show it"),
        "step functions": (step_functions.starts_what_it_does_not_see,),
    },
    "code that commands something else when it is replayed": {
        "saga": (saga.decides_by_the_clock,),
        "temporal": (temporal.remembers_in_its_module, temporal.deployed_without_a_patch),
        **dict.fromkeys(("step functions", "conductor", "airflow"), NO_CODE),
    },
    "code that raises where nobody looked": {
        "saga": (saga.raises_when_it_is_refused,),
        **dict.fromkeys(("temporal", "step functions", "conductor", "airflow"), RAISES),
    },
    "what began under one version meets another": {
        "saga": (saga.list_changed_under_its_name,),
        "temporal": (temporal.deployed_without_a_patch,),
        "step functions": (step_functions.function_changed_with_its_definition,),
        "conductor": (conductor.worker_gone_with_its_task,),
        "airflow": (airflow.task_renamed_amid_a_run,),
    },
    "one of the steps is not undone": {
        "saga": (saga.compensation_forgotten,),
        "temporal": (temporal.compensation_forgotten,),
        "step functions": (step_functions.compensation_forgotten,),
        "conductor": (conductor.compensation_forgotten,),
        "airflow": (airflow.compensation_forgotten,),
    },
    "what was done first is undone first": {
        "saga": (saga.compensated_out_of_order,),
        "temporal": (temporal.compensated_out_of_order,),
        "step functions": (step_functions.compensated_out_of_order,),
        "conductor": (conductor.compensated_out_of_order,),
        "airflow": (airflow.compensated_out_of_order,),
    },
    "nothing undoes what was done": {
        "saga": "undoing is part of a step: rule N8",
        "temporal": (temporal.never_refunds,),
        "step functions": (step_functions.last_state_not_caught,),
        "conductor": (conductor.failure_workflow_lost, conductor.failure_workflow_absent),
        "airflow": (airflow.refund_in_callback, airflow.failure_hidden_by_last_task),
    },
    "a retry that does not see a timeout": {
        "step functions": (step_functions.timeout_not_retried,),
        **dict.fromkeys(("saga", "temporal", "conductor", "airflow"), "timeouts are attempts too"),
    },
}


def test_each_mistake_has_a_twin_on_each_engine_or_cannot_be_made() -> None:
    for mistake, by_engine in MISTAKES.items():
        assert set(by_engine) == set(BROKEN), mistake
        for engine, twins in by_engine.items():
            for twin in () if isinstance(twins, str) else twins:
                assert twin in BROKEN[engine], f"{mistake}, {engine}"


def test_each_twin_is_of_some_mistake() -> None:
    for engine, twins in BROKEN.items():
        told = {one for row in MISTAKES.values() if not isinstance(row[engine], str)
                for one in row[engine]}  # fmt: skip
        assert told == set(twins), engine


# ---- those of Temporal and Step Functions that their own tests do not have

NAMED: list[tuple[Twin, int, tuple[type[Fault], ...], int, str, str]] = [
    (saga.decides_by_the_clock, 0, (ErrorReply,), 1, "", ""),
    (temporal.undoes_the_unknown, 0, (Delay,), 1, "effect lost", "courier.ship"),
    (temporal.branch_succeeds_after_compensation, 1, (Delay,), 1, "half done", "bank.charge"),
    (temporal.heartbeat_timeout_while_it_runs, 0, (Delay,), 1, "effect twice", "bank.charge"),
    (temporal.remembers_in_its_module, 0, (Pause,), 1, "", ""),
    (temporal.deployed_without_a_patch, 0, (Redeploy,), 1, "", ""),
    (step_functions.undoes_the_unknown, 0, (Delay,), 1, "effect lost", "courier.ship"),
    (conductor.worker_gone_with_its_task, 0, (Redeploy,), 1, "", ""),
    (step_functions.starts_what_it_does_not_see, 0, (Delay,), 1, "effect twice", "bank.charge"),
    (step_functions.key_drawn_in_an_express_workflow, 0, (Duplicate,), 1, "effect twice",
     "bank.charge"),
    (step_functions.branch_succeeds_after_compensation, 1, (Delay,), 1, "half done",
     "bank.charge"),
]  # fmt: skip


@pytest.mark.parametrize(("twin", "item", "kinds", "faults", "kind", "place"), NAMED)
def test_each_is_named_at_its_least_faults_with_nothing_claimed(
    twin: Twin, item: int, kinds: tuple[type[Fault], ...], faults: int, kind: str, place: str
) -> None:
    shop = twin()
    campaign = explore(
        shop, properties=assumed(shop), items=[shop.examples[item]], kinds=kinds,
        faults_max=faults, runs_max=400, stop_at_first=not kind,
    )  # fmt: skip
    named = {
        (found.kind, found.place): len(one.schedule)
        for one in campaign.counterexamples
        for found in one.findings
    }
    assert named[kind, place] == faults


NOT_UNDONE: list[tuple[Twin, str, str]] = [
    (saga.compensation_forgotten, "bank.charge", "question"),
    (temporal.compensation_forgotten, "courier.ship", "question"),
    (step_functions.compensation_forgotten, "courier.ship", "half done"),
    (conductor.compensation_forgotten, "courier.ship", "half done"),
    (airflow.compensation_forgotten, "courier.ship", "half done"),
]


@pytest.mark.parametrize(("twin", "place", "kind"), NOT_UNDONE)
def test_a_step_that_is_not_undone_is_told_without_faults_and_with_nothing_claimed(
    twin: Twin, place: str, kind: str
) -> None:
    shop = twin()
    campaign = explore(shop, properties=assumed(shop), faults_max=0)
    if kind == "question":
        [asked] = campaign.questions
        assert place in str(asked) and "already without faults" in str(asked)
        assert campaign.counterexamples == ()
    else:
        first = campaign.counterexamples[0]
        assert (first.findings[0].kind, first.findings[0].place) == (kind, place)
    assert explore(shop, faults_max=0).counterexamples, "by its claims it is a finding"


OUT_OF_ORDER = [engine.compensated_out_of_order
                for engine in (saga, temporal, step_functions, conductor, airflow)]  # fmt: skip


@pytest.mark.parametrize("twin", OUT_OF_ORDER)
def test_what_is_undone_in_the_order_in_which_it_was_done_breaks_its_claim(twin: Twin) -> None:
    """In which order, only its user knows: with nothing claimed there is nothing to say."""
    [found] = explore(twin(), faults_max=0).counterexamples
    assert found.property == "compensation in reverse order"
    assert len(found.schedule) == 0


@pytest.mark.parametrize("engine", [temporal_right, step_functions_right, conductor_right,
                                    airflow_right])  # fmt: skip
def test_what_is_undone_in_reverse_is_silent(engine: Any) -> None:
    for properties in (assumed(engine.insured), None):
        campaign = explore(engine.insured, properties=properties, faults_max=1, runs_max=80)
        assert campaign.counterexamples == ()
        assert campaign.questions == ()


def test_a_list_that_is_changed_under_its_name_stops_what_has_begun() -> None:
    shop = saga.list_changed_under_its_name()
    campaign = explore(shop, properties=assumed(shop), faults_max=2, kinds=(Redeploy, Crash),
                       runs_max=200, stop_at_first=True)  # fmt: skip
    [found] = campaign.counterexamples
    assert "'stamp' comes before 'ship' now, which its journal has" in found.findings[0].summary
    assert [type(one) for one in found.schedule] == [Redeploy, Crash]


def test_one_that_has_another_name_does_not() -> None:
    shop = saga_right.deployed
    campaign = explore(shop, properties=assumed(shop), faults_max=2, kinds=(Redeploy, Crash),
                       runs_max=200)  # fmt: skip
    assert campaign.counterexamples == ()


def test_a_saga_whose_code_raises_is_stuck_without_any_fault() -> None:
    shop = saga.raises_when_it_is_refused()
    [found] = explore(shop, properties=assumed(shop), faults_max=0).counterexamples
    assert found.property == "never stuck"
    assert "its code raised KeyError: 'other_courier' at models" in found.findings[0].summary


RIGHT: list[Any] = [
    pytest.param(lambda: conductor_right.deployed, (Redeploy, Crash), 1,
                 id="conductor, polled for under both names"),
    pytest.param(lambda: temporal_right.build(saga=temporal_right.SideBySide), (Delay, Crash), 1,
                 id="temporal, side by side"),
    pytest.param(lambda: temporal_right.build(saga=temporal._LooksFirst), (Delay, Pause), 1,
                 id="temporal, looks first and knows its key"),
    pytest.param(
        lambda: temporal_right.build(
            saga=temporal_right.ThinksFirst, previous=temporal_right.OrderSaga
        ),
        (Redeploy, Crash), 1, id="temporal, patched"),
    pytest.param(lambda: step_functions_right.express, (Duplicate, Delay), 1,
                 id="step functions, express, the order's own key"),
    pytest.param(
        lambda: step_functions_right.build(
            step_functions_right.Parts(definition=step_functions_right.side_by_side)
        ),
        (Delay, Crash), 1, id="step functions, side by side"),
]  # fmt: skip


@pytest.mark.parametrize(("build", "kinds", "faults"), RIGHT)
def test_their_right_twins_are_silent(
    build: Twin, kinds: tuple[type[Fault], ...], faults: int
) -> None:
    shop = build()
    campaign = explore(shop, properties=assumed(shop), items=shop.examples, kinds=kinds,
                       faults_max=faults, runs_max=200)  # fmt: skip
    assert campaign.counterexamples == ()
    assert campaign.coverage.levels[1].tried > 5


def test_the_page_has_the_table() -> None:
    page = Path(__file__).parents[2] / "docs" / "explanation" / "orchestrators.md"
    text = page.read_text("utf-8")
    for mistake, by_engine in MISTAKES.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| {mistake} |"))
        for twins in by_engine.values():
            for twin in () if isinstance(twins, str) else twins:
                assert twin.__name__ in row
