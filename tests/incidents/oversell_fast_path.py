"""The last ticket is sold twice: the fast path checks the quota, waits, and books without a lock.

Kind: check, wait, act; two replicas. Sources: fossasia/eventyay issue 1359, awesto/django-shop
issue 888. Smallest fault: 1 (one slow call between check and booking).
Expected: `broken` is reported (2 tickets sold of 1). `right` holds: check and booking are one
statement.
"""

from chaosharness import Books, External, Queue, RabbitMQ, SQLite, System, eventually

FAULTS = 1
SCHEMA = "CREATE TABLE orders (id TEXT PRIMARY KEY, state TEXT NOT NULL)"
QUOTA = 1


class Tax:
    def rate(self, country):
        return 8


def build(name, *, fixed):
    system = System(name, arrival_ms=1_000)
    queues = {"checkouts": Queue("quorum", dead_letter="parked"), "parked": Queue()}
    bus = system.add(RabbitMQ("bus", queues=queues))
    store = system.add(SQLite("db", SCHEMA))
    tax = system.add(External("tax", Tax, reads=["rate"]))

    @system.service("shop", replicas=2)
    def shop(env):
        db, client = env.connect(store), env.client(tax)

        async def on_checkout(order: dict):
            [sold] = db.execute("SELECT count(*) FROM orders WHERE state = 'sold'").fetchone()
            await client.rate("CH")
            with db:
                if fixed:
                    db.execute(
                        "INSERT OR IGNORE INTO orders SELECT ?, CASE WHEN "
                        "(SELECT count(*) FROM orders WHERE state = 'sold') < ? "
                        "THEN 'sold' ELSE 'refused' END",
                        (order["id"], QUOTA),
                    )
                else:
                    state = "sold" if sold < QUOTA else "refused"
                    db.execute("INSERT OR IGNORE INTO orders VALUES (?, ?)", (order["id"], state))

        env.consume(bus, "checkouts", on_checkout, prefetch=1)

    @system.entry(examples=[{"id": "o1"}, {"id": "o2"}])
    def check_out(env, order):
        env.publisher(bus)("checkouts", order, key=order["id"])

    return system


def within_quota(history):
    if any(history.of("dead")):
        return True  # put aside for a person
    states = Books(history).column("db", "orders", by="id", of="state")
    return list(states.values()).count("sold") <= QUOTA


CLAIMS = [eventually("no more tickets are sold than there are", within_quota)]
broken = build("oversell on the fast path", fixed=False)
right = build("quota in one statement", fixed=True)
