"""Small systems for the tests of handlers: orders come in by Kafka, code under test is given."""

from chaosharness import Gateway, Kafka, KeyValue, Schedule, Site, SQLite, System

ASYNC = ("ports", "asyncio", "trio")
COLOURS = ("plain", *ASYNC)

HANDLE = "desk.on_order/handle"
CHARGE = "desk.on_order/bank.charge"
PUBLISH = "desk.on_order/bus.publish out"

SCHEMA = "CREATE TABLE seen (id TEXT PRIMARY KEY);"


class House:
    """What the code under test is built with."""

    def __init__(self, env, bus, bank, kv, db):
        self.env = env
        self.publish = env.publisher(bus)
        self.bank = env.client(bank)
        self._bus = bus
        self._kv = kv
        self._db = db

    @property
    def kv(self):
        return self.env.connect(self._kv)

    @property
    def db(self):
        return self.env.connect(self._db)

    def consume(self, handler, **options):
        self.env.consume(self._bus, "orders", handler, **options)

    def consumer(self, **options):
        return self.env.consumer(self._bus, "orders", **options)


def system_of(build, *, runtime=None, replicas=1, orders=1, budget=None, entry=None):
    """A system with one service, `desk`, which `build(house)` builds."""
    system = System("house", budget=budget)
    bus = system.add(Kafka("bus", topics={"orders": 4, "out": 4}))
    bank = system.add(Gateway("bank"))
    kv = system.add(KeyValue("kv"))
    db = system.add(SQLite("db", SCHEMA))

    @system.service("desk", replicas=replicas, runtime=runtime)
    def desk(env):
        build(House(env, bus, bank, kv, db))

    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    system.entry(examples=[{"id": f"o{number}"} for number in range(1, orders + 1)])(entry or place)
    return system


def handled_by(handler, **options):
    """A system whose `desk` handles each order by `handler(house, order)`, in its colour."""

    def build(house):
        def on_order(order):
            return handler(house, order)

        async def on_order_later(order):
            return await handler(house, order)

        chosen = on_order_later if handler.__code__.co_flags & 0x80 else on_order
        chosen.__name__ = "on_order"
        house.consume(chosen)

    if options.get("runtime") == "plain":
        del options["runtime"]
    return system_of(build, **options)


def run(handler, schedule=None, **options):
    """Run a system whose `desk` handles each order by `handler(house, order)`."""
    return handled_by(handler, **options).run(schedule=schedule)


def only(fault, operation, phase="before", *, entity=1, attempt=1, **options):
    """A schedule of one fault."""
    return Schedule([fault(Site(operation, phase, entity, attempt), **options)])


def notes(run):
    """What the code under test said, and when, in ms after the first order was handed over."""
    start = next(event.at_ms for event in run.history.of("deliver", "start"))
    for event in run.history.of("deliver"):
        start = event.at_ms
        break
    return [(event.at_ms - start, event.data["what"]) for event in run.history.of("note")]


def said(run):
    """What the code under test said."""
    return [event.data["what"] for event in run.history.of("note")]


def published(run):
    """The keys of what the code under test has published."""
    return [
        event.data["key"] for event in run.history.of("publish") if event.data["topic"] == "out"
    ]
