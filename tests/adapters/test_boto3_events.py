"""EventBridge through boto3: events, rules and targets, and entries that fail alone."""

import json

import boto3
import pytest
from botocore.exceptions import ClientError

from chaosharness import AWS, SNS, SQS, ErrorReply, EventBridge, EventRule, Schedule, Site, System
from chaosharness.errors import InvalidDefinition

events = boto3.client("events", region_name="eu-central-1")
sqs = boto3.client("sqs", region_name="eu-central-1")
sns = boto3.client("sns", region_name="eu-central-1")
ORDERS = "https://sqs.eu-central-1.amazonaws.com/000000000000/orders"
ARN = "arn:aws:sqs:eu-central-1:000000000000:orders"
NEWS = "arn:aws:sns:eu-central-1:000000000000:news"


def entry(number=1, **words):
    detail = json.dumps({"n": number})
    return {"Source": "shop", "DetailType": "Placed", "Detail": detail, **words}


def run_of(main, *faults, rules=None):
    """Return what `main()` returned or raised, and the run."""
    found = []
    system = System("shop")
    queues = system.add(SQS("queues", ["orders", "dead"]))
    rules = {"placed": EventRule({"source": ["shop"]}, "orders")} if rules is None else rules
    bus = system.add(EventBridge("bus", queues, rules))
    topics = system.add(SNS("topics", queues, {"news": []}))
    system.add(AWS(queues, bus, topics))

    @system.service("worker")
    def worker(env):
        def outer():
            try:
                found.append(main())
            except ClientError as error:
                found.append(error)

        env.main(outer)
        env.consume(
            queues,
            "orders",
            lambda body: env.note("got", n=json.loads(body)["detail"]["n"]),
            read_as=bytes,
        )

    system.entry(examples=[1])(lambda env, item: None)
    run = system.run(None, Schedule(faults))
    assert run.ending.verdict == "quiet", run.ending
    assert not run.unused
    [one] = found
    return one, run


def got(run):
    return sorted(event.data["n"] for event in run.history.of("note"))


def test_an_event_reaches_the_queue_of_its_rule():
    answer, run = run_of(lambda: events.put_events(Entries=[entry(1), entry(2, Source="other")]))
    assert answer["FailedEntryCount"] == 0
    assert len({one["EventId"] for one in answer["Entries"]}) == 2
    assert got(run) == [1]


def test_entries_that_are_wrong_fail_and_the_others_are_taken():
    wrong = [entry(1), {"Source": "shop"}, entry(3, Detail="{"), entry(4, Source=""), entry(5)]
    answer, run = run_of(lambda: events.put_events(Entries=wrong))
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    codes = [one.get("ErrorCode") for one in answer["Entries"]]
    assert codes == [None, "InvalidArgument", "MalformedDetail", "InvalidArgument", None]
    assert (answer["FailedEntryCount"], got(run)) == (3, [1, 5])


def test_an_entry_may_fail_by_itself():
    fails = ErrorReply(Site("worker.outer/bus.entry of put_events Placed", entity=0, attempt=2))

    def main():
        return events.put_events(Entries=[entry(1), entry(2), entry(3)])

    answer, run = run_of(main, fails)
    assert [one.get("ErrorCode") for one in answer["Entries"]] == [None, "InternalFailure", None]
    assert got(run) == [1, 3]


@pytest.mark.parametrize(
    ("send", "site"),
    [
        (
            lambda: sqs.send_message_batch(
                QueueUrl=ORDERS,
                Entries=[
                    {"Id": str(n), "MessageBody": json.dumps({"detail": {"n": n}})} for n in (1, 2)
                ],
            ),
            "worker.outer/queues.entry of send_message_batch orders",
        ),
        (
            lambda: sns.publish_batch(
                TopicArn=NEWS,
                PublishBatchRequestEntries=[{"Id": str(n), "Message": "m"} for n in (1, 2)],
            ),
            "worker.outer/topics.entry of publish_batch news",
        ),
    ],
)
def test_so_may_those_of_other_batches(send, site):
    answer, _ = run_of(send, ErrorReply(Site(site, entity=0, attempt=2)))
    assert [one["Id"] for one in answer["Successful"]] == ["1"]
    [failed] = answer["Failed"]
    assert (failed["Id"], failed["Code"], failed["SenderFault"]) == ("2", "InternalError", False)


