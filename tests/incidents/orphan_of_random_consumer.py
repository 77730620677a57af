"""Entries taken by a consumer whose name is new at each start belong to nobody after a crash.

Kind: pending entries never claimed (Redis Streams). Source: infiniflow/ragflow issue 15805,
taskiq-python/taskiq-redis issue 130. Redis Streams are not in the product: the group
and its pending list are tables here.
Smallest fault: 1 (a crash while a document is worked on). Expected: `broken` is reported (document
d1 is never indexed). `right` holds: what has been pending for a minute is taken over.
"""

from uuid import uuid4

from chaosharness import External, SQLite, System, eventually

FAULTS = 1
SCHEMA = """
CREATE TABLE stream (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL);
CREATE TABLE pending (
    number INTEGER PRIMARY KEY, consumer TEXT NOT NULL, since_ms INTEGER NOT NULL
);
CREATE TABLE groups (name TEXT PRIMARY KEY, last INTEGER NOT NULL);
INSERT INTO groups VALUES ('indexers', 0);
"""


class Index:
    def __init__(self):
        self.known = set()

    def add(self, document):
        if document in self.known:
            return External.unchanged()
        self.known.add(document)


def build(name, *, fixed):
    system = System(name)
    store = system.add(SQLite("db", SCHEMA))
    index = system.add(External("index", Index))

    @system.service("indexer")
    def indexer(env):
        db, client, me = env.connect(store), env.client(index), uuid4().hex

        def take():
            sql = "SELECT number FROM stream WHERE number > (SELECT last FROM groups) LIMIT 1"
            for (number,) in db.execute(sql).fetchall():
                with db:
                    db.execute(
                        "INSERT OR IGNORE INTO pending VALUES (?, ?, ?)", (number, me, env.now_ms())
                    )
                    db.execute("UPDATE groups SET last = max(last, ?)", (number,))
            sql = "SELECT number FROM pending WHERE since_ms < ? AND consumer <> ?"
            for (number,) in (
                db.execute(sql, (env.now_ms() - 60_000, me)).fetchall() if fixed else ()
            ):
                with db:
                    sql = "UPDATE pending SET consumer = ?, since_ms = ? WHERE number = ?"
                    db.execute(sql, (me, env.now_ms(), number))
            sql = "SELECT number, id FROM pending JOIN stream USING (number) WHERE consumer = ?"
            return db.execute(sql, (me,)).fetchall()

        def loop():
            while True:
                mine = take()
                for number, document in mine:
                    try:
                        client.add(document)
                    except (ConnectionError, TimeoutError):
                        continue  # still pending, still mine
                    with db:
                        db.execute("DELETE FROM pending WHERE number = ?", (number,))
                env.sleep(0 if mine else 5)

        env.main(loop)

    @system.entry(examples=["d1", "d2"])
    def upload(env, document):
        db = env.connect(store)
        with db:
            db.execute("INSERT INTO stream (id) VALUES (?)", (document,))

    return system


def all_indexed(history):
    if any(history.of("dead")):
        return True  # put aside for a person
    stored = {row["id"] for e in history.of("state") for row in e.data["tables"].get("stream", ())}
    return stored <= {e.data["document"] for e in history.of("effect")}


CLAIMS = [eventually("every document is indexed", all_indexed)]
broken = build("orphan of a random consumer", fixed=False)
right = build("orphan taken over", fixed=True)
