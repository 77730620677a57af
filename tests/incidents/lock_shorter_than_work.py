"""A lock ends by itself while its holder still works; the second holder's write is lost.

Kind: lease shorter than the work, no fencing. Source: repository-service-tuf/
repository-service-tuf-worker issue 151, ionelmc/python-redis-lock issue 93.
Smallest fault: 1 (a slow upload, or a pause, inside the lock).
Expected: `broken` is reported (one of two published targets is missing from the list). `right`
holds: the list is replaced only in the version that was read, else it is tried again.
"""

import json

from chaosharness import Books, External, Kafka, SQLite, System, eventually

FAULTS = 1
SCHEMA = """
CREATE TABLE locks (name TEXT PRIMARY KEY, until_ms INTEGER NOT NULL);
CREATE TABLE metadata (id TEXT PRIMARY KEY, version INTEGER NOT NULL, targets TEXT NOT NULL);
INSERT INTO metadata VALUES ('root', 1, '[]');
"""


class Bucket:
    def put(self, target):
        return External.unchanged()


def build(name, *, fixed):
    system = System(name, arrival_ms=2_000)
    bus = system.add(Kafka("bus", topics={"targets": 2}))
    store = system.add(SQLite("db", SCHEMA))
    bucket = system.add(External("bucket", Bucket, timeout_ms=30_000))

    @system.service("signer", replicas=2)
    def signer(env):
        db, client = env.connect(store), env.client(bucket)

        def acquire():
            while True:
                now = env.now_ms()
                with db:
                    db.execute("DELETE FROM locks WHERE until_ms < ?", (now,))
                    if db.execute(
                        "INSERT OR IGNORE INTO locks VALUES ('meta', ?)", (now + 5_000,)
                    ).rowcount:
                        return
                env.sleep(0.5)

        def publish_once(target):
            sql = "SELECT version, targets FROM metadata WHERE id = 'root'"
            version, targets = db.execute(sql).fetchone()
            client.put(target)
            wanted = json.dumps(sorted({*json.loads(targets), target}))
            same = "AND version = ?" if fixed else "AND ? > 0"
            with db:
                return db.execute(
                    "UPDATE metadata SET version = version + 1, targets = ? "
                    f"WHERE id = 'root' {same}",
                    (wanted, version),
                ).rowcount

        def on_target(target: dict):
            acquire()
            try:
                while not publish_once(target["id"]):
                    pass
            finally:
                with db:
                    db.execute("DELETE FROM locks WHERE name = 'meta'")

        env.consume(bus, "targets", on_target, on_error="dead-letter", retries_max=20)

    @system.entry(examples=[{"id": "t1"}, {"id": "t2"}])
    def submit(env, target):
        env.publisher(bus)("targets", target, key=target["id"])

    return system


def listed(history):
    if any(history.of("dead")):
        return True  # put aside for a person
    [row] = Books(history).rows("db", "metadata")
    return json.loads(row["targets"]) == ["t1", "t2"]


CLAIMS = [eventually("every published target is listed", listed)]
broken = build("lock shorter than the work", fixed=False)
right = build("version checked at the write", fixed=True)
