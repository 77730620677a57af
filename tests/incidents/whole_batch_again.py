"""One recipient of a batch fails, the job raises, and the retry begins with the first recipient.

Kind: batch without progress. Source: LaunchNotes incident write-up "Duplicate Notifications for
Users" (July 19; log: P14). Smallest fault: 1 (one refused or unanswered mail, not the first).
Expected: `broken` is reported (ann gets the report twice). `right` holds: who got it is written
down, and the mailer knows the reference.
"""

from chaosharness import External, Queue, RabbitMQ, SQLite, System, eventually, never_twice

FAULTS = 1
SCHEMA = "CREATE TABLE sent (week INTEGER, who TEXT, PRIMARY KEY (week, who))"
JOB = {"week": 29, "to": ["ann", "ben", "cleo"]}


class Mailer:
    def __init__(self):
        self.known = set()

    def send(self, to, week, reference=None):
        if reference in self.known:
            return External.unchanged()
        if reference:
            self.known.add(reference)


def build(name, *, fixed):
    system = System(name)
    queues = {"reports": Queue("quorum", dead_letter="parked"), "parked": Queue()}
    bus = system.add(RabbitMQ("bus", queues=queues))
    store = system.add(SQLite("db", SCHEMA))
    mailer = system.add(External("mailer", Mailer))

    @system.service("reports")
    def reports(env):
        db, client = env.connect(store), env.client(mailer)

        def on_job(job: dict):
            done = {
                row[0] for row in db.execute("SELECT who FROM sent WHERE week = ?", (job["week"],))
            }
            for who in job["to"]:
                if fixed and who in done:
                    continue
                client.send(who, job["week"], reference=f"{job['week']} {who}" if fixed else None)
                if fixed:
                    with db:
                        db.execute("INSERT OR IGNORE INTO sent VALUES (?, ?)", (job["week"], who))

        env.consume(bus, "reports", on_job)

    @system.entry(examples=[JOB])
    def weekly(env, job):
        env.publisher(bus)("reports", job, key=str(job["week"]))

    return system


def everybody(history):
    if any(history.of("dead")):
        return True  # put aside for a person
    return {e.data["to"] for e in history.of("effect")} == {"ann", "ben", "cleo"}


CLAIMS = [
    never_twice("mailer", "send", key=("to", "week")),
    eventually("everybody is told", everybody),
]
broken = build("whole batch again", fixed=False)
right = build("batch with progress", fixed=True)
