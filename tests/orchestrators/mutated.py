"""Definitions of every engine, mutated at random and run: accepted, or refused in clear words.

A mutation takes away, replaces, doubles, renames or moves a part of a definition, or of the data
that goes with it. A definition that is refused is refused by an error of ours; one that is taken
runs to an ending, whatever it does. Anything else is a fault of the engine.
"""

from __future__ import annotations

import copy
import json
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import attrs

from chaosharness import (
    Airflow,
    AirflowDAG,
    AirflowTask,
    Budget,
    Conductor,
    Env,
    StepFunctions,
    System,
)
from chaosharness.errors import ChaosharnessError
from chaosharness.orchestrators.saga import (
    Approval,
    Fallback,
    Orchestrator,
    Parallel,
    Retry,
    Saga,
    SagaStore,
    Step,
)
from models.conductor import right as conductor_right
from models.step_functions import right as step_functions_right

FEW: Final = Budget(decisions_max=40)
WORDS_MAX: Final = 2_500
"""Characters of an error: as many mistakes as a definition has, each in a line."""

JUNK: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1, 1.5, 10**12, float("nan"), float("inf"), "", " ", "x", "$", "$.",
    "$.a[", "$..a", "$$", "$$.Map.Item", "$.a.b.c", "{% 1 + %}", "{% $nothing() %}", "{% $x %}",
    "States.Format('{}', $.a)", "States.Nothing()", "States.ALL", "${", "${workflow.input.a}",
    "${nothing.output.x}", "${a.b}", "true", "P1D", "1 d", "\x00", "ä" * 50, "x" * 300_000,
    [], {}, [[]], {"a": {}}, [None], ["x", 1], {"": ""}, {"Type": "Pass", "End": True},
    {"type": "SIMPLE"}, -(10**18), "2026-01-01T00:00:00Z", "yesterday", "NaN", "one_success",
)  # fmt: skip


