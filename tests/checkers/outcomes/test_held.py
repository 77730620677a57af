"""What stays held for what was given up without faults; what is put aside behind its like."""

import json

import pytest

from chaosharness import (
    External,
    Gateway,
    Kafka,
    LostRequest,
    Pause,
    Schedule,
    Site,
    SQLite,
    StepFunctions,
    StoreOutage,
    System,
    explore,
    idempotent,
)


class Rooms:
    """Holds rooms, as long as there are some."""

    def __init__(self, free):
        self.free = free
        self.held = {}

    def hold(self, trip):
        if trip in self.held or not self.free:
            return External.unchanged(self.held.get(trip, False))
        self.free -= 1
        self.held[trip] = True
        return True

    def release(self, trip):
        if not self.held.get(trip):
            return External.unchanged(None)
        self.free += 1
        self.held[trip] = False
        return None


def trips(*, releases: bool) -> System:
    """Hold a seat and a bed; where there is no bed, give the seat back, or forget to."""
    system = System("trips")
    bus = system.add(Kafka("bus", topics={"trips": 1}))
    store = system.add(SQLite("db", "CREATE TABLE trips (id TEXT PRIMARY KEY, state TEXT)"))
    flight = system.add(External("flight", lambda: Rooms(2)))
    hotel = system.add(External("hotel", lambda: Rooms(1)))

    @system.service("trips")
    def build(env):
        db, seats, beds = env.connect(store), env.client(flight), env.client(hotel)

        def on_trip(trip):
            known = "SELECT 1 FROM trips WHERE id = ?"
            if db.execute(known, (trip["id"],)).fetchone():
                return
            state = "booked" if seats.hold(trip["id"]) and beds.hold(trip["id"]) else "failed"
            if state == "failed" and releases:
                seats.release(trip["id"])
            with db:
                db.execute("INSERT INTO trips VALUES (?, ?)", (trip["id"], state))

        env.consume(bus, "trips", on_trip, on_error="dead-letter", retries_max=20)

    @system.entry(examples=[{"id": "t1"}, {"id": "t2"}])
    def travel(env, trip):
        env.publisher(bus)("trips", trip, key=trip["id"])

    return system


@pytest.mark.parametrize("releases", [True, False], ids=["given back", "kept"])
def test_of_what_stays_held_for_what_has_failed_without_faults_it_is_asked(releases):
    campaign = explore(trips(releases=releases), faults_max=1, runs_max=40)
    assert not campaign.counterexamples
    asked = [(one.kind, one.place) for one in campaign.questions]
    assert asked == ([] if releases else [("stands", "flight.hold")])


STEPS = ["placed", "paid", "shipped"]


def steps() -> System:
    """An order goes from state to state; whoever comes too early is tried again."""
    system = System("steps")
    bus = system.add(Kafka("bus", topics={"steps": 1}))
    store = system.add(SQLite("db", "CREATE TABLE orders (id TEXT PRIMARY KEY, state TEXT)"))

    @system.service("orders")
    def build(env):
        db = env.connect(store)

        def on_step(step):
            to = STEPS[step["to"]]
            with db:
                if step["to"] == 0:
                    db.execute("INSERT OR IGNORE INTO orders VALUES (?, ?)", (step["id"], to))
                else:
                    move = "UPDATE orders SET state = ? WHERE id = ? AND state = ?"
                    db.execute(move, (to, step["id"], STEPS[step["to"] - 1]))
                now = "SELECT state FROM orders WHERE id = ?"
                found = db.execute(now, (step["id"],)).fetchone()
            if found is None or STEPS.index(found[0]) < step["to"]:
                raise RuntimeError(f"too early to be {to}")

        env.consume(bus, "steps", on_step, on_error="dead-letter", retries_max=5)

    @system.entry(examples=["o1"])
    def order(env, one):
        for to in range(3):
            env.publisher(bus)("steps", {"id": one, "to": to}, key=one)

    return system


