"""A job with a due time is held in a worker's memory longer than its visibility timeout.

Kind: redelivery while the first holder is still alive, without any fault. Sources: celery/kombu
issue 337; SourceLair post-mortem "Why several users got spammed with emails". The
broker (Redis with a visibility timeout) is not in the product: it is a table here.
Smallest fault: 0. Expected: `broken` is reported without any fault (one welcome mail sent again
and again). `right` holds: a job is taken when it is due, and the mailer knows its reference.
"""

from chaosharness import External, SQLite, System, eventually, never_twice

FAULTS = 1
SCHEMA = """
CREATE TABLE jobs (id TEXT PRIMARY KEY, due_ms INTEGER NOT NULL, taken_ms INTEGER);
"""
VISIBILITY_MS, DELAY_MS = 600_000, 1_500_000


class Mailer:
    def __init__(self):
        self.sent = set()

    def send(self, to, reference=None):
        if reference in self.sent:
            return External.unchanged()
        if reference:
            self.sent.add(reference)


def build(name, *, fixed):
    system = System(name)
    store = system.add(SQLite("db", SCHEMA))
    mailer = system.add(External("mailer", Mailer))

    @system.service("worker", replicas=2)
    def worker(env):
        db, mail = env.connect(store), env.client(mailer)

        def loop():
            while True:
                now = env.now_ms()
                due = now if fixed else 10**12
                row = db.execute(
                    "UPDATE jobs SET taken_ms = ? WHERE id = (SELECT id FROM jobs WHERE due_ms <= ?"
                    " AND (taken_ms IS NULL OR taken_ms < ?) LIMIT 1) RETURNING id, due_ms",
                    (now, due, now - VISIBILITY_MS),
                ).fetchone()
                db.commit()
                if row is None:
                    env.sleep(60)
                    continue
                env.sleep(max(row[1] - env.now_ms(), 0) / 1000)  # waits in memory for its time
                try:
                    mail.send(row[0], reference=row[0] if fixed else None)
                except (ConnectionError, TimeoutError):
                    continue  # comes again after the visibility timeout
                with db:
                    db.execute("DELETE FROM jobs WHERE id = ?", (row[0],))

        env.main(loop)

    @system.entry(examples=["u1"])
    def sign_up(env, user):
        db = env.connect(store)
        with db:
            db.execute("INSERT INTO jobs VALUES (?, ?, NULL)", (user, env.now_ms() + DELAY_MS))

    return system


def welcomed(history):
    if any(history.of("dead")):
        return True  # put aside for a person
    return {e.data["to"] for e in history.of("effect")} == {"u1"}


CLAIMS = [never_twice("mailer", "send", key="to"), eventually("everybody is welcomed", welcomed)]
broken = build("visibility shorter than the delay", fixed=False)
right = build("taken when due", fixed=True)
