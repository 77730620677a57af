"""Histories as spans, and traces read back: there and back again."""

import json

import pytest
from google.protobuf import json_format
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from chaosharness import (
    Crash,
    ErrorReply,
    LostReply,
    LostRequest,
    Redeliver,
    Schedule,
    Site,
    read_trace,
    to_trace,
)
from chaosharness.errors import InvalidDefinition
from chaosharness.traces.parsing import spans_in
from models.questions import call_chain, refund
from models.questions.refund import BOOK, UNICORN

FORMATS = ("otlp", "jaeger", "zipkin")
CHARGE = "payments.on_placed/bank.charge"


CALM = Schedule()


def traced(schedule=CALM, form="otlp", items=(BOOK, UNICORN)):
    run = refund.right().run(items, schedule)
    return run, to_trace(run.history, form, system="refund")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "fault",
    [
        LostReply(Site(CHARGE, "after")),
        LostRequest(Site(CHARGE)),
        ErrorReply(Site(CHARGE)),
        Crash(Site(CHARGE, "after", entity=2)),
        ErrorReply(Site("payments.on_out_of_stock/bank.refund", entity=2)),
        ErrorReply(Site("stock.on_paid/bus.publish out-of-stock", entity=2)),
        LostReply(Site("payments.on_placed/bus.publish paid", "after")),
        LostRequest(Site("payments.on_placed/bus.publish paid")),
    ],
    ids=str,
)
def test_a_fault_that_is_seen_in_a_trace_is_read_back(fault, form):
    run, text = traced(Schedule([fault]), form)
    reading = read_trace(text, refund.right())
    assert reading.schedule == Schedule([fault])
    assert reading.unread == ()
    again = refund.right().run(reading.items, reading.schedule)
    assert again.digest() == run.digest()


@pytest.mark.parametrize("form", FORMATS)
def test_a_message_that_came_again(form):
    schedule = Schedule([Redeliver(Site("bus.tax/deliver to tax", "after"))])
    run = call_chain.right().run(None, schedule)
    reading = read_trace(to_trace(run.history, form), call_chain.right())
    assert (reading.schedule, reading.unread) == (schedule, ())


@pytest.mark.parametrize("form", FORMATS)
def test_a_calm_trace_has_no_faults(form):
    assert read_trace(traced(form=form)[1], refund.right()).schedule == Schedule()


@pytest.mark.parametrize("form", FORMATS)
def test_all_formats_say_the_same(form):
    run, text = traced(Schedule([ErrorReply(Site(CHARGE))]), form)
    mine = [
        (one.trace, one.id, one.parent, one.name, one.kind, one.service, one.start_ns)
        for one in spans_in(text)
    ]
    assert mine == [
        (one.trace, one.id, one.parent, one.name, one.kind, one.service, one.start_ns)
        for one in spans_in(traced(Schedule([ErrorReply(Site(CHARGE))]))[1])
    ]
    assert len({one[0] for one in mine}) == len(run.items)


def test_what_leads_to_what():
    _, text = traced(items=(UNICORN,))
    spans = {one.id: one for one in spans_in(text)}
    way, span = [], next(one for one in spans.values() if one.name == "bank.refund")
    while span is not None:
        way.append(f"{span.service} {span.name}")
        span = spans.get(span.parent)
    assert way[-3:] == ["payments process placed", "client send placed", "client item 1"]
    assert "stock process paid" in way