def test_what_is_put_aside_in_trouble_excuses_what_comes_behind_it():
    """The first step is put aside by an outage, and the others, handled after it, are too early."""
    outage = StoreOutage(Site("orders.on_step/db.insert orders"), lasting=20_000)
    run = steps().run(None, Schedule([outage]))
    assert len([*run.history.of("dead")]) == 3
    assert [*idempotent().findings(run.evidence())] == []


def unread() -> System:
    """Count once for each who is addressed; two replicas with one database."""
    system = System("unread")
    bus = system.add(Kafka("bus", topics={"chat": 2}))
    store = system.add(SQLite("db", "CREATE TABLE chat (id TEXT, who TEXT, PRIMARY KEY (id, who))"))

    @system.service("inbox", replicas=2)
    def inbox(env):
        db = env.connect(store)

        def on_message(message):
            for who in message["to"]:
                with db:
                    db.execute("INSERT OR IGNORE INTO chat VALUES (?, ?)", (message["id"], who))

        env.consume(bus, "chat", on_message, on_error="dead-letter", retries_max=20)

    @system.entry(examples=[{"id": "m1", "to": ["a", "b"]}, {"id": "m2", "to": ["b", "c"]}])
    def say(env, message):
        env.publisher(bus)("chat", message, key=message["id"])

    return system


def test_a_dead_letter_of_what_was_handled_after_all_is_no_word_of_a_timer():
    """A database is locked for so long that both are put aside; one comes once more, for what
    was committed past it is lost."""
    locked = Pause(Site("inbox.on_message/db.insert chat", "after"), lasting="long")
    lost = LostRequest(Site("inbox.on_message/bus.commit", entity=2))
    run = unread().run(None, Schedule([locked, lost]))
    assert len([*run.history.of("dead")]) == 2
    assert [*idempotent().findings(run.evidence())] == []


class Courier:
    """Books a parcel once, and never that of an order called bad."""

    def __init__(self):
        self.booked = set()

    def book(self, order):
        if order == "bad" or order in self.booked:
            return External.unchanged(order != "bad")
        self.booked.add(order)
        return True


def parcels(*, frees: bool, examples=("o1", "bad")) -> System:
    """Reserve, charge and ship; where no courier takes it, give the money back, and the goods."""
    system = System("parcels")
    bus = system.add(Kafka("bus", topics={"orders": 1}))
    store = system.add(SQLite("db", "CREATE TABLE stock (id TEXT PRIMARY KEY, state TEXT)"))
    bank, courier = system.add(Gateway("bank")), system.add(External("courier", Courier))

    @system.service("orders")
    def build(env):
        db, money, parcel = env.connect(store), env.client(bank), env.client(courier)

        def put(order, state):
            with db:
                db.execute(
                    "INSERT INTO stock VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET state = ?",
                    (order, state, state),
                )

        def on_order(order):
            put(order["id"], "reserved")
            money.charge(order["id"], 500, key=order["id"])
            if parcel.book(order["id"]):
                put(order["id"], "shipped")
                return
            money.refund(order["id"], 500, key=order["id"] + " back")
            if frees:
                put(order["id"], "free")

        env.consume(bus, "orders", on_order, on_error="dead-letter", retries_max=20)

    @system.entry(examples=[{"id": one} for one in examples])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def test_goods_that_stay_reserved_where_the_money_went_back_are_asked_about():
    campaign = explore(parcels(frees=False), faults_max=0)
    assert not campaign.counterexamples
    [asked] = campaign.questions
    assert asked.summary == (
        "already without faults: item 2 (bad) ends as 'reserved', and the row in db.stock, whose "
        "money went back by bank.refund, stands: may it, as somebody sees to it? If so: "
        "may_end=[('db.stock', 'reserved')]"
    )


def test_goods_that_are_free_again_are_not():
    campaign = explore(parcels(frees=True), faults_max=1)
    assert not campaign.counterexamples and not campaign.questions


