"""Definitions: what is wrong is said, with its place; what they compute is as Conductor has it."""

import json
from typing import Any

import pytest

from chaosharness import Conductor
from chaosharness.errors import InvalidDefinition
from chaosharness.orchestrators.conductor.expressions import fill
from chaosharness.orchestrators.conductor.reading import read_blueprint, read_task_def
from chaosharness.orchestrators.conductor.script import BadScript, compile_script
from tests.orchestrators.conductor.test_rules import flow, simple

FORK = {"name": "f", "taskReferenceName": "f", "type": "FORK_JOIN",
        "forkTasks": [[simple("a")], [simple("b")]]}  # fmt: skip


def join(*refs: str) -> dict[str, Any]:
    return {"name": "j", "taskReferenceName": "j", "type": "JOIN", "joinOn": list(refs)}


@pytest.mark.parametrize(
    ("workflow", "said"),
    [
        ({"name": "flow", "tasks": []}, "workflow 'flow': it has no tasks"),
        (flow({"name": "a"}), "workflow 'flow' /tasks/0: taskReferenceName is missing"),
        (flow({"taskReferenceName": "a"}), "workflow 'flow' /tasks/0: name is missing"),
        (flow(simple("a") | {"type": "SIMPEL"}), r"/tasks/0 \(a\): unknown type 'SIMPEL'; there"),
        (flow(simple("a") | {"type": "KAFKA_PUBLISH"}),
         r"/tasks/0 \(a\): type KAFKA_PUBLISH is not modelled: use EVENT"),
        (flow(simple("a"), simple("a")), "/tasks/1: taskReferenceName 'a' is used at /tasks/0"),
        (flow(FORK), r"/tasks/0 \(f\): a FORK_JOIN must be followed by a JOIN"),
        (flow(FORK, join("a", "c")),
         r"\(f\): its JOIN 'j' waits for 'c', which is no task of its branches \(a, b\)"),
        (flow({**FORK, "forkTasks": [[]]}, join()), "a branch of forkTasks is empty"),
        (flow(simple("s", type="SWITCH")), r"\(s\): a SWITCH needs expression"),
        (flow(simple("l", type="DO_WHILE", loopOver=[simple("a")])), "needs loopCondition"),
        (flow(simple("l", type="DO_WHILE", loopCondition="true", loopOver=[
            simple("k", type="DO_WHILE", loopCondition="true", loopOver=[simple("a")])])),
         r"/loopOver/0 \(k\): a DO_WHILE in a DO_WHILE is not supported by Conductor"),
        (flow(simple("l", type="DO_WHILE", loopOver=[simple("a")], loopCondition="for (;;) {}")),
         "loopCondition .* is not understood: .* Say what it computes: scripts="),
        (flow(simple("q", type="JSON_JQ_TRANSFORM", inputParameters={"queryExpression": ".a"})),
         "is jq, which is not run here"),
        (flow(simple("c", type="SUB_WORKFLOW", subWorkflowParam={"name": "none"})),
         "'c' starts 'none', which is none of Conductor"),
        (flow(simple("a"), failureWorkflow="undo"),
         "its failureWorkflow 'undo' is none of those of Conductor.*Nothing would be undone"),
        (flow(simple("a", inputParameters={"x": "${chrge.output.id}"})),
         r"\(a\): '\${chrge.output.id}' reads 'chrge', which is no task of this workflow"),
        (flow(simple("a"), timeoutSeconds=-1), "timeoutSeconds must be a whole number of at least"),
        (flow(simple("a"), timeoutPolicy="NEVER"), "timeoutPolicy must be one of TIME_OUT_WF, "),
        ("{", "is no JSON"),
        (7, "must be JSON text, a mapping or an object of conductor-python, not 7"),
        ({"tasks": []}, "workflow 1: it has no name"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_workflow_is_told_with_its_place(workflow: Any, said: str) -> None:
    with pytest.raises(InvalidDefinition, match=said):
        Conductor("conductor", workflows=[workflow])


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({"name": "a", "retryCount": "3"}, "retryCount must be a whole number of at least 0"),
        ({"name": "a", "retryLogic": "SOMETIMES"}, "retryLogic must be one of FIXED, LINEAR"),
        ({"name": "a", "timeoutPolicy": "X"}, "timeoutPolicy must be one of RETRY, "),
        ({"retryCount": 3}, "name is missing"),
        ({"name": "a", "concurrentExecLimit": -1}, "concurrentExecLimit must be a whole number"),
        ({"name": "a", "rateLimitPerFrequency": "1"}, "rateLimitPerFrequency must be a whole numb"),
        ({"name": "a", "timeoutSeconds": 60},
         "responseTimeoutSeconds 3600 must not be more than timeoutSeconds 60"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_task_s_definition_is_told(task: Any, said: str) -> None:
    with pytest.raises(InvalidDefinition, match=said):
        Conductor("conductor", workflows=[flow(simple("a"))], tasks=[task])


def test_all_mistakes_are_told_at_once() -> None:
    wrong = flow({"name": "a"}, {"taskReferenceName": "b"}, simple("c", type="X"))
    with pytest.raises(InvalidDefinition, match="3 mistakes in a workflow:\n") as raised:
        Conductor("c", workflows=[wrong])
    assert str(raised.value).count("\n") == 3


def test_objects_of_the_library_are_read_as_the_json_that_they_are() -> None:
    from conductor.client.http.models import TaskDef, WorkflowDef
    from conductor.client.http.models.workflow_task import WorkflowTask

    task = WorkflowTask(name="a", task_reference_name="a", type="SIMPLE", retry_count=2)
    Conductor("conductor", workflows=[WorkflowDef(name="flow", tasks=[task])])
    found = read_task_def(TaskDef(name="a", retry_count=7, timeout_seconds=0), where="a")
    assert (found.retry_count, found.response_timeout_s) == (7, 3600)
    text = json.dumps(flow(simple("a")))
    Conductor("conductor", workflows=[text], tasks=[json.dumps({"name": "a"})])


def test_what_is_deprecated_is_read_as_what_it_is_the_same_as() -> None:
    source = flow(
        {"name": "d", "taskReferenceName": "d", "type": "DECISION", "caseValueParam": "x",
         "decisionCases": {"1": [simple("a")]}},
        {"name": "l", "taskReferenceName": "l", "type": "LAMBDA",
         "inputParameters": {"scriptExpression": "return $.x + 1;"}},
    )  # fmt: skip
    found = read_blueprint(source, name="flow", task_defs=lambda name: None)
    assert [step.kind for step in found.steps] == ["SWITCH", "INLINE"]
    script = found.steps[1].script
    assert script is not None
    assert script({"x": 1}) == 2


CONTEXT = {
    "workflow": {
        "input": {
            "a": 1,
            "list": [{"b": 2}, {"b": 3}],
            "none": None,
            "k": "a",
            "text": "${workflow.input.a}",
        }
    },
    "t": {"output": {"deep": {"er": "x"}, "yes": True, "map": {"a": 1}}},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${workflow.input.a}", 1),
        ("no ${workflow.input.a} yes", "no 1 yes"),
        ("${workflow.input.list[1].b}", 3),
        ("${workflow.input.list[*].b}", [2, 3]),
        ("${workflow.input.missing}", None),
        ("${workflow.input.missing.too}", None),
        ("is ${workflow.input.missing}", "is null"),
        ("${t.output.deep.er}", "x"),
        ("${t.output['deep']['er']}", "x"),
        ("${t.output.yes}", True),
        ("so ${t.output.yes}", "so true"),
        ("m ${t.output.map}", "m {a=1}"),
        ("${workflow.input.${workflow.input.k}}", 1),
        ("${workflow.input.a}${workflow.input.a}", "11"),
        ("$${workflow.input.a}", "${workflow.input.a}"),
        ("${workflow.input.a", "${workflow.input.a"),
        ("it says ${workflow.input.text}", "it says ${workflow.input.a}"),
        ("${}", ""),
        ("${CPEWF_TASK_ID}", "the-task"),
        ({"in": ["${t.output.yes}", 5]}, {"in": [True, 5]}),
    ],
)
def test_expressions_read_what_they_read_there(text: Any, value: Any) -> None:
    assert fill(text, CONTEXT, "the-task") == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$.a > 1", True),
        ("$.a + 1", 3),
        ("$.s + $.a", "x2"),
        ("$.a == '2' && $.s !== 'y'", True),
        ("$.a === '2'", False),
        ("!$.none || false", True),
        ("$.list.length", 3),
        ("$.list[1]", 20),
        ("$['a'] * 10 - 4 / 2", 18),
        ("$.a % 2 == 0 ? 'even' : 'odd'", "even"),
        ("if ($.a > 5) { 'big'; } else if ($.a > 1) { 'middle'; } else { 'small'; }", "middle"),
        ("(function () { var x = $.a; if (x > 1) { return {x: x, of: [1, x]}; } return 0; })();",
         {"x": 2, "of": [1, 2]}),
        ("function e() { return $.list.includes(20); } e();", True),
        ("$.missing == null", True),
        ("-$.a < 0 // so it is", True),
    ],
)  # fmt: skip
def test_scripts_compute_what_javascript_computes(text: str, value: Any) -> None:
    given = {"a": 2, "s": "x", "none": None, "list": [10, 20, 30]}
    assert compile_script(text)(given) == value


@pytest.mark.parametrize("text", ["while (true) {}", "Math.random()", "a +", "$.a ~ 2", "f(1)"])
def test_what_is_not_understood_of_a_script_is_refused_when_it_is_read(text: str) -> None:
    with pytest.raises(BadScript):
        compile_script(text)
