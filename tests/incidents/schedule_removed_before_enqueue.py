"""A scheduler takes all due rows out of its table, commits, and then enqueues them one by one.

Kind: moved by delete first, then insert, in two stores. Source: coleifer/huey issue 915.
Smallest fault: 1 (a crash, or one publish that fails, after the delete).
Expected: `broken` is reported (a job is in neither place). `right` holds: publish, then delete;
a job that comes twice is recognised by its reference.
"""

from sqlite3 import OperationalError

from chaosharness import External, Queue, RabbitMQ, SQLite, System, eventually

FAULTS = 1
SCHEMA = "CREATE TABLE schedule (id TEXT PRIMARY KEY)"


class Printer:
    def __init__(self):
        self.done = set()

    def print(self, job):
        if job in self.done:
            return External.unchanged()
        self.done.add(job)


def build(name, *, fixed):
    system = System(name)
    bus = system.add(
        RabbitMQ("bus", queues={"jobs": Queue("quorum", dead_letter="parked"), "parked": Queue()})
    )
    store = system.add(SQLite("db", SCHEMA))
    printer = system.add(External("printer", Printer))

    @system.service("scheduler")
    def scheduler(env):
        db, publish = env.connect(store), env.publisher(bus)

        def drop(job):
            with db:
                db.execute("DELETE FROM schedule WHERE id = ?", (job,))

        def tick():
            while True:
                due = [row[0] for row in db.execute("SELECT id FROM schedule").fetchall()]
                if not fixed:
                    with db:
                        db.executemany("DELETE FROM schedule WHERE id = ?", [(job,) for job in due])
                for job in due:
                    publish("jobs", {"id": job}, key=job)
                    if fixed:
                        drop(job)
                env.sleep(10)

        env.main(tick)

    @system.service("worker")
    def worker(env):
        client = env.client(printer)

        def on_job(job: dict):
            client.print(job["id"])

        env.consume(bus, "jobs", on_job, read_as=dict)

    @system.entry(examples=["j1", "j2"])
    def plan(env, job):
        db = env.connect(store)
        for _ in range(1_000):
            try:
                with db:
                    return db.execute("INSERT INTO schedule VALUES (?)", (job,)).close()
            except OperationalError:  # locked: the client tries again
                env.sleep(5)

    return system


def all_done(history):
    if any(history.of("dead")):
        return True  # put aside for a person
    return {e.data["job"] for e in history.of("effect")} == {"j1", "j2"}


CLAIMS = [eventually("every job that was planned is done", all_done)]
broken = build("schedule removed before enqueue", fixed=False)
right = build("schedule removed after enqueue", fixed=True)
