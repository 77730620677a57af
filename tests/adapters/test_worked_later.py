"""A batch that is decoded first and worked afterwards: its sites are the last message's.

Findings are not: whose a charge is, is read from what was charged.
"""

import json

import boto3
import pytest
import requests

from chaosharness import AWS, SQS, Gateway, LostReply, Schedule, Site, System, Web
from chaosharness.errors import PropertyViolated

ITEMS = [{"order": "o1", "cents": 5}, {"order": "o2", "cents": 6}, {"order": "o3", "cents": 7}]


def charge(order, key):
    headers = {"Idempotency-Key": order["order"]} if key else {}
    url = "https://bank.example/charges"
    requests.post(url, json=order, headers=headers, timeout=10).raise_for_status()


def worker(key):
    def main():
        sqs = boto3.client("sqs")
        while True:
            found = sqs.receive_message(
                QueueUrl="sqs/orders", WaitTimeSeconds=5, MaxNumberOfMessages=10
            ).get("Messages", [])
            decoded = [(json.loads(one["Body"]), one["ReceiptHandle"]) for one in found]
            for order, handle in decoded:
                charge(order, key)
                sqs.delete_message(QueueUrl="sqs/orders", ReceiptHandle=handle)

    return main


def shop(key):
    system = System("shop", arrival_ms=0)
    bus = system.add(SQS("bus", ["orders"]))
    system.add(AWS(bus))
    bank = system.add(Gateway("bank"))
    system.add(Web("bank.example", bank, routes={"POST /charges": "charge"}))
    system.service("till")(lambda env: env.main(worker(key)))

    @system.entry(examples=ITEMS)
    def place(env, order):
        env.publisher(bus)("orders", order)

    return system


def charges(run):
    return [event for event in run.history if event.operation == "till.main/bank.charge"]


def lost_at(attempt):
    return Schedule([LostReply(Site("till.main/bank.charge", "after", 3, attempt))])


def test_the_sites_are_those_of_the_last_message():
    run = shop(key=True).run(ITEMS, Schedule())
    run.check()
    assert {event.entity for event in charges(run)} == {3}
    assert {event.attempt for event in charges(run)} == {1, 2, 3}


@pytest.mark.parametrize("attempt", [1, 2])
def test_each_effect_has_a_site_and_a_finding_names_what_was_done(attempt):
    run = shop(key=False).run(ITEMS, lost_at(attempt))
    own = rf"order=o{attempt}\) twice for item {attempt}"
    with pytest.raises(PropertyViolated, match=own):
        run.check()


@pytest.mark.parametrize("attempt", [1, 2, 3])
def test_what_is_right_is_right_wherever_it_is_struck(attempt):
    run = shop(key=True).run(ITEMS, lost_at(attempt))
    assert not run.unused
    run.check()
