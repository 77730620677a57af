"""Small systems for the tests of stores: orders come in by calls, code under test is given."""

from chaosharness import KeyValue, Schedule, Site, SQLite, System

SCHEMA = """
CREATE TABLE charges (id TEXT PRIMARY KEY, cents INTEGER NOT NULL);
CREATE TABLE notes (text TEXT); -- no primary key
"""
INSERT = "INSERT INTO charges VALUES (?, ?)"
ORDERS = [{"id": "o1", "cents": 500}, {"id": "o2", "cents": 700}]


def shop(handle, *, items=ORDERS, store=None, arrival_ms=10, services=("payments",), runtime=None):
    """A system whose services call `handle(connection, order)`; each order goes to the next."""
    store = store or SQLite("db", SCHEMA)
    system = System("shop", arrival_ms=arrival_ms)
    system.add(store)

    def build(env):
        connection = env.connect(store)

        def on_order(order):
            return handle(connection, order, env) if wants_env else handle(connection, order)

        async def on_order_async(order):
            return await handle(connection, order)

        wants_env = handle.__code__.co_argcount == 3
        chosen = on_order_async if handle.__code__.co_flags & 0x80 else on_order
        chosen.__name__ = "on_order"
        env.serve("order", chosen)

    for service in services:
        system.service(service, runtime=runtime)(build)

    @system.entry(examples=items)
    def place(env, order):
        service = services[items.index(order) % len(services)]
        env.call(service, "order", order, timeout_s=100)

    return system


def insert(connection, order):
    """Charge in a transaction of sqlite3's own."""
    with connection:
        connection.execute(INSERT, (order["id"], order["cents"]))


def only(fault, operation, phase="before", *, entity=1, attempt=1, **options):
    """A schedule of one fault."""
    return Schedule([fault(Site(operation, phase, entity, attempt), **options)])


def final(run, store="db"):
    """What a store holds at the end."""
    return next(event.data for event in run.history.of("state") if event.actor == store)


def ids(run):
    return [row["id"] for row in final(run)["tables"]["charges"]]


def told(run, *kinds):
    """Events as short texts: kind, action, and what matters of their data."""
    lines = []
    for event in run.history.of(*kinds):
        words = [event.kind, event.operation.rpartition("/")[2]]
        words += [f"{name}={event.data[name]}" for name in SHOWN if name in event.data]
        lines.append(" ".join(word for word in words if word))
    return lines


SHOWN = ("rows", "why", "error", "outcome", "commits")


def memory(handle, kv=None, **options):
    """The same around a key-value store."""
    return shop(handle, store=kv or KeyValue("kv"), **options)
