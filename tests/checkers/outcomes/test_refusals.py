"""What was refused for a while, what never answered, and what other services hold of it."""

import asyncio
import sqlite3
from contextlib import suppress

import pytest

from chaosharness import (
    Declined,
    Delay,
    ErrorReply,
    External,
    FailedCommit,
    Gateway,
    Kafka,
    LostReply,
    LostRequest,
    NetworkPartition,
    Queue,
    RabbitMQ,
    RemoteError,
    Schedule,
    Site,
    SQLite,
    System,
    idempotent,
)
from models.third_parties import Bank
from tests.checkers.outcomes.sweep import groups, sweep

TRIED_AGAIN = {"on_error": "dead-letter", "retries_max": 50}
NO_ANSWER = (ConnectionError, TimeoutError)
ORDERS = [{"id": "o1", "cents": 500}, {"id": "o2", "cents": 5_000}]
REPLIES = (ErrorReply, FailedCommit, LostReply, LostRequest)


def shop(*topics: str, examples=ORDERS, parts: int = 1) -> tuple[System, Kafka]:
    system = System("shop")
    bus = system.add(Kafka("bus", topics={"orders": parts, **dict.fromkeys(topics, 1)}))

    @system.entry(examples=examples)
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system, bus


# ---- a third party says no, and takes it the next time


class TooMany(Exception):
    pass


class Hooks:
    """Says no to the first request of each; and to all the others, if it never takes any."""

    def __init__(self, *, takes: bool):
        self.takes, self.asked, self.posted = takes, set(), set()

    def post(self, order):
        if order in self.posted:
            return External.unchanged()
        if order not in self.asked or not self.takes:
            self.asked.add(order)
            raise TooMany("429")
        self.posted.add(order)


def dispatcher(*, takes: bool, stores: bool = False, charges: bool = False) -> System:
    system, bus = shop("failed", examples=ORDERS[:1])
    hooks, bank = system.add(External("hooks", lambda: Hooks(takes=takes))), Gateway("bank")
    bank = system.add(bank)
    db = system.add(SQLite("db", "CREATE TABLE failed (id TEXT PRIMARY KEY);"))

    @system.service("dispatcher")
    def dispatcher(env):
        client, publish, conn = env.client(hooks), env.publisher(bus), env.connect(db)
        money = env.client(bank)

        def on_order(order: dict):
            tries = 4
            try:
                if charges:
                    money.charge(order["id"], order["cents"], key=order["id"])
            except Exception:
                tries = 0
            for attempt in range(tries):
                try:
                    client.post(order["id"])
                    return
                except (TooMany, RemoteError, *NO_ANSWER):
                    env.sleep(2**attempt)
            if stores:
                with conn:
                    conn.execute("INSERT OR IGNORE INTO failed VALUES (?)", (order["id"],))
            else:
                publish("failed", {"id": order["id"]}, key=order["id"])

        env.consume(bus, "orders", on_order, **TRIED_AGAIN)

    return system


@pytest.mark.parametrize("stores", [False, True], ids=["told", "stored"])
def test_what_is_taken_the_second_time_was_not_given_up(stores):
    kinds = (Delay, ErrorReply, FailedCommit, LostReply, LostRequest)
    assert sweep(dispatcher(takes=True, stores=stores), kinds=kinds) == []


def test_what_is_never_taken_and_was_paid_for_is_half_already_in_calm():
    system = dispatcher(takes=False, stores=True, charges=True)
    found = idempotent().findings(system.run().evidence())
    assert "half done" in {one.kind for one in found}


class Porter:
    """Carries no lamps; whatever is recalled, it notes once, also what it never had."""

    def __init__(self):
        self.carried, self.recalled = set(), set()

    def carry(self, order, item):
        if item == "lamp":
            raise TooMany("no lamps")
        if order in self.carried | self.recalled:
            return External.unchanged()
        self.carried.add(order)

    def recall(self, order):
        if order in self.recalled:
            return External.unchanged()
        self.recalled.add(order)


