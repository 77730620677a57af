"""The command that holds histories against laws: it counts, and it can fail."""

import pytest

from benchmarks import laws


def test_one_producer_keeps_its_order_on_a_connection():
    found = laws.counted("producers")
    assert (found.systems, found.broken) == (3, [])
    assert found.singles > 100 and found.pairs == 120


def test_three_producers_do_not():
    broken = set()
    for system, schedules, check in laws.relays(together=False):
        for schedule in schedules:
            try:
                check(system.run(None, schedule))
            except AssertionError:
                broken.add(system.name)
                break
    assert broken == {"relay on kafka", "relay on rabbitmq", "relay on nats"}


def test_an_unknown_product_is_said(capsys):
    assert laws.main("mqtt") == 3
    assert "no laws of mqtt; there are: all, kafka, nats, sqs, producers" in capsys.readouterr().out


@pytest.mark.parametrize("product", ["nats", "sqs", "kafka"])
def test_there_are_systems_of_each(product):
    assert sum(1 for _ in laws.PRODUCTS[product]()) >= 8
