"""The steps of orchestrated workflows in their order: read from definitions, seen in runs."""

import json
from importlib import import_module

import pytest
from click.testing import CliRunner

from chaosharness import Fallback, Orchestrator, Parallel, Saga, SagaStore, Step, System
from chaosharness.cli.graph import graph
from chaosharness.orchestrators.conductor.reading import read_blueprint
from chaosharness.orchestrators.conductor.shape import steps_of as of_blueprint
from chaosharness.orchestrators.durablefunctions.shape import steps_of as of_executions
from chaosharness.orchestrators.saga.shape import steps_of as of_saga
from chaosharness.orchestrators.shape import Move, StepGraph
from chaosharness.orchestrators.stepfunctions.definition import read_definition
from chaosharness.orchestrators.stepfunctions.shape import steps_of as of_machine
from chaosharness.orchestrators.temporal.shape import steps_of as of_workflows
from chaosharness.system.wiring.shapes import step_graphs


def lines(found: StepGraph) -> list[str]:
    return [one.strip() for one in found.text().splitlines()[1:]]


def test_a_saga_has_its_compensations_fallbacks_and_branches() -> None:
    saga = Saga(
        "order",
        Step("charge", undo="refund", fallback=Fallback("charge_other", undo="refund_other")),
        Parallel(Step("ship"), [Step("bill"), Step("mail")]),
    )
    assert lines(of_saga(saga, [])) == [
        "(begin) → charge",
        "charge is undone by refund",
        "charge → charge_other  where it is known not to have happened",
        "charge_other is undone by refund_other",
        "charge → ship",
        "charge → bill",
        "bill → mail",
        "ship → (end)",
        "mail → (end)",
    ]


def test_states_have_choices_catchers_and_branches() -> None:
    inner = {"StartAt": "A", "States": {"A": {"Type": "Pass", "End": True}}}
    source = {
        "StartAt": "Which",
        "States": {
            "Which": {
                "Type": "Choice",
                "Choices": [{"Variable": "$.cents", "NumericGreaterThan": 5, "Next": "Both"}],
                "Default": "No",
            },
            "Both": {
                "Type": "Parallel",
                "Branches": [inner],
                "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "No"}],
                "End": True,
            },
            "No": {"Type": "Fail"},
        },
    }
    assert lines(of_machine("m", read_definition(source, name="m"))) == [
        "(begin) → Which",
        "Which → Both  where $.cents NumericGreaterThan 5",
        "Which → No  where nothing else holds",
        "Both → A  where beside",
        "A → Both, done",
        "Both, done → (end)",
        "Both → No  where it fails with States.ALL",
        "No → (end)",
    ]


def test_conductor_has_forks_switches_loops_and_what_comes_after_a_failure() -> None:
    def simple(name: str) -> dict[str, object]:
        return {"name": name, "taskReferenceName": name, "type": "SIMPLE"}

    source = {
        "name": "w",
        "failureWorkflow": "undo",
        "tasks": [
            {"name": "f", "taskReferenceName": "f", "type": "FORK_JOIN",
             "forkTasks": [[simple("a")], [simple("b")]]},
            {"name": "j", "taskReferenceName": "j", "type": "JOIN", "joinOn": ["a", "b"]},
            {"name": "d", "taskReferenceName": "d", "type": "DO_WHILE", "loopOver": [simple("c")],
             "loopCondition": "$.c['again'] == true"},
        ],
    }  # fmt: skip
    assert lines(of_blueprint(read_blueprint(source, name="w", task_defs=lambda name: None))) == [
        "(begin) → f",
        "f → a  where beside",
        "f → b  where beside",
        "a → j",
        "b → j",
        "j → d",
        "d → c",
        "c → d  where again",
        "d → (end)",
        "(end) is undone by undo (it has failed)",
    ]