def parcels(*, refunds: bool, charges_anyway: bool = False) -> System:
    """Charge, send and say so; where that cannot be, recall and refund, or forget to refund.

    Or take the money only afterwards, whatever the answer was.
    """
    system, bus = shop("done", "failed", examples=[{"id": "o1", "item": "lamp"}])
    bank, porter = system.add(External("bank", Bank)), system.add(External("porter", Porter))

    @system.service("parcels")
    def service(env):
        publish, money, porters = env.publisher(bus), env.client(bank), env.client(porter)

        def on_order(order: dict):
            name, sent = order["id"], False
            try:
                if not charges_anyway:
                    money.charge(name, 500)
                sent = True
                porters.carry(name, order["item"])
            except (TooMany, RemoteError, *NO_ANSWER):
                if charges_anyway:
                    with suppress(RemoteError, *NO_ANSWER):
                        money.charge(name, 500)
                elif sent:
                    porters.recall(name)
                if refunds:
                    money.refund(name, 500)
                publish("failed", {"id": name}, key=name)
            else:
                publish("done", {"id": name}, key=name)

        env.consume(bus, "orders", on_order, **TRIED_AGAIN)

    return system


def test_a_compensation_that_leaves_its_mark_is_no_half():
    assert idempotent().findings(parcels(refunds=True).run().evidence()) == []
    assert sweep(parcels(refunds=True), kinds=REPLIES) == []


def test_money_that_is_taken_although_it_was_refused_is_half():
    system = parcels(refunds=False, charges_anyway=True)
    found = idempotent().findings(system.run().evidence())
    assert {one.kind for one in found} == {"half done"}
    assert "bank.charge" in str(found[0])


def test_what_stood_before_it_was_refused_is_half():
    found = idempotent().findings(parcels(refunds=False).run().evidence())
    assert {one.kind for one in found} == {"half done"}
    assert "bank.charge" in str(found[0])


# ---- a deadline of the code's own


def deadline(seconds, *, inserts: str) -> System:
    system = System("checkout")
    queues = {"orders": Queue("quorum", dead_letter="parked"), "parked": Queue()}
    bus = system.add(RabbitMQ("bus", queues=queues))
    bank = system.add(Gateway("bank"))
    db = system.add(SQLite("db", "CREATE TABLE orders (id TEXT PRIMARY KEY);"))

    @system.service("checkout")
    def checkout(env):
        client, conn = env.client(bank), env.connect(db)

        async def charge(order):
            for attempt in range(3):
                with suppress(*NO_ANSWER):
                    async with asyncio.timeout(seconds):
                        await client.charge(order["id"], order["cents"], key=order["id"])
                    return
                await asyncio.sleep(2**attempt)
            raise RuntimeError("bank unavailable")

        async def insert(order):
            with conn:
                conn.execute(f"INSERT {inserts} INTO orders VALUES (?)", (order["id"],))

        async def on_order(order: dict):
            async with asyncio.TaskGroup() as both:
                both.create_task(charge(order))
                both.create_task(insert(order))

        env.consume(bus, "orders", on_order)

    @system.entry(examples=ORDERS[:1])
    def place(env, order):
        env.publisher(bus)("orders", order)

    return system


def test_a_call_that_was_given_up_was_failing():
    system = deadline(5, inserts="OR IGNORE")
    parted = NetworkPartition(Site("checkout.on_order/bank.charge"), lasting=1_620_000)
    run = system.run(None, Schedule([parted]))
    assert any(run.history.of("dead"))
    assert idempotent().findings(run.evidence()) == []


def test_a_call_that_was_taken_back_since_another_failed_excuses_nothing():
    assert {one.kind for one in sweep(deadline(5, inserts=""))} >= {"put aside"}


# ---- who comes first gets it


