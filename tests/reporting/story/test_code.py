"""The user's own lines: behind the faults, and behind what was found."""

import asyncio

import pytest
import trio

from chaosharness import (
    Crash,
    Gateway,
    Kafka,
    LostReply,
    Schedule,
    Site,
    SQLite,
    System,
    eventually,
    explore,
    never_charged_twice,
)
from chaosharness.reporting import to_html, to_json, to_markdown, to_text
from chaosharness.search.shrink import shrink

CHARGE = "payments.on_order/bank.charge"


def shop(handler_of):
    """A shop whose handler charges without a key, in some colour."""
    system = System("shop")
    bus = system.add(Kafka("bus", topics={"orders": 1}))
    bank = system.add(Gateway("bank"))

    @system.service("payments", runtime="trio" if handler_of is on_trio else None)
    def payments(env):
        env.consume(bus, "orders", handler_of(env.client(bank)))

    @system.entry(examples=[{"id": "o1", "card": "4111-1111"}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    system.claim(never_charged_twice(bank))
    return system


def plain(client):
    def on_order(order):
        client.charge(order["id"], 500)  # plain

    return on_order


def on_trio(client):
    async def on_order(order):
        await trio.sleep(0)
        await client.charge(order["id"], 500)  # trio

    return on_order


def on_asyncio(client):
    async def on_order(order):
        await asyncio.sleep(0)
        await pay(order)

    async def pay(order):
        await client.charge(
            order["id"],
            500,
        )

    return on_order


def by_ports(client):
    async def on_order(order):
        await client.charge(order["id"], 500)  # ports

    return on_order


def found_in(system):
    campaign = explore(system, faults_max=1, kinds=(LostReply,))
    (found,) = campaign.counterexamples
    return found


@pytest.mark.parametrize(
    ("handler_of", "text", "function"),
    [
        (plain, 'client.charge(order["id"], 500)  # plain', "plain.on_order"),
        (on_trio, 'await client.charge(order["id"], 500)  # trio', "on_trio.on_order"),
        (on_asyncio, "await client.charge(", "on_asyncio.pay"),
        (by_ports, 'await client.charge(order["id"], 500)  # ports', "by_ports.on_order"),
    ],
)
def test_the_line_that_asked_is_known_in_each_colour(handler_of, text, function):
    found = found_in(shop(handler_of))
    (line,) = found.decisive()
    assert (line.text, line.function) == (text, function)
    assert line.at == f"tests/reporting/story/test_code.py:{line.number}"
    assert f"> {line.number}  " in to_text(found)


def test_every_format_shows_the_lines_and_none_an_absolute_path():
    found = found_in(shop(plain))
    for shown in (to_text(found), to_markdown(found), to_html(found), to_json(found)):
        assert "test_code.py:" in shown
        assert "500)  # plain" in shown
        assert __file__ not in shown


def test_what_is_masked_is_masked_in_the_source_as_well():
    def spelled_out(client):
        def on_order(order):
            client.charge("4111-1111", 500)

        return on_order

    found = found_in(shop(spelled_out))
    assert '"4111-1111"' in to_text(found)
    for form in (to_text, to_markdown, to_html, to_json):
        assert "4111" not in form(found, redact="card")


def test_a_run_says_nothing_of_lines_and_its_digest_does_not_know_them():
    system = shop(plain)
    schedule = Schedule([LostReply(Site(CHARGE, "after"))])
    run = system.run(None, schedule)
    lines = system.lines(run)
    assert run.digest() == system.run(None, schedule).digest()
    kinds = {run.history[index].kind for index in lines}
    assert "call" in kinds and "publish" in kinds
    assert not kinds & {"phase", "end", "deliver", "arrive"}


def test_where_the_file_cannot_be_read_the_line_is_still_named():
    names = {}
    source = "def of(client):\n    return lambda order: client.charge(order['id'], 500)\n"
    exec(compile(source, "/nowhere/handlers.py", "exec"), names)
    found = found_in(shop(names["of"]))
    (line,) = found.decisive()
    assert (line.source, line.text) == ((), "")
    assert "handlers.py:2 in of.<lambda> (" in to_text(found)


def test_where_the_end_is_wrong_the_line_is_shown_that_did_it_again():
    """The finding points at rows, which nobody asked for; the second update is a line."""
    system = System("points")
    bus = system.add(Kafka("bus", topics={"bought": 1}))
    schema = "CREATE TABLE accounts (id TEXT, points INT); INSERT INTO accounts VALUES ('ann', 0)"
    db = system.add(SQLite("db", schema=schema))

    @system.service("loyalty")
    def loyalty(env):
        def on_bought(order):
            with env.connect(db) as rows:
                rows.execute("UPDATE accounts SET points = points + 10")  # earned

        env.consume(bus, "bought", on_bought)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("bought", order, key=order["id"])

    kept = eventually("ten points", lambda h: not any("20" in str(e.data) for e in h.of("state")))
    dies = Crash(Site("loyalty.on_bought/db.commit", "after"))
    found = shrink(system, kept, list(system.examples), Schedule([dies]))
    text = to_text(found)
    code = text[text.index("In your code") : text.index("What happened")]
    assert "# earned" in code
