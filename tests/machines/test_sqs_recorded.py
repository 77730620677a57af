"""SQS's machine against what AWS answered: every recorded answer, request by request."""

import re
from pathlib import Path

import pytest

from chaosharness.machines.sqs import SqsMachine
from chaosharness.machines.sqs.queue import Queue
from tests.machines import recorded
from tests.machines.moves_requests import MOVES
from tests.machines.sqs_requests import OTHER, REQUESTS, Aws

PROTOCOL = re.compile(r"\[(?:sqs_query|sqs)(?:-(.*))?\]$")
APPROXIMATE = ("ApproximateNumberOfMessagesMoved",)
"""How far a task has come when it is looked at is a matter of moments."""

ANSWERED_DIFFERENTLY = {
    ("test_non_existent_queue", "queue-does-not-exist-query"): "the words of the older protocol",
    ("test_message_system_attribute_names_with_attribute_names[sqs_query]", "different_values"): (
        "the older protocol reads one of the two lists only"
    ),
}


def asked_by(entry):
    """Return an entry without the protocol that it was asked by."""
    found = PROTOCOL.search(entry)
    if found is None:
        return entry
    name, rest = entry[: found.start()], found.group(1)
    return name if rest is None else f"{name}[{rest}]"


def differences(entry, content, ask, loose=()):
    """What differs between an entry and what the machine answers to the same requests."""
    aws = Aws()
    ask(aws)
    comparison = recorded.Comparison(loose)
    for key, answer in content.items():
        if (entry, key) in ANSWERED_DIFFERENTLY:
            continue
        if key not in aws.seen:
            yield f"{key}: not asked"
            continue
        yield from comparison.differences(answer, recorded.plain(aws.seen[key]), key)


SQS = recorded.entries("sqs/test_sqs")
TASKS = recorded.entries("sqs/test_sqs_move_task")


def test_the_recordings_are_here():
    if not recorded.HERE:
        pytest.skip(recorded.ABSENT)
    assert (len(SQS), len(TASKS)) == (144, 12)


@pytest.mark.parametrize("entry", [one for one in SQS if asked_by(one) not in OTHER])
def test_sqs_answers_as_recorded(entry):
    assert [*differences(entry, SQS[entry], REQUESTS[asked_by(entry)])] == []


@pytest.mark.parametrize("entry", TASKS)
def test_tasks_answer_as_recorded(entry):
    assert [*differences(entry, TASKS[entry], MOVES[entry], APPROXIMATE)] == []


@pytest.mark.skipif(not recorded.HERE, reason=recorded.ABSENT)
def test_nothing_is_left_out_in_silence():
    names = {asked_by(entry) for entry in SQS}
    assert OTHER.keys() <= names
    assert REQUESTS.keys() == names - OTHER.keys()
    assert MOVES.keys() == TASKS.keys()


@pytest.mark.skipif(not recorded.HERE, reason=recorded.ABSENT)
def test_the_page_says_how_many():
    compared = sum(asked_by(entry) not in OTHER for entry in SQS)
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "sqs.md").read_text("utf-8")
    assert f"| SQS, {len(SQS)} | {compared}, no difference" in page
    assert f"| moving dead letters, {len(TASKS)} | {len(TASKS)}, no difference" in page


# ---- the test of the test


def no_lock(queue, now):
    for record in queue.records.values():
        if queue.is_visible(record, now):
            yield record


def drop(machine, queue, record, to, now):
    queue.remove(record)


def never(queue, key, group, now):
    return None


def by_settings(queue, key, group, now):
    queue.scope = queue.settings.scope
    return recognise(queue, key, group, now)


def start_anew(machine, queue, record, to, now):
    record.receives = 0
    bury(machine, queue, record, to, now)


recognise, bury = Queue.recognise, SqsMachine._bury

WRONG = {
    "nothing is recognised": (Queue, "recognise", never),
    "the scope of ids can be changed": (Queue, "recognise", by_settings),
    "a group is no lock": (Queue, "_next_of_groups", no_lock),
    "nothing comes back": (SqsMachine, "tick", lambda *_: None),
    "dead letters are dropped": (SqsMachine, "_bury", drop),
    "dead letters are counted anew": (SqsMachine, "_bury", start_anew),
}


@pytest.mark.skipif(not recorded.HERE, reason=recorded.ABSENT)
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_machine_is_caught(monkeypatch, wrong):
    monkeypatch.setattr(*WRONG[wrong])
    caught = []
    for entry, content in SQS.items():
        if asked_by(entry) in OTHER:
            continue
        try:
            caught += differences(entry, content, REQUESTS[asked_by(entry)])
        except Exception as error:
            caught.append(error)
    assert caught