def sign_ups(*, forgets: bool) -> System:
    taken = [{"id": "u1", "email": "a@x"}, {"id": "u2", "email": "a@x"}]
    users = [*taken, {"id": "u3", "email": "b@x"}]
    system, bus = shop(examples=users, parts=2)
    db = system.add(SQLite("db", "CREATE TABLE users (id TEXT PRIMARY KEY, email TEXT UNIQUE);"))

    @system.service("users")
    def users_(env):
        conn = env.connect(db)

        def on_sign_up(user: dict):
            try:
                with conn:
                    row = (user["id"], user["email"])
                    words = "INSERT INTO users VALUES (?, ?) ON CONFLICT (id) DO NOTHING"
                    conn.execute(words, row)
            except sqlite3.IntegrityError:
                return
            except sqlite3.OperationalError:
                if not forgets:
                    raise

        env.consume(bus, "orders", on_sign_up, **TRIED_AGAIN)

    return system


def test_whoever_comes_second_is_forgotten_as_in_the_calm_run():
    found = sweep(sign_ups(forgets=False), kinds=(Delay, FailedCommit))
    assert all(one.question for one in found)
    assert groups(found) == {("ignored", "db.users")}


def test_who_is_forgotten_though_nobody_came_before_is_found():
    found = sweep(sign_ups(forgets=True), kinds=(Delay, FailedCommit))
    assert ("forgotten", "") in groups(found)


# ---- what another service holds


def warehouse(system: System, name: str) -> None:
    """Serve `reserve` and `release`, and write down every request."""
    tables = "CREATE TABLE held (id TEXT PRIMARY KEY); CREATE TABLE log (id TEXT, what TEXT);"
    store = system.add(SQLite(f"{name}db", tables))

    @system.service(name)
    def serve(env):
        conn = env.connect(store)

        def reserve(order: str):
            with conn:
                new = conn.execute("INSERT OR IGNORE INTO held VALUES (?)", (order,)).rowcount
                if new:
                    conn.execute("INSERT INTO log VALUES (?, 'reserve')", (order,))

        def release(order: str):
            with conn:
                conn.execute("DELETE FROM held WHERE id = ?", (order,))

        env.serve("reserve", reserve)
        env.serve("release", release)


def falls_back(*, frees: bool) -> System:
    system, bus = shop()
    db = system.add(SQLite("db", "CREATE TABLE shipments (id TEXT PRIMARY KEY, site TEXT);"))
    warehouse(system, "east")
    warehouse(system, "west")

    @system.service("orders")
    def orders(env):
        conn = env.connect(db)

        def on_order(order: dict):
            site = "east"
            try:
                env.call("east", "reserve", order["id"], timeout_s=3)
            except TimeoutError:
                if frees:
                    env.call("east", "release", order["id"])
                site = "west"
                env.call("west", "reserve", order["id"])
            with conn:
                conn.execute("INSERT OR REPLACE INTO shipments VALUES (?, ?)", (order["id"], site))

        env.consume(bus, "orders", on_order, **TRIED_AGAIN)

    return system


def gives_up(*, frees: bool, says: str) -> System:
    system, bus = shop("cancelled", "placed")
    db = system.add(SQLite("db", "CREATE TABLE orders (id TEXT PRIMARY KEY, state TEXT);"))
    warehouse(system, "east")

    @system.service("orders")
    def orders(env):
        conn, publish = env.connect(db), env.publisher(bus)

        def on_order(order: dict):
            state = "placed"
            try:
                env.call("east", "reserve", order["id"], timeout_s=3)
            except (RemoteError, *NO_ANSWER):
                state = "cancelled"
                if frees:
                    env.call("east", "release", order["id"])
            if says == "row":
                with conn:
                    row = (order["id"], state)
                    conn.execute("INSERT OR REPLACE INTO orders VALUES (?, ?)", row)
            else:
                publish(state, {"id": order["id"]}, key=order["id"])

        env.consume(bus, "orders", on_order, **TRIED_AGAIN)

    return system


def test_what_two_services_were_asked_for_instead_stands_at_both():
    found = sweep(falls_back(frees=False), kinds=REPLIES)
    assert ("effect twice", "west.reserve") in groups(found)
    said = "west did reserve, which stands at east as well, twice for item 1 (o1); with "
    assert any(one.summary.startswith(said + "east.reserve refused") for one in found)


