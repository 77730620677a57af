"""A task is enqueued inside the transaction that makes its row; a fast worker finds no row.

Kind: publish before commit, consumer drops what it does not know. Sources: dimagi/commcare-connect
pull request 1122, data61/anonlink-entity-service pull request 308.
Smallest fault: 1 (a pause before the commit). Expected: `broken` is reported (an assessment nobody
was told of, the task acknowledged). `right` holds: an outbox in the same transaction.
"""

from chaosharness import External, Kafka, SQLite, System, eventually

FAULTS = 1
SCHEMA = """
CREATE TABLE assessments (id TEXT PRIMARY KEY);
CREATE TABLE outbox (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL);
"""


class Phone:
    def __init__(self):
        self.told = set()

    def notify(self, assessment):
        if assessment in self.told:
            return External.unchanged()
        self.told.add(assessment)


def build(name, *, fixed):
    system = System(name)
    bus = system.add(Kafka("bus", topics={"forms": 1, "tasks": 1}))
    store = system.add(SQLite("db", SCHEMA))
    phone = system.add(External("phone", Phone))

    @system.service("web")
    def web(env):
        db, publish = env.connect(store), env.publisher(bus)

        def on_form(form: dict):
            with db:
                new = db.execute(
                    "INSERT OR IGNORE INTO assessments VALUES (?)", (form["id"],)
                ).rowcount
                if fixed and new:
                    db.execute("INSERT INTO outbox (id) VALUES (?)", (form["id"],))
                if not fixed:
                    publish("tasks", {"id": form["id"]}, key=form["id"])

        def relay():
            own = env.connect(store)
            while True:
                for number, name in own.execute("SELECT number, id FROM outbox").fetchall():
                    publish("tasks", {"id": name}, key=name)
                    with own:
                        own.execute("DELETE FROM outbox WHERE number = ?", (number,))
                env.sleep(1)

        env.consume(bus, "forms", on_form, on_error="dead-letter", retries_max=20)
        if fixed:
            env.main(relay)

    @system.service("worker")
    def worker(env):
        db, client = env.connect(store), env.client(phone)

        def on_task(task: dict):
            row = db.execute("SELECT id FROM assessments WHERE id = ?", (task["id"],)).fetchone()
            if row is None:
                return  # does not exist: logged, and that is it
            client.notify(row[0])

        env.consume(bus, "tasks", on_task, on_error="dead-letter", retries_max=20)

    @system.entry(examples=[{"id": "f1"}])
    def send(env, form):
        env.publisher(bus)("forms", form, key=form["id"])

    return system


def all_told(history):
    if any(history.of("dead")):
        return True  # put aside for a person
    return {e.data["assessment"] for e in history.of("effect")} == {"f1"}


CLAIMS = [eventually("every assessment is announced", all_told)]
broken = build("enqueue before commit", fixed=False)
right = build("enqueue with the commit", fixed=True)
