"""Two customers use one coupon: what they have in common is a text, and not what they are about."""

from chaosharness import Kafka, Queue, RabbitMQ, SQLite, System, explore, idempotent

BOTH = [{"code": "WELCOME", "customer": "ann"}, {"code": "WELCOME", "customer": "bob"}]
PROFILES = [{"id": "u1", "name": "Ann"}, {"id": "u1", "name": "Anne"}]
TRIED_AGAIN = {"on_error": "dead-letter", "retries_max": 60}


def one_use_each(*, by):
    """A coupon can be used once by each customer; `by` is what a use is recognised by."""
    system = System("coupons")
    bus = system.add(Kafka("bus", topics={"uses": 1}))
    columns = f"code TEXT, customer TEXT, cents INT, PRIMARY KEY ({by})"
    store = system.add(SQLite("db", f"CREATE TABLE uses ({columns});"))

    @system.service("coupons")
    def coupons(env):
        db = env.connect(store)

        def on_use(use: dict):
            with db:
                insert = "INSERT OR IGNORE INTO uses VALUES (?, ?, 500)"
                db.execute(insert, (use["code"], use["customer"]))

        env.consume(bus, "uses", on_use, **TRIED_AGAIN)

    @system.entry(examples=BOTH)
    def use(env, one):
        env.publisher(bus)("uses", one, key=one["customer"])

    return system


def test_who_is_taken_for_another_customer_is_asked_about():
    campaign = explore(one_use_each(by="code"), faults_max=1)
    [question] = campaign.questions
    assert "nothing comes of item 2 (bob), and nobody is told" in str(question)
    assert "item_id=lambda" in str(question)


def test_a_use_by_each_customer_is_silent():
    campaign = explore(one_use_each(by="code, customer"), faults_max=1)
    assert not campaign.counterexamples and not campaign.questions


def test_a_repeat_that_goes_by_one_name_is_not_asked_about():
    claims = [idempotent(item_id=lambda use: use["code"])]
    campaign = explore(one_use_each(by="code"), properties=claims, faults_max=1)
    assert not campaign.questions


def first_come(schema, sql, items, column):
    """Whose message comes first wins, or whose comes last: nobody keeps their order here."""
    system = System("first come")
    queues = {"in": Queue(dead_letter="dead"), "dead": Queue()}
    bus = system.add(RabbitMQ("bus", queues=queues))
    store = system.add(SQLite("db", schema))

    @system.service("worker")
    def worker(env):
        db = env.connect(store)

        def on_message(one: dict):
            with db:
                db.execute(sql, (one[column], one.get("customer", one.get("name"))))

        env.consume(bus, "in", on_message, **TRIED_AGAIN)

    @system.entry(examples=items)
    def send(env, one):
        env.publisher(bus)("in", one)

    return system


def test_one_coupon_goes_to_whose_message_is_not_put_back():
    """A commit that fails puts the first one back behind the other: nobody promises their order."""
    schema = "CREATE TABLE uses (code TEXT PRIMARY KEY, customer TEXT);"
    sql = "INSERT OR IGNORE INTO uses VALUES (?, ?)"
    campaign = explore(first_come(schema, sql, BOTH, "code"), faults_max=1)
    assert not campaign.counterexamples
    assert any("subject=lambda item" in str(one) for one in campaign.questions)


def test_what_is_written_over_by_an_older_message_is_told():
    schema = "CREATE TABLE view (id TEXT PRIMARY KEY, name TEXT);"
    sql = "INSERT OR REPLACE INTO view VALUES (?, ?)"
    campaign = explore(first_come(schema, sql, PROFILES, "id"), faults_max=1)
    assert any("db.view" in one.findings[0].place for one in campaign.counterexamples)
