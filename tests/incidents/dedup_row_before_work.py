"""A webhook is written down as seen before its work is done; the retry is taken for a duplicate.

Kind: idempotency record stored before the work. Source: dj-stripe/dj-stripe issue 832.
Smallest fault: 1 (a crash after the record is committed, or one refused/unanswered grant).
Expected: `broken` is reported (paid account without a licence; the second delivery did nothing).
`right` holds: the record says how far it came, and only a finished event is skipped.
"""

from chaosharness import External, Queue, RabbitMQ, SQLite, System, eventually

FAULTS = 1
SCHEMA = "CREATE TABLE events (id TEXT PRIMARY KEY, state TEXT NOT NULL)"


class Licences:
    def __init__(self):
        self.granted = {}

    def grant(self, account, reference):
        if reference in self.granted:
            return External.unchanged(account)
        self.granted[reference] = account
        return account


def build(name, *, fixed):
    system = System(name)
    queues = {"webhooks": Queue("quorum", dead_letter="parked"), "parked": Queue()}
    bus = system.add(RabbitMQ("bus", queues=queues))
    store = system.add(SQLite("db", SCHEMA))
    licences = system.add(External("licences", Licences))

    @system.service("billing")
    def billing(env):
        db, client = env.connect(store), env.client(licences)

        async def on_webhook(event: dict):
            with db:
                db.execute("INSERT OR IGNORE INTO events VALUES (?, 'new')", (event["id"],))
                changes = db.execute("SELECT changes()").fetchone()[0]
            [state] = db.execute("SELECT state FROM events WHERE id = ?", (event["id"],)).fetchone()
            if state == "done" or (not fixed and not changes):
                return  # seen before
            await client.grant(event["account"], reference=event["id"])
            with db:
                db.execute("UPDATE events SET state = 'done' WHERE id = ?", (event["id"],))

        env.consume(bus, "webhooks", on_webhook)

    @system.entry(examples=[{"id": "e1", "account": "a1"}])
    def paid(env, event):
        env.publisher(bus)("webhooks", event, key=event["id"])

    return system


def licensed(history):
    if any(history.of("dead")):
        return True  # put aside for a person
    return {e.data["account"] for e in history.of("effect")} == {"a1"}


CLAIMS = [eventually("every paid account has its licence", licensed)]
broken = build("dedup row before work", fixed=False)
right = build("dedup row after work", fixed=True)