# ---- mutating


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each part of a definition but the whole."""
    parts: Any = ()
    if isinstance(tree, Mapping):
        parts = tree.items()
    elif isinstance(tree, list):
        parts = enumerate(tree)
    for key, value in parts:
        yield (*path, key)
        yield from places(value, (*path, key))


def part(tree: Any, path: tuple[Any, ...]) -> Any:
    """The part at a path."""
    for key in path:
        tree = tree[key]
    return tree


def mutated(tree: Any, chance: random.Random) -> Any:
    """A copy of a definition with one to three mutations."""
    found = copy.deepcopy(tree)
    for _ in range(chance.choice((1, 1, 2, 3))):
        paths = [*places(found)]
        if not paths:
            return found
        path = chance.choice(paths)
        holder, key = part(found, path[:-1]), path[-1]
        other = copy.deepcopy(part(found, chance.choice(paths)))
        match chance.randrange(6):
            case 0:
                del holder[key]
            case 1 | 2:
                holder[key] = copy.deepcopy(chance.choice(JUNK))
            case 3:
                holder[key] = other
            case 4 if isinstance(holder, dict):
                named = chance.choice([*holder, "Nope", "", 1])
                holder[named] = holder.pop(key)
            case 5 if isinstance(holder, list):
                holder.insert(chance.randrange(len(holder) + 1), other)
            case _ if isinstance(holder, dict):
                holder[chance.choice(("Nope", "Next", "End", "type", "retries"))] = other
            case _:
                holder[key] = [holder[key]]
    return found


# ---- the engines


@attrs.frozen
class Subject:
    """What is mutated of an engine, and how it is played."""

    bases: Callable[[], list[Any]]
    play: Callable[[Any], Any]


def _json(value: Any) -> str:
    return json.dumps(value, default=str)


def _queries() -> dict[str, Any]:
    """A state machine with JSONata, variables, a Map, a Choice, a Wait and a Parallel."""
    one = {"Type": "Task", "Resource": "charge", "Arguments": {"n": "{% $states.input %}"},
           "Output": "{% $states.result %}", "End": True}  # fmt: skip
    return {
        "QueryLanguage": "JSONata",
        "StartAt": "Set",
        "States": {
            "Set": {"Type": "Pass", "Assign": {"all": "{% [1, 2] %}"}, "Next": "Each"},
            "Each": {"Type": "Map", "Items": "{% $all %}", "MaxConcurrency": 1, "Next": "Which",
                     "ItemProcessor": {"StartAt": "One", "States": {"One": one}}},
            "Which": {"Type": "Choice", "Default": "Both",
                      "Choices": [{"Condition": "{% $count($all) > 5 %}", "Next": "Wait"}]},
            "Both": {"Type": "Parallel", "Next": "Wait", "Branches": [
                {"StartAt": "A", "States": {"A": {"Type": "Succeed"}}},
                {"StartAt": "B", "States": {"B": {"Type": "Pass", "End": True}}}]},
            "Wait": {"Type": "Wait", "Seconds": "{% 2 %}", "End": True},
        },
    }  # fmt: skip


def _paths() -> dict[str, Any]:
    """A state machine with JSONPath: a loop that ends, a Map, a wait, intrinsic functions."""
    again = {"Variable": "$.n", "NumericLessThan": 3, "Next": "Add"}
    item = {"Type": "Pass", "Parameters": {"s.$": "States.Format('{}', $)"}, "End": True}
    return {
        "StartAt": "Begin",
        "TimeoutSeconds": 100,
        "States": {
            "Begin": {"Type": "Pass", "Result": {"n": 0, "l": [1, 2]}, "Next": "Add"},
            "Add": {"Type": "Pass", "Next": "Again",
                    "Parameters": {"n.$": "States.MathAdd($.n, 1)", "l.$": "$.l"}},
            "Again": {"Type": "Choice", "Choices": [again], "Default": "Each"},
            "Each": {"Type": "Map", "ItemsPath": "$.l", "ResultPath": "$.m", "Next": "Wait",
                     "Iterator": {"StartAt": "I", "States": {"I": item}}},
            "Wait": {"Type": "Wait", "SecondsPath": "$.n", "Next": "End"},
            "End": {"Type": "Task", "Resource": "charge", "TimeoutSeconds": 5, "InputPath": "$.m",
                    "Retry": [{"ErrorEquals": ["States.ALL"], "MaxAttempts": 2}], "End": True},
        },
    }  # fmt: skip


def _step_functions() -> list[Any]:
    order = {"id": "o1", "item": "book", "cents": 5}
    definitions = [step_functions_right.definition(), step_functions_right.side_by_side(),
                   _queries(), _paths()]  # fmt: skip
    return [{"definition": one, "input": order, "result": {"ok": 1}} for one in definitions]


def _play_step_functions(given: Any) -> Any:
    shop = System("shop")
    sfn = shop.add(StepFunctions("sfn", machines={"m": given.get("definition")}))

    @shop.service("work")
    def work(env: Env) -> None:
        known = ("charge", "ship", "recall", "refund")
        for name in _still(known, given.get("definition"), "Resource"):
            env.function(sfn, name, lambda event, context: given.get("result"))

    @shop.entry(examples=[1])
    def place(env: Env, item: int) -> None:
        env.client(sfn).start_execution(
            stateMachineArn="m", name="e", input=_json(given.get("input"))
        )

    return shop.run(budget=FEW)


def _still(names: tuple[str, ...], tree: Any, field: str) -> list[str]:
    """Those names that a mutated definition still has, in that field of an object."""
    found = {str(part(tree, path)) for path in places(tree) if path[-1] == field}
    return [name for name in names if name in found]


def _conductor() -> list[Any]:
    simple = [{"name": name, "taskReferenceName": name, "type": "SIMPLE"} for name in "abc"]
    many = {
        "name": "order", "version": 1, "outputParameters": {"x": "${a.output.y}"},
        "tasks": [
            simple[0],
            {"name": "f", "taskReferenceName": "f", "type": "FORK_JOIN",
             "forkTasks": [[simple[1]], [simple[2]]]},
            {"name": "j", "taskReferenceName": "j", "type": "JOIN", "joinOn": ["b", "c"]},
            {"name": "l", "taskReferenceName": "l", "type": "DO_WHILE",
             "loopCondition": "$.l['iteration'] < 2 ? true : false",
             "loopOver": [{"name": "d", "taskReferenceName": "d", "type": "SIMPLE"}]},
            {"name": "i", "taskReferenceName": "i", "type": "INLINE",
             "inputParameters": {"evaluatorType": "javascript", "expression": "1 + 1"}},
            {"name": "w", "taskReferenceName": "w", "type": "WAIT",
             "inputParameters": {"duration": "2 seconds"}},
            {"name": "v", "taskReferenceName": "v", "type": "SET_VARIABLE",
             "inputParameters": {"n": "${a.output}"}},
            {"name": "t", "taskReferenceName": "t", "type": "TERMINATE",
             "inputParameters": {"terminationStatus": "COMPLETED"}},
        ],
    }  # fmt: skip
    child = {"name": "order", "tasks": [
        {"name": "s", "taskReferenceName": "s", "type": "SUB_WORKFLOW",
         "subWorkflowParam": {"name": "child", "version": 1}}]}  # fmt: skip
    inner = {"name": "child", "version": 1, "tasks": [simple[0]]}
    given: dict[str, Any] = {"input": {"order": "o1"}, "result": {"y": 1}}
    return [
        {**given, "workflows": conductor_right.workflows(), "tasks": conductor_right.tasks()},
        {**given, "workflows": [many], "tasks": [conductor_right.definition("a")]},
        {**given, "workflows": [child, inner], "tasks": []},
    ]


def _play_conductor(given: Any) -> Any:
    shop = System("shop")
    workflows: Any = given.get("workflows")
    server = shop.add(Conductor("conductor", workflows=workflows, tasks=given.get("tasks", ())))

    @shop.service("work")
    def work(env: Env) -> None:
        known = ("a", "b", "c", "d", "charge", "ship", "recall", "refund", "cancel")
        for name in _still(known, given.get("workflows"), "name"):
            env.task_worker(server, lambda task: given.get("result"), name=name)

    @shop.entry(examples=[1])
    def place(env: Env, item: int) -> None:
        env.client(server).start_workflow_by_name("order", given.get("input"))

    return shop.run(budget=FEW)


def _sagas() -> list[Any]:
    retry = {"times": 3, "first_ms": 10, "factor": 2, "most_ms": 100}
    charge = {"name": "charge", "undo": "refund", "retry": retry, "timeout_ms": 500}
    ship = {"name": "ship", "undo": "recall", "unknown": "undo", "value": {"n": 1},
            "fallback": [{"action": "send", "undo": "stop"}]}  # fmt: skip
    side = [[charge], [{"name": "pack"}, {"name": "mail"}]]
    given: dict[str, Any] = {"name": "order", "input": {"cents": 5}, "result": {"ok": 1}}
    return [
        {**given, "parts": [charge, ship, {"approval": "look", "within_ms": 1_000}]},
        {**given, "parts": [{"parallel": side}, ship]},
    ]


def _saga_part(given: Any) -> Any:
    if not isinstance(given, dict):
        return given
    given = dict(given)
    if "parallel" in given:
        branches = given["parallel"]
        if not isinstance(branches, list):
            return Parallel(branches)
        return Parallel(
            *([_saga_part(x) for x in one] if isinstance(one, list) else one for one in branches)
        )
    if "approval" in given:
        return Approval(given.pop("approval"), **_names(Approval, given))
    for name in ("retry", "undo_retry"):
        if isinstance(given.get(name), dict):
            given[name] = Retry(**_names(Retry, given[name]))
    if isinstance(given.get("fallback"), list):
        given["fallback"] = [
            Fallback(one.get("action", ""), **_names(Fallback, one, but="action"))
            if isinstance(one, dict) else one
            for one in given["fallback"]
        ]  # fmt: skip
    return Step(given.get("name", ""), **_names(Step, given, but="name"))


def _names(cls: Any, given: Mapping[Any, Any], but: str = "") -> dict[str, Any]:
    """The fields that a class has: Python itself refuses the others, before anybody is asked."""
    known = {field.name for field in attrs.fields(cls)} - {but}
    return {key: value for key, value in given.items() if key in known}


def _play_saga(given: Any) -> Any:
    parts = given.get("parts")
    made = [_saga_part(one) for one in parts] if isinstance(parts, list) else [parts]
    saga = Saga(given.get("name"), *made)
    shop = System("shop")
    store = shop.add(SagaStore("db"))

    @shop.service("orders")
    def orders(env: Env) -> None:
        calls = dict.fromkeys(saga.actions(), lambda command: given.get("result"))
        sagas = Orchestrator(saga, env.connect(store), now_ms=env.now_ms, sleep=env.sleep,
                             calls=calls)  # fmt: skip
        sagas.start("o1", given.get("input"))
        env.main(sagas.run)

    @shop.entry(examples=[1])
    def place(env: Env, item: int) -> None:
        pass

    return shop.run(budget=FEW)


def _airflow() -> list[Any]:
    tasks = [
        {"task_id": "a", "retries": 1, "retry_delay_s": 5, "result": {"ok": 1}},
        {"task_id": "b", "upstream": ["a"], "kind": "branch", "result": "c"},
        {"task_id": "c", "upstream": ["b"], "trigger_rule": "none_failed", "setup": True},
        {"task_id": "d", "upstream": ["b"], "kind": "sensor", "poke_interval_s": 5,
         "timeout_s": 20, "mode": "reschedule", "soft_fail": True, "result": False},
        {"task_id": "e", "upstream": ["c", "d"], "trigger_rule": "all_done", "teardown": True},
        {"task_id": "f", "upstream": ["a"], "kind": "short_circuit", "result": True},
    ]  # fmt: skip
    return [{"dag_id": "order", "tasks": tasks, "conf": {"cents": 5}}]


def _play_airflow(given: Any) -> Any:
    tasks = given.get("tasks")
    made: Any = tasks
    results: dict[str, Any] = {}
    if isinstance(tasks, list):
        made = []
        for one in tasks:
            if isinstance(one, dict):
                results[str(one.get("task_id"))] = one.get("result")
                words = _names(AirflowTask, one, but="task_id")
                made.append(AirflowTask(one.get("task_id"), **words))  # type: ignore[arg-type]
            else:
                made.append(one)
    shop = System("shop")
    airflow = shop.add(Airflow("airflow", dags=[AirflowDAG(given.get("dag_id"), tasks=made)]))

    @shop.service("work")
    def work(env: Env) -> None:
        known = {one.task_id: one for one in made}
        code = {name: _returning(results.get(name)) for name, one in known.items()
                if one.kind != "empty"}  # fmt: skip
        env.tasks(airflow, code)

    @shop.entry(examples=[1])
    def place(env: Env, item: int) -> None:
        env.client(airflow).trigger_dag_run("order", dag_run_id="r", conf=given.get("conf"))

    return shop.run(budget=FEW)


def _returning(value: Any) -> Callable[[], Any]:
    return lambda: value


SUBJECTS: Final[dict[str, Subject]] = {
    "step functions": Subject(_step_functions, _play_step_functions),
    "conductor": Subject(_conductor, _play_conductor),
    "saga": Subject(_sagas, _play_saga),
    "airflow": Subject(_airflow, _play_airflow),
}


def fault_of(subject: Subject, seed: int) -> tuple[str, str]:
    """Play one mutated definition; return `taken`, `refused` or `wrong`, and what is wrong."""
    chance = random.Random(seed)
    given = mutated(chance.choice(subject.bases()), chance)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = subject.play(given)
    except ChaosharnessError as error:
        words = str(error)
        clear = 10 < len(words) < WORDS_MAX and "Traceback" not in words and " at 0x" not in words
        return ("refused", "") if clear else ("wrong", f"unclear: {words[:300]} ... {len(words)}")
    except RecursionError:
        return "wrong", "RecursionError"
    except Exception as error:
        return "wrong", f"{type(error).__name__}: {error}"[:300]
    return ("taken", "") if run.ending.verdict else ("wrong", "no verdict")
