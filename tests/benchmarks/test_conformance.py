"""One command for all comparisons: a line a kind, what differs, and who is not there."""

from types import ModuleType

import pytest

from benchmarks import conformance, kafka_peers, nats_server
from benchmarks.conformance import PRODUCTS, Row, told


def rows(*found):
    return lambda number: iter(found)


def test_it_prints_sequences_and_differences_of_each_product(monkeypatch, capsys):
    alike, other = Row("A", "logs", 1_200), Row("B", "queues", 7, ("they say 1, we say 2",))
    monkeypatch.setattr(conformance, "PRODUCTS", {"a": rows(alike), "b": rows(alike, other)})
    assert conformance.main("a") == 0
    assert conformance.main() == 1
    assert capsys.readouterr().out.splitlines()[4:] == [
        "A, logs: 1,200 sequences, 0 differ",
        "A, logs: 1,200 sequences, 0 differ",
        "B, queues: 7 sequences, 1 differ",
        "  they say 1, we say 2",
        "",
        "In all",
        "  A: 2,400 sequences, 0 differ",
        "  B: 7 sequences, 1 differ",
    ]


def test_a_product_that_it_does_not_know_is_refused(capsys):
    assert conformance.main("rabbit") == 3
    assert capsys.readouterr().out.startswith("no product rabbit; there are: kafka, rabbitmq, nats")


@pytest.mark.parametrize(
    ("room", "name"), [(kafka_peers, "kafka"), (nats_server, "nats")], ids=["kafka", "nats"]
)
def test_who_is_missing_has_a_line(monkeypatch, room, name):
    monkeypatch.setattr(room, "missing", lambda *peer: "it is not installed")
    for row in PRODUCTS[name](1):
        assert str(row).endswith("not compared: it is not installed")


def test_a_broker_that_does_not_answer_has_a_line(monkeypatch):
    queues = pytest.importorskip("tests.brokers.rabbitmq.test_conformance")
    monkeypatch.setattr(queues, "connect", lambda: None)
    [row] = PRODUCTS["rabbitmq"](1)
    assert str(row).startswith("RabbitMQ, a running broker: not compared: none answers")


def test_what_a_comparison_raises_is_a_difference():
    def compare(number):
        assert number < 3, "the model says 1, the broker 2"

    room = ModuleType("room")
    room.compare = compare
    assert told(room, "compare", lambda: [room.compare(one) for one in range(3)]) == (3, ())
    found = told(room, "compare", lambda: [room.compare(one) for one in range(9)])
    assert found[0] == 4
    assert found[1][0].startswith("the model says 1, the broker 2")
    assert room.compare is compare
