"""A join counts its parts down; one part that comes twice stands for another that is missing.

Kind: join by counter. Source: celery/django-celery-results pull request 397, celery/celery issue
4207. Smallest fault: 1 (a part delivered twice). Expected: `broken` is reported
(page published with one part of two). `right` holds: the join keeps the set of its parts.
"""

from chaosharness import External, Kafka, SQLite, System, eventually, joins_complete

FAULTS = 1
SCHEMA = """
CREATE TABLE counters (page TEXT PRIMARY KEY, missing INTEGER NOT NULL);
CREATE TABLE parts (page TEXT, part TEXT, PRIMARY KEY (page, part));
"""


class Site:
    def __init__(self):
        self.pages = {}

    def put(self, page, parts):
        if self.pages.get(page) == parts:
            return External.unchanged()
        self.pages[page] = parts


def build(name, *, fixed):
    system = System(name)
    bus = system.add(Kafka("bus", topics={"texts": 1, "images": 1, "complete": 1}))
    store = system.add(SQLite("db", SCHEMA))
    site = system.add(External("site", Site))

    @system.service("join")
    def join(env):
        db, publish = env.connect(store), env.publisher(bus)

        def arrived(page, part):
            with db:
                db.execute("INSERT OR IGNORE INTO parts VALUES (?, ?)", (page, part))
                if fixed:
                    sql = "SELECT 2 - count(*) FROM parts WHERE page = ?"
                else:
                    db.execute("INSERT OR IGNORE INTO counters VALUES (?, 2)", (page,))
                    db.execute("UPDATE counters SET missing = missing - 1 WHERE page = ?", (page,))
                    sql = "SELECT missing FROM counters WHERE page = ?"
                [missing] = db.execute(sql, (page,)).fetchone()
            if missing == 0:
                publish("complete", {"page": page}, key=page)

        def on_text(text: dict):
            arrived(text["page"], "text")

        def on_image(image: dict):
            arrived(image["page"], "image")

        env.consume(bus, "texts", on_text, on_error="dead-letter", retries_max=20)
        env.consume(bus, "images", on_image, on_error="dead-letter", retries_max=20)

    @system.service("publisher")
    def publisher(env):
        db, client = env.connect(store), env.client(site)

        def on_complete(event: dict):
            rows = db.execute("SELECT part FROM parts WHERE page = ? ORDER BY 1", (event["page"],))
            client.put(event["page"], [row[0] for row in rows.fetchall()])

        env.consume(bus, "complete", on_complete, on_error="dead-letter", retries_max=20)

    @system.entry(examples=["page1"])
    def write(env, page):
        env.publisher(bus)("texts", {"page": page}, key=page)
        env.sleep(5)
        env.publisher(bus)("images", {"page": page}, key=page)

    return system


def whole(history):
    if any(history.of("dead")):
        return True  # put aside for a person
    pages = [e.data for e in history.of("effect")]
    return bool(pages) and pages[-1]["parts"] == ["image", "text"]


CLAIMS = [
    joins_complete(["texts", "images"], "complete"),
    eventually("a page has both parts in the end", whole),
]
broken = build("counted join", fixed=False)
right = build("join of a set", fixed=True)