def test_otlp_is_what_opentelemetry_reads():
    """Ids are hexadecimal in OTLP's JSON, where protobuf's own JSON has base64: nothing else."""
    value = json.loads(traced()[1])
    for resource in value["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                assert (len(span["traceId"]), len(span["spanId"])) == (32, 16)
    read = json_format.ParseDict(value, TracesData())
    names = {one.name for r in read.resource_spans for s in r.scope_spans for one in s.spans}
    assert {"bank.charge", "send placed", "process paid"} <= names


FOREIGN = {
    "data": [
        {
            "traceID": "4bf92f3577b34da6a3ce929d0e0e4736",
            "processes": {"p1": {"serviceName": "web"}, "p2": {"serviceName": "payments"}},
            "spans": [
                {
                    "traceID": "4bf92f3577b34da6a3ce929d0e0e4736",
                    "spanID": "00f067aa0ba902b7",
                    "operationName": "POST /orders",
                    "references": [],
                    "startTime": 1_700_000_000_000_000,
                    "duration": 40_000,
                    "tags": [
                        {"key": "span.kind", "type": "string", "value": "server"},
                        {"key": "order", "type": "string", "value": '{"id": "o7", "cents": 5}'},
                    ],
                    "processID": "p1",
                },
                {
                    "traceID": "4bf92f3577b34da6a3ce929d0e0e4736",
                    "spanID": "00f067aa0ba902b8",
                    "operationName": "process placed",
                    "references": [{"refType": "CHILD_OF", "spanID": "00f067aa0ba902b7"}],
                    "startTime": 1_700_000_000_001_000,
                    "duration": 30_000,
                    "tags": [
                        {"key": "span.kind", "value": "consumer"},
                        {"key": "messaging.destination.name", "value": "placed"},
                    ],
                    "processID": "p2",
                },
                {
                    "traceID": "4bf92f3577b34da6a3ce929d0e0e4736",
                    "spanID": "00f067aa0ba902b9",
                    "operationName": "HTTP POST",
                    "references": [{"refType": "CHILD_OF", "spanID": "00f067aa0ba902b8"}],
                    "startTime": 1_700_000_000_002_000,
                    "duration": 20_000,
                    "tags": [
                        {"key": "span.kind", "value": "client"},
                        {"key": "error", "value": True},
                        {"key": "otel.status_description", "value": "503"},
                        {"key": "peer.service", "value": "bank"},
                        {"key": "rpc.method", "value": "charge"},
                    ],
                    "processID": "p2",
                },
            ],
        }
    ]
}


def test_a_trace_of_somebody_else_by_the_names_of_services():
    reading = read_trace(
        json.dumps(FOREIGN),
        refund.right(),
        item=lambda words: refund.Order(**json.loads(words["order"])),
    )
    assert reading.items == (refund.Order("o7", cents=5),)
    assert reading.schedule == Schedule([ErrorReply(Site(CHARGE))])
    run = refund.right().run(reading.items, reading.schedule)
    assert not run.unused


def test_trouble_that_belongs_to_nobody_is_said():
    value = json.loads(json.dumps(FOREIGN).replace('"charge"', '"transfer"'))
    reading = read_trace(json.dumps(value), refund.right(), item=lambda words: BOOK)
    assert reading.schedule == Schedule()
    assert reading.unread == ("payments: HTTP POST failed (503)",)


@pytest.mark.parametrize("text", ["", "{}", "[]", "no json", '{"data": 1}', '[{"id": 1}]', "[1]"])
def test_what_is_no_trace_is_refused(text):
    with pytest.raises(InvalidDefinition, match="trace"):
        read_trace(text, refund.right())


def test_there_is_no_such_format():
    run = refund.right().run()
    with pytest.raises(InvalidDefinition, match="otlp, jaeger, zipkin"):
        to_trace(run.history, "xml")


def test_the_same_history_is_the_same_trace():
    assert traced()[1] == traced()[1]


def test_an_attribute_that_no_root_has_is_refused():
    """The examples of the entry would be run in its place, and each promise kept."""
    text = json.dumps(FOREIGN)
    with pytest.raises(InvalidDefinition, match=r"has the attribute 'ordre'; they have: .*order"):
        read_trace(text, refund.right(), item="ordre")


def test_an_attribute_that_is_no_json_is_refused():
    held = json.loads(json.dumps(FOREIGN))
    held["data"][0]["spans"][0]["tags"][1]["value"] = "o7"
    with pytest.raises(InvalidDefinition, match="'order' of a root span is no JSON, 'o7' say"):
        read_trace(json.dumps(held), refund.right(), item="order")
