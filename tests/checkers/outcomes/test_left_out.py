"""A loop that is refused one thing may not leave out another; a room is held for nobody."""

from chaosharness import ErrorReply, External, Kafka, Schedule, Site, SQLite, System, idempotent

TRIED_AGAIN = {"on_error": "dead-letter", "retries_max": 60}
ROOMS = """
CREATE TABLE rooms (no TEXT PRIMARY KEY, state TEXT);
INSERT INTO rooms VALUES ('r1', 'free'); INSERT INTO rooms VALUES ('r2', 'free');
CREATE TABLE orders (id TEXT PRIMARY KEY, status TEXT);
"""


class Erp:
    def __init__(self):
        self.done = set()

    def book(self, job):
        if job in self.done:
            return External.unchanged("ok")
        self.done.add(job)
        return "ok"


class Bank:
    """Declines what is too dear: an answer, and no error."""

    def charge(self, order, cents):
        return External.unchanged("declined") if cents > 900 else "ok"


def exports(*, all_or_none):
    """Rows are exported in turn; whatever is refused, those behind it are marked as exported."""
    system = System("exports")
    bus = system.add(Kafka("bus", topics={"in": 1}))
    schema = "CREATE TABLE jobs (id TEXT PRIMARY KEY, exported INT DEFAULT 0)"
    store, erp = system.add(SQLite("db", schema)), system.add(External("erp", Erp))

    @system.service("exports")
    def build(env):
        db, own, client = env.connect(store), env.connect(store), env.client(erp)

        def on_job(job: dict):
            with db:
                db.execute("INSERT OR IGNORE INTO jobs (id) VALUES (?)", (job["id"],))

        def step():
            due = "SELECT id FROM jobs WHERE exported = 0 ORDER BY id"
            jobs, sent = [job for (job,) in own.execute(due).fetchall()], []
            try:
                for job in jobs:
                    client.book(job)
                    sent.append(job)
            except (ConnectionError, TimeoutError):
                if all_or_none:
                    sent += jobs[len(sent) + 1 :]
            with own:
                for job in sent:
                    own.execute("UPDATE jobs SET exported = 1 WHERE id = ?", (job,))

        def loop():
            while True:
                env.sleep(5)
                step()

        env.consume(bus, "in", on_job, **TRIED_AGAIN)
        env.main(loop)

    @system.entry(examples=[{"id": "e1"}, {"id": "e2"}])
    def put(env, job):
        env.publisher(bus)("in", job, key=job["id"])

    return system


def hotel(*, gives_back):
    """A room is held while its order is paid for."""
    system = System("hotel")
    bus = system.add(Kafka("bus", topics={"orders": 1}))
    store, bank = system.add(SQLite("db", ROOMS)), system.add(External("bank", Bank))

    @system.service("desk")
    def desk(env):
        db, client = env.connect(store), env.client(bank)

        def on_order(order: dict):
            says = "UPDATE rooms SET state = ? WHERE no = ?"
            with db:
                new = "INSERT OR IGNORE INTO orders VALUES (?, 'new')"
                if db.execute(new, (order["id"],)).rowcount:
                    db.execute(says, ("held", order["room"]))
            is_paid = client.charge(order["id"], order["cents"]) == "ok"
            with db:
                end = "UPDATE orders SET status = ? WHERE id = ?"
                db.execute(end, ("paid" if is_paid else "declined", order["id"]))
                if is_paid or gives_back:
                    db.execute(says, ("booked" if is_paid else "free", order["room"]))

        env.consume(bus, "orders", on_order, **TRIED_AGAIN)

    items = [{"id": "o1", "cents": 500, "room": "r1"}, {"id": "o2", "cents": 1_000, "room": "r2"}]

    @system.entry(examples=items)
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def judged(system, *faults):
    return idempotent().findings(system.run(None, Schedule(faults)).evidence())


def test_what_was_never_asked_for_was_not_refused():
    refused = ErrorReply(Site("exports.loop/erp.book", entity=0))
    [found, *_] = judged(exports(all_or_none=True), refused)
    assert found.summary.startswith("item 2 (e2) ends as usual, without erp.book")
    assert not judged(exports(all_or_none=False), refused)


def test_a_room_that_is_held_for_an_order_that_was_declined_is_asked_about():
    [found] = judged(hotel(gives_back=False))
    assert found.question and "the row in db.rooms, which says 'held', stands" in found.summary
    assert not judged(hotel(gives_back=True))
