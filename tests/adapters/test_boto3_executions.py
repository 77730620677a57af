"""`boto3.client("stepfunctions")` in users' code, on the state machines of a system; redrive."""

import json
import time

import boto3
import pytest
from botocore.exceptions import ClientError

from chaosharness import (
    AWS,
    Delay,
    Gateway,
    Schedule,
    Site,
    StepFunctions,
    System,
    assumed,
    explore,
    smallest,
)
from chaosharness.errors import InvalidDefinition

ARN = "arn:aws:states:eu-central-1:123456789012:stateMachine"
TASK = "arn:aws:lambda:eu-central-1:123456789012:function"


def task(name, **more):
    return {"Type": "Task", "Resource": f"{TASK}:{name}", "End": True, **more}


ORDER = {"StartAt": "Charge", "States": {"Charge": task("charge")}}
BOTH = {
    "StartAt": "Charge",
    "States": {
        "Charge": task("charge", Next="Both", ResultPath=None) | {"End": False},
        "Both": {
            "Type": "Parallel",
            "End": True,
            "Branches": [
                {"StartAt": "Ship", "States": {"Ship": task("ship")}},
                {"StartAt": "Mail", "States": {"Mail": task("mail")}},
            ],
        },
    },
}
del BOTH["States"]["Charge"]["End"]
ASK = {
    "StartAt": "Ask",
    "States": {
        "Ask": {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
            "Parameters": {"FunctionName": "ask", "Payload": {"token.$": "$$.Task.Token"}},
            "HeartbeatSeconds": 60,
            "End": True,
        }
    },
}


def client():
    return boto3.client("stepfunctions", region_name="eu-central-1")


def shop(enter, **functions):
    system = System("shop")
    machines = {"order": ORDER, "both": BOTH, "ask": ASK, "quick": ORDER}
    sfn = system.add(StepFunctions("sfn", machines=machines, express=["quick"]))
    bank = system.add(Gateway("bank"))
    system.add(AWS(sfn))

    @system.service("lambdas")
    def lambdas(env):
        asks = env.client(bank)

        def charge(event, context):
            asks.charge(event["order"], 500, key=event.get("key"))
            return "charged"

        for name, function in {"charge": charge, **functions}.items():
            env.function(sfn, name, function)

    @system.entry(examples=["o1"])
    def place(env, order):
        env.note("answers", of=enter(client(), order))

    return system


def answers(system, schedule=Schedule()):  # noqa: B008
    run = system.run(None, schedule)
    assert run.ending.verdict == "quiet", run.ending
    [found] = [one.data["of"] for one in run.history.of("note") if one.data["what"] == "answers"]
    return found, run


def code(ask, **given):
    try:
        ask(**given)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return ""


def started(sfn, order, machine="order", **more):
    body = json.dumps({"order": order, "key": order})
    return sfn.start_execution(stateMachineArn=f"{ARN}:{machine}", input=body, **more)


def ended(sfn, arn):
    while (told := sfn.describe_execution(executionArn=arn))["status"] == "RUNNING":
        time.sleep(1)
    return told


def test_a_name_starts_an_execution_once():
    def enter(sfn, order):
        first, again = started(sfn, order, name=order), started(sfn, order, name=order)
        told = ended(sfn, first["executionArn"])
        late = code(started, sfn=sfn, order=order, name=order)
        listed = sfn.list_executions(stateMachineArn=f"{ARN}:order")["executions"]
        return [first == again or "", told["status"], json.loads(told["output"]), late,
                len(listed), told["stopDate"] > told["startDate"]]  # fmt: skip

    found, _ = answers(shop(enter))
    assert found[1:] == ["SUCCEEDED", "charged", "ExecutionAlreadyExists", 1, True]


def test_without_a_name_the_sdk_repeats_a_start_that_was_not_answered():
    def named(sfn, order):
        started(sfn, order, name=order)

    def nameless(sfn, order):
        sfn.start_execution(
            stateMachineArn=f"{ARN}:order", input=json.dumps({"order": order, "key": None})
        )

    found = smallest(shop(nameless), faults_max=1)  # nothing is claimed
    assert found.findings[0].kind == "effect twice"
    late = Schedule([Delay(Site("client.place/sfn.start_execution order"), lasting="timeout")])
    assert len([*shop(nameless).run(None, late).history.of("effect")]) == 2
    right = shop(named)
    assert not explore(right, properties=assumed(right), faults_max=1).counterexamples