def test_what_is_freed_at_the_one_may_stand_at_the_other():
    assert sweep(falls_back(frees=True)) == []


def test_what_is_cancelled_and_held_by_another_service_is_half():
    found = sweep(gives_up(frees=False, says="row"), kinds=REPLIES)
    assert "half done" in {one.kind for one in found}


@pytest.mark.parametrize("says", ["row", "message"])
def test_what_is_cancelled_and_freed_may_be_in_the_log(says):
    assert sweep(gives_up(frees=True, says=says), kinds=REPLIES) == []


# ---- a failed compensation in a store


def booking(*, swallows: bool, takes: str, gives: str) -> System:
    """Take a seat, charge, and give it back where the bank declines."""
    system, bus = shop("declined", "freed", "booked")
    bank = system.add(Gateway("bank", declines=lambda order, cents: cents > 1_000))
    tables = (
        "CREATE TABLE seats (id TEXT PRIMARY KEY, taken TEXT);"
        "CREATE TABLE places (n INTEGER); INSERT INTO places VALUES (9);"
        "CREATE TABLE locks (id TEXT PRIMARY KEY);"
    )
    db = system.add(SQLite("db", tables))

    @system.service("seats")
    def seats(env):
        conn, other, publish = env.connect(db), env.connect(db), env.publisher(bus)
        client = env.client(bank)

        def on_order(order: dict):
            with conn:
                locked = conn.execute("INSERT OR IGNORE INTO locks VALUES (?)", (order["id"],))
                if locked.rowcount:
                    conn.execute(takes, {"id": order["id"]})
            try:
                client.charge(order["id"], order["cents"], key=order["id"])
            except Declined:
                publish("declined", order, key=order["id"])
            else:
                publish("booked", {"id": order["id"]}, key=order["id"])

        def on_declined(order: dict):
            try:
                with other:
                    free = "DELETE FROM locks WHERE id = ?"
                    if other.execute(free, (order["id"],)).rowcount:
                        other.execute(gives, {"id": order["id"]})
            except sqlite3.OperationalError:
                if not swallows:
                    raise
            publish("freed", {"id": order["id"]}, key=order["id"])

        env.consume(bus, "orders", on_order, **TRIED_AGAIN)
        env.consume(bus, "declined", on_declined, group="free", **TRIED_AGAIN)

    return system


ROWS = {"takes": "INSERT INTO seats VALUES (:id, 'yes')", "gives": "DELETE FROM seats"}
ROWS["gives"] += " WHERE id = :id"
NUMBERS = {"takes": "UPDATE places SET n = n - 1", "gives": "UPDATE places SET n = n + 1"}


@pytest.mark.parametrize("way", [ROWS, NUMBERS], ids=["rows", "numbers"])
def test_what_was_not_given_back_is_half(way):
    found = sweep(booking(swallows=True, **way), kinds=(FailedCommit, LostReply))
    assert "half done" in {one.kind for one in found}
    assert sweep(booking(swallows=False, **way), kinds=(FailedCommit, LostReply)) == []


def locking() -> System:
    """A lock that is left when it cannot be released: it is nobody's seat."""
    system, bus = shop()
    tables = "CREATE TABLE locks (id TEXT PRIMARY KEY); CREATE TABLE paid (id TEXT PRIMARY KEY);"
    db = system.add(SQLite("db", tables))

    @system.service("worker")
    def worker(env):
        conn = env.connect(db)

        def on_order(order: dict):
            with conn:
                conn.execute("INSERT OR IGNORE INTO locks VALUES (?)", (order["id"],))
            with conn:
                conn.execute("INSERT OR IGNORE INTO paid VALUES (?)", (order["id"],))
            with suppress(sqlite3.OperationalError), conn:
                conn.execute("DELETE FROM locks WHERE id = ?", (order["id"],))

        env.consume(bus, "orders", on_order, **TRIED_AGAIN)

    return system


def test_a_lock_that_stays_is_no_half_of_anything():
    assert "half done" not in {one.kind for one in sweep(locking(), kinds=(FailedCommit,))}