def test_nor_are_those_that_may_end_so_or_that_all_orders_end_with():
    may = idempotent(may_end=[("db.stock", "reserved")])
    assert not explore(parcels(frees=False), faults_max=0, properties=[may]).questions
    alone = parcels(frees=False, examples=["bad"])
    assert not explore(alone, faults_max=0).questions


def tours(*, catches: bool, seats=None) -> System:
    """Book a seat and pay, as a machine of Step Functions; nobody can pay for the tour `bad`.

    The seat of a tour has its name, or one of those that are given.
    """
    pay = {"Type": "Task", "Resource": "pay", "End": True}
    free = {"Type": "Task", "Resource": "free", "Next": "No"}
    states = {
        "Book": {"Type": "Task", "Resource": "book", "ResultPath": None, "Next": "Pay"},
        "Pay": pay,
        "Free": free,
        "No": {"Type": "Fail", "Error": "NotPaid"},
    }
    for state in (states["Book"], free):
        state["Retry"] = [{"ErrorEquals": ["States.ALL"], "MaxAttempts": 12}]
    if catches:
        every = {"ErrorEquals": ["States.ALL"], "ResultPath": None, "Next": "Free"}
        states["Book"]["Catch"] = pay["Catch"] = [every]
    else:
        del states["Free"], states["No"]
    if seats:
        states["Look"] = {
            **states["Book"],
            "Resource": "look",
            "ResultPath": "$.id",
            "Next": "Book",
        }
        states["Look"].pop("Catch", None)
    system = System("tours")
    machine = {"StartAt": "Look" if seats else "Book", "States": states}
    sfn = system.add(StepFunctions("sfn", machines={"tour": machine}))
    store = system.add(SQLite("db", "CREATE TABLE seats (id TEXT PRIMARY KEY, state TEXT)"))

    @system.service("functions")
    def functions(env):
        db = env.connect(store)

        def put(tour, state):
            with db:
                db.execute(
                    "INSERT INTO seats VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET state = ?",
                    (tour, state, state),
                )

        def pay(event, context):
            if event["id"] in ("bad", "rear", "free rear"):
                raise ValueError("no money")

        if seats:
            env.function(sfn, "look", lambda event, context: seats[event["id"]])
        env.function(sfn, "book", lambda event, context: put(event["id"], "booked"))
        env.function(sfn, "pay", pay)
        if catches:
            env.function(sfn, "free", lambda event, context: put(event["id"], "free"))

    @system.entry(examples=[{"id": "t1"}, {"id": "bad"}])
    def go(env, tour):
        start = env.client(sfn).start_execution
        start(stateMachineArn="tour", name=tour["id"], input=json.dumps(tour))

    return system


def test_a_seat_that_stays_booked_where_its_execution_failed_is_asked_about():
    campaign = explore(tours(catches=False), faults_max=0)
    assert not campaign.counterexamples
    [asked] = campaign.questions
    assert asked.summary.startswith(
        "already without faults: item 2 (bad) ends as 'execution failed', and the row in db.seats, "
        "which says 'booked', stands"
    )


def test_one_that_is_free_again_is_not():
    campaign = explore(tours(catches=True), faults_max=1)
    assert not campaign.counterexamples and not campaign.questions


def test_a_row_that_has_such_a_word_and_was_never_held_is_half():
    seats = {"t1": "front", "bad": "free rear"}
    [found] = explore(tours(catches=False, seats=seats), faults_max=0).counterexamples
    assert "ends as given up, and yet db.seats" in found.findings[0].summary


SEATS = {"t1": "front", "bad": "rear"}
"""Rows with these names are no tour's own."""


def test_a_row_of_nobody_that_is_free_again_is_given_back():
    campaign = explore(tours(catches=True, seats=SEATS), faults_max=1)
    assert not campaign.counterexamples and not campaign.questions


def test_and_one_that_stays_booked_is_half():
    [found] = explore(tours(catches=False, seats=SEATS), faults_max=0).counterexamples
    assert found.findings[0].summary == (
        "already without faults: item 1 (bad) ends as given up, and yet db.seats(id=rear, "
        "state=booked) stands"
    )
