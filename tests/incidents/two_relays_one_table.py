"""Two workers read the same unsent rows, send, and mark them afterwards.

Kind: claim after the effect. Sources: makeplane/plane pull request 9609, loadsmart/django-jaiminho
pull request 246. Smallest fault: 0 with two replicas on one clock (1 with one: a crash
after the mail). Expected: `broken` is reported (a mail sent twice). `right` holds: a row is
claimed for ten minutes in one statement, and the mailer knows the reference.
"""

from sqlite3 import OperationalError

from chaosharness import External, SQLite, System, eventually, never_twice

FAULTS = 1
SCHEMA = """
CREATE TABLE mails (id TEXT PRIMARY KEY, sent INTEGER NOT NULL DEFAULT 0,
                    claimed_ms INTEGER NOT NULL DEFAULT -10000000);
"""


class Mailer:
    def __init__(self):
        self.known = set()

    def send(self, to, reference=None):
        if reference in self.known:
            return External.unchanged()
        if reference:
            self.known.add(reference)


def build(name, *, fixed):
    system = System(name)
    store = system.add(SQLite("db", SCHEMA))
    mailer = system.add(External("mailer", Mailer))

    @system.service("beat", replicas=2)
    def beat(env):
        db, client = env.connect(store), env.client(mailer)

        def claim(mail):
            with db:
                now = env.now_ms()
                return db.execute(
                    "UPDATE mails SET claimed_ms = ? WHERE id = ? AND sent = 0 AND claimed_ms < ?",
                    (now, mail, now - 600_000),
                ).rowcount

        def stack():
            while True:
                rows = db.execute("SELECT id FROM mails WHERE sent = 0").fetchall()
                for (mail,) in rows:
                    if fixed and not claim(mail):
                        continue
                    client.send(mail, reference=mail if fixed else None)
                    with db:
                        db.execute("UPDATE mails SET sent = 1 WHERE id = ?", (mail,))
                env.sleep(300)

        env.main(stack)

    @system.entry(examples=["m1", "m2"])
    def notify(env, mail):
        db = env.connect(store)
        for _ in range(1_000):
            try:
                with db:
                    return db.execute("INSERT INTO mails (id) VALUES (?)", (mail,)).close()
            except OperationalError:  # locked: the client tries again
                env.sleep(5)

    return system


def all_sent(history):
    if any(history.of("dead")):
        return True  # put aside for a person
    return {e.data["to"] for e in history.of("effect")} == {"m1", "m2"}


CLAIMS = [never_twice("mailer", "send", key="to"), eventually("every mail is sent", all_sent)]
broken = build("two relays, one table", fixed=False)
right = build("two relays with claims", fixed=True)