def test_all_entries_may_fail():
    faults = [
        ErrorReply(
            Site("worker.outer/queues.entry of send_message_batch orders", entity=0, attempt=n)
        )
        for n in (1, 2)
    ]
    body = json.dumps({"detail": {"n": 1}})
    batch = [{"Id": name, "MessageBody": body} for name in ("a", "b")]
    answer, run = run_of(lambda: sqs.send_message_batch(QueueUrl=ORDERS, Entries=batch), *faults)
    assert [one["Id"] for one in answer["Failed"]] == ["a", "b"]
    assert got(run) == []


def test_rules_are_made_switched_and_deleted_while_a_system_runs():
    def main():
        pattern = json.dumps({"source": ["late"]})
        arn = events.put_rule(Name="late", EventPattern=pattern)["RuleArn"]
        target = {
            "Id": "t",
            "Arn": ARN,
            "RetryPolicy": {"MaximumRetryAttempts": 3, "MaximumEventAgeInSeconds": 60},
            "DeadLetterConfig": {"Arn": ARN.replace("orders", "dead")},
        }
        assert events.put_targets(Rule="late", Targets=[target])["FailedEntryCount"] == 0
        events.put_events(Entries=[entry(1, Source="late")])
        events.disable_rule(Name="late")
        assert events.describe_rule(Name="late")["State"] == "DISABLED"
        events.put_events(Entries=[entry(2, Source="late")])
        events.enable_rule(Name="late")
        events.put_events(Entries=[entry(3, Source="late")])
        assert [one["Id"] for one in events.list_targets_by_rule(Rule="late")["Targets"]] == ["t"]
        assert events.remove_targets(Rule="late", Ids=["t", "u"])["FailedEntryCount"] == 1
        events.delete_rule(Name="late")
        assert events.describe_event_bus()["Name"] == "default"
        return arn, [one["Name"] for one in events.list_rules()["Rules"]]

    (arn, names), run = run_of(main)
    assert arn == "arn:aws:events:eu-central-1:000000000000:rule/late"
    assert (names, got(run)) == (["placed"], [1, 3])


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: events.put_rule(Name="r", EventPattern="{"), "InvalidEventPatternException"),
        (
            lambda: events.put_rule(Name="r", EventPattern='{"source": "shop"}'),
            "InvalidEventPatternException",
        ),
        (lambda: events.describe_rule(Name="none"), "ResourceNotFoundException"),
        (lambda: events.enable_rule(Name="none"), "ResourceNotFoundException"),
        (lambda: events.delete_rule(Name="placed"), "ValidationException"),
        (
            lambda: events.put_targets(Rule="none", Targets=[{"Id": "1", "Arn": ARN}]),
            "ResourceNotFoundException",
        ),
        (
            lambda: events.put_targets(Rule="placed", Targets=[{"Id": "2", "Arn": f"{ARN}.fifo"}]),
            "ValidationException",
        ),
        (lambda: events.put_events(Entries=[entry(n) for n in range(11)]), "ValidationException"),
        (
            lambda: events.put_events(Entries=[entry(Detail=json.dumps({"n": "x" * 262_144}))]),
            "ValidationException",
        ),
        (lambda: events.describe_event_bus(Name="other"), "ResourceNotFoundException"),
    ],
)
def test_what_eventbridge_refuses(call, code):
    error, _ = run_of(call)
    assert isinstance(error, ClientError)
    assert error.response["Error"]["Code"] == code


def test_a_throttled_call_is_repeated_by_botocore():
    busy = ErrorReply(Site("worker.outer/bus.put_events Placed", entity=0))
    answer, run = run_of(lambda: events.put_events(Entries=[entry()]), busy)
    assert (answer["FailedEntryCount"], got(run)) == (0, [1])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (events.list_archives, "events.list_archives"),
        (
            lambda: events.put_rule(Name="r", ScheduleExpression="rate(1 hour)"),
            "events.put_rule with ScheduleExpression",
        ),
        (
            lambda: events.put_targets(
                Rule="placed", Targets=[{"Id": "1", "Arn": "arn:aws:lambda:x:y:function:f"}]
            ),
            "which is no queue",
        ),
    ],
)
def test_what_nobody_modelled_ends_the_run_in_one_sentence(call, words):
    with pytest.raises(InvalidDefinition, match="is not modelled") as said:
        run_of(call)
    assert words in str(said.value)


def test_a_bus_that_is_not_there_is_named_since_aws_would_take_the_event_without_a_word():
    words = "EventBusName='other'.*has 'default'. AWS takes such an event, .*bus='other'"
    with pytest.raises(InvalidDefinition, match=words):
        run_of(lambda: events.put_events(Entries=[entry(EventBusName="other")]))