@pytest.mark.parametrize(
    ("module", "engine", "wanted"),
    [
        ("saga_engine", "saga", {"charge → reserve", "ship is undone by recall"}),
        ("airflow", "Airflow", {"charge → ship", "ship → recall  where one_failed"}),
        ("temporal", "Temporal", {"(begin) → charge", "charge → ship"}),
    ],
)
def test_a_system_shows_its_workflows(module: str, engine: str, wanted: set[str]) -> None:
    if module == "temporal":
        pytest.importorskip("temporalio")
    right = import_module(f"models.{module}.right")
    system = (getattr(right, "build", None) or right.order_by_calls)()
    [found] = step_graphs(system)
    assert found.engine == engine and wanted <= set(lines(found))


def test_a_durable_function_is_shown_as_its_run_went() -> None:
    def operation(id: str, kind: str, name: str, parent: str | None = None, **more: str) -> object:
        return {"Id": id, "Type": kind, "Name": name, "ParentId": parent, **more}

    execution = {
        "DurableExecutionArn": "arn",
        "FunctionArn": "arn:aws:lambda:eu:1:function:order",
        "Operations": [
            operation("1", "STEP", "charge"),
            operation("2", "CONTEXT", "both", SubType="Parallel"),
            operation("3", "CONTEXT", "branch", "2", SubType="ParallelBranch"),
            operation("4", "STEP", "hotel", "3"),
            operation("5", "CONTEXT", "branch", "2", SubType="ParallelBranch"),
            operation("6", "STEP", "flight", "5"),
            operation("7", "STEP", "seat", "5"),
            operation("8", "CONTEXT", "none", SubType="Map"),
            operation("9", "WAIT", ""),
            operation("10", "CALLBACK", "approval"),
            operation("11", "CHAINED_INVOKE", "ship"),
        ],
    }
    [found] = of_executions([json.dumps(execution), json.dumps({"records": []})])
    assert (found.name, found.observed) == ("order", True)
    assert lines(found) == [
        "(begin) → charge",
        "charge → hotel",
        "charge → flight",
        "flight → seat",
        "hotel → wait",
        "seat → wait",
        "wait → callback approval",
        "callback approval → invoke ship",
        "invoke ship → (end)",
    ]


def test_what_other_engines_of_the_system_wrote_down_is_left_to_them() -> None:
    of_a_saga, of_a_machine = {"records": []}, {"events": []}
    assert of_workflows([json.dumps(of_a_saga), json.dumps(of_a_machine)]) == []


def in_code() -> System:
    system = System("shop")
    store = system.add(SagaStore("sagas"))

    async def order(saga, input):  # type: ignore[no-untyped-def]
        await saga.do("charge", undo="refund")
        await saga.together(saga.do("ship"), saga.do("mail"))

    @system.service("orders")
    def orders(env):  # type: ignore[no-untyped-def]
        calls = {name: lambda command: None for name in ("charge", "refund", "ship", "mail")}
        made = Orchestrator(
            Saga("order", order),
            env.connect(store),
            now_ms=env.now_ms,
            sleep=env.sleep,
            calls=calls,
        )
        env.serve("order", lambda id: made.start(id, {}))
        env.main(made.run)

    system.entry(examples=["o1"])(lambda env, id: env.call("orders", "order", id))
    return system


SHOP = in_code()


def test_a_saga_in_code_is_shown_as_its_run_has_asked() -> None:
    told = CliRunner().invoke(graph, [f"{__name__}:SHOP", "--faults", "0"])
    assert told.exit_code == 0, told.output
    assert "order (saga in code, as seen in the calm run)\n  (begin) → charge\n" in told.output
    assert "  charge → ship\n  charge → mail\n  ship → (end)\n" in told.output
    mermaid = CliRunner().invoke(graph, [f"{__name__}:SHOP", "--faults", "0", "--mermaid"]).output
    assert 'subgraph w1_["order"]' in mermaid and mermaid.startswith("flowchart LR")


def test_names_are_escaped_in_pictures() -> None:
    found = StepGraph('a"b', "saga", [Move("(begin)", "<x>")])
    assert next(found.mermaid()) == '  subgraph s["a&quot;b"]'
    assert "&lt;x>" in "\n".join(found.mermaid())
