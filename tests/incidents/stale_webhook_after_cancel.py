"""A late retry of an old webhook overwrites what a newer one said.

Kind: last write wins without a version. Source: AnthropicBots/hiero-bot-py issue 75.
The sender of webhooks is the client here: it tries again after an hour, each event on its own.
Smallest fault: 1 (the first event is refused, lost, or its answer is lost: it comes again later).
Expected: `broken` is reported (subscription cancelled, account premium). `right` holds: an event
older than the one applied is left alone.
"""

from chaosharness import Books, RemoteError, SQLite, System, eventually

FAULTS = 1
SCHEMA = "CREATE TABLE accounts (id TEXT PRIMARY KEY, plan TEXT NOT NULL, seen_at INTEGER NOT NULL)"
EVENTS = [
    {"id": "e1", "account": "a1", "type": "created", "at": 100},
    {"id": "e2", "account": "a1", "type": "deleted", "at": 200},
]


def build(name, *, fixed):
    system = System(name, arrival_ms=600_000)
    store = system.add(SQLite("db", SCHEMA))

    @system.service("billing")
    def billing(env):
        db = env.connect(store)

        def on_webhook(event: dict):
            plan = "free" if event["type"] == "deleted" else "premium"
            newer = "WHERE excluded.seen_at > accounts.seen_at" if fixed else ""
            with db:
                db.execute(
                    "INSERT INTO accounts VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
                    f"plan = excluded.plan, seen_at = excluded.seen_at {newer}",
                    (event["account"], plan, event["at"]),
                )

        env.serve("webhook", on_webhook)

    @system.entry(examples=EVENTS)
    def send(env, event):
        for _ in range(6):
            try:
                return env.call("billing", "webhook", event, timeout_s=20)
            except (TimeoutError, ConnectionError, RemoteError):
                env.sleep(3600)

    return system


def free(history):
    if any(history.of("dead")):
        return True  # put aside for a person
    return Books(history).column("db", "accounts", by="id", of="plan") == {"a1": "free"}


CLAIMS = [eventually("a cancelled account is free", free)]
broken = build("stale webhook after cancel", fixed=False)
right = build("stale webhook left alone", fixed=True)
