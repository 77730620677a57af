"""Whose defaults a broker goes by: of a client that is named, and of which server."""

from pathlib import Path

import attrs
import pytest

from chaosharness import (
    Counterexample,
    ErrorReply,
    Gateway,
    LostRequest,
    RabbitMQ,
    Schedule,
    Site,
    System,
    never_charged_twice,
    smallest,
)
from chaosharness.brokers.rabbitmq.profiles import CLIENTS, PROFILES, Profile
from chaosharness.errors import IllegalFault, InvalidValue
from chaosharness.reporting import to_html, to_markdown, to_text

PUBLISH = "desk.sell/bus.publish orders"


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_that_is_named_has_its_defaults(client):
    broker, known = RabbitMQ("bus", ["orders"], client=client), PROFILES.known[client]
    for one in attrs.fields(Profile):
        if one.name not in ("name", "source"):
            assert getattr(broker, one.name) == getattr(known, one.name)


def test_what_is_said_beside_it_stays_as_it_is_said():
    broker = RabbitMQ("bus", ["orders"], client="pika", confirms=True, reconnect_ms=2_000)
    assert (broker.confirms, broker.reconnect_ms, broker.heartbeat_ms) == (True, 2_000, 60_000)
    assert broker.profile == ("pika 1.4 on RabbitMQ 4.0: confirms, heartbeat 60 s, back after 2 s")


def test_a_client_that_nobody_knows_is_refused():
    with pytest.raises(InvalidValue, match=r"client must be one of 'pika', 'aio-pika', not 'kom"):
        RabbitMQ("bus", client="kombu")


def sells(**options):
    """Return a system of a desk that publishes an order, and of who charges for it."""
    system = System("shop")
    bus = system.add(RabbitMQ("bus", ["orders"], **options))
    bank = system.add(Gateway("bank"))

    @system.service("desk")
    def desk(env):
        publish = env.publisher(bus)

        def sell(order):
            try:
                publish("orders", order)
            except (TimeoutError, ConnectionError) as error:
                env.note("told", error=type(error).__name__)

        env.serve("sell", sell)

    @system.service("pay")
    def pay(env):
        client = env.client(bank)
        env.consume(bus, "orders", lambda order: client.charge(order, 5), on_unreadable="reject")

    system.entry(examples=["o1"])(lambda env, order: env.call("desk", "sell", order))
    system.claim(never_charged_twice(bank))
    return system


@pytest.mark.parametrize(("client", "told"), [("pika", []), ("aio-pika", ["told"])])
def test_who_waits_for_no_confirm_is_not_told_of_a_loss(client, told):
    lost = Schedule([LostRequest(Site(PUBLISH))])
    run = sells(client=client).run(None, lost)
    assert not run.unused
    assert [one.data["what"] for one in run.history.of("note")] == told
    assert not [*run.history.of("publish")]


def test_nobody_is_refused_who_waits_for_no_confirm():
    refused = Schedule([ErrorReply(Site(PUBLISH))])
    assert not sells(client="aio-pika").run(None, refused).unused
    with pytest.raises(IllegalFault):
        sells(client="pika").run(None, refused)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"client": "aio-pika"}, "bus as by aio-pika 10 on RabbitMQ 4.0: confirms, heartbeat 60 s"),
        ({"version": "3.13"}, "bus as by RabbitMQ 3.13: confirms, heartbeat 60 s, back after 1 s"),
    ],
)
def test_reports_say_whose_defaults_they_were(options, words):
    found = smallest(sells(**options), faults_max=1)
    assert found.profiles[0].startswith(words)
    for report in (to_text(found), to_markdown(found), to_html(found)):
        assert words in " ".join(report.split())
    assert Counterexample.decode(found.encode()).profiles == found.profiles
    nobody = smallest(sells(), faults_max=1)
    assert nobody.profiles == () and "Profile" not in to_text(nobody)


def test_the_profiles_are_those_of_the_page():
    page = Path(__file__).parents[3].joinpath("docs/how-to/rabbitmq.md").read_text("utf-8")
    assert PROFILES.table() in page