def test_tokens_are_answered_from_inside_a_function():
    tokens = []

    def ask(event, context):
        sfn = client()
        tokens.append(event["token"])
        sfn.send_task_heartbeat(taskToken=event["token"])
        sfn.send_task_success(taskToken=event["token"], output='"yes"')

    def enter(sfn, order):
        told = ended(sfn, started(sfn, order, "ask")["executionArn"])
        events = sfn.get_execution_history(executionArn=told["executionArn"])["events"]
        return [told["status"], told["output"], code(sfn.send_task_failure, taskToken="none"),
                code(sfn.send_task_heartbeat, taskToken=tokens[0]),
                events[0]["type"]]  # fmt: skip

    found, _ = answers(shop(enter, ask=ask))
    assert found == ["SUCCEEDED", '"yes"', "InvalidToken", "TaskTimedOut", "ExecutionStarted"]


def test_a_token_that_nobody_beats_is_told_that_it_is_late():
    tokens = []

    def enter(sfn, order):
        told = ended(sfn, started(sfn, order, "ask")["executionArn"])
        late = code(sfn.send_task_success, taskToken=tokens[-1], output="1")
        return [told["status"], told["error"], late]

    found, _ = answers(shop(enter, ask=lambda event, context: tokens.append(event["token"])))
    assert found == ["FAILED", "States.Timeout", "TaskTimedOut"]


def test_express_executions_are_waited_for_and_others_are_not():
    def enter(sfn, order):
        body = json.dumps({"order": order, "key": order})
        sync = sfn.start_sync_execution(stateMachineArn=f"{ARN}:quick", input=body)
        return [sync["status"], code(sfn.start_sync_execution, stateMachineArn=f"{ARN}:order"),
                code(sfn.describe_execution, executionArn=f"{sync['executionArn']}-no"),
                code(sfn.start_execution, stateMachineArn=f"{ARN}:none"),
                code(sfn.start_execution, stateMachineArn=f"{ARN}:order", input="{")]  # fmt: skip

    found, _ = answers(shop(enter))
    assert found == ["SUCCEEDED", "StateMachineTypeNotSupported", "ExecutionDoesNotExist",
                     "StateMachineDoesNotExist", "InvalidExecutionInput"]  # fmt: skip


def test_a_redrive_goes_on_where_it_failed_and_keeps_what_has_succeeded():
    calls = []

    def ship(event, context):
        calls.append("ship")
        if calls.count("ship") == 1:
            time.sleep(1)
            raise OSError("no lorry")
        return "shipped"

    def mail(event, context):
        calls.append("mail")
        return "mailed"

    def enter(sfn, order):
        arn = started(sfn, order, "both", name=order)["executionArn"]
        failed = ended(sfn, arn)
        sfn.redrive_execution(executionArn=arn, clientToken="once")
        sfn.redrive_execution(executionArn=arn, clientToken="once")
        told = ended(sfn, arn)
        late = code(sfn.redrive_execution, executionArn=arn)
        return [failed["status"], told["status"], json.loads(told["output"]), told["redriveCount"],
                late]  # fmt: skip

    found, run = answers(shop(enter, ship=ship, mail=mail))
    assert found == ["FAILED", "SUCCEEDED", ["shipped", "mailed"], 1, "ExecutionNotRedrivable"]
    assert sorted(calls) == ["mail", "ship", "ship"]
    assert len([*run.history.of("effect")]) == 1


def test_a_redrive_of_one_that_was_stopped_begins_its_state_anew():
    def enter(sfn, order):
        arn = started(sfn, order, "ask", name=order)["executionArn"]
        time.sleep(1)
        sfn.stop_execution(executionArn=arn, error="Enough", cause="by hand")
        stopped = ended(sfn, arn)
        sfn.redrive_execution(executionArn=arn)
        return [stopped["status"], stopped["error"], ended(sfn, arn)["status"]]

    calls = []

    def ask(event, context):
        calls.append(event["token"])
        if len(calls) == 2:
            client().send_task_success(taskToken=event["token"], output="1")

    found, _ = answers(shop(enter, ask=ask))
    assert found == ["ABORTED", "Enough", "SUCCEEDED"]


def test_what_is_not_modelled_is_said():
    with pytest.raises(InvalidDefinition, match=r"stepfunctions\.describe_map_run is not modelled"):
        shop(lambda sfn, order: sfn.describe_map_run(mapRunArn=f"{ARN}:x")).run()
    with pytest.raises(InvalidDefinition, match=r"AWS takes an SQS, .* or a StepFunctions"):
        AWS(Gateway("bank"))
