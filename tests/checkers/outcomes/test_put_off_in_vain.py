"""What is put off and comes to a bad end is told as what comes to it at once, on each product."""

import pytest

from chaosharness import (
    SQS,
    Gateway,
    Kafka,
    Queue,
    RabbitMQ,
    SQLite,
    SQSQueue,
    System,
    assumed,
    explore,
)

TABLE = "CREATE TABLE orders (id TEXT PRIMARY KEY, state TEXT)"
SAY = "INSERT INTO orders VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET state = excluded.state"
LETTERS = {"dead_letter": "dead", "receives_max": 10}
NAMES = ["orders", "again", "aside", "failed"]


def broker_of(system, product):
    """Return a broker with its queues, and where an order goes that cannot be charged now."""
    match product:
        case "kafka":
            topics = dict.fromkeys(NAMES, 1)
            return system.add(Kafka("bus", topics, idempotent_producer=True)), "again"
        case "its own topic":
            topics = dict.fromkeys(NAMES, 1)
            return system.add(Kafka("bus", topics, idempotent_producer=True)), "orders"
        case "rabbit":
            queues = dict.fromkeys(NAMES, Queue())
            queues["again"] = Queue(ttl_ms=5_000, dead_letter="orders")
            return system.add(RabbitMQ("bus", queues=queues)), "again"
        case _:
            queues = {name: SQSQueue(**LETTERS) for name in NAMES} | {"dead": SQSQueue()}
            return system.add(SQS("bus", queues)), "again"


def till(product, end, tries):
    """Return a system that puts an order off so many times, and then does as `end` says."""
    system = System("till")
    bus, later = broker_of(system, product)
    bank = system.add(Gateway("bank", timeout_ms=1_000))
    db = system.add(SQLite("db", TABLE)) if end == "state" else None

    @system.service("till")
    def serve(env):
        charge, publish = env.client(bank).charge, env.publisher(bus)
        own = env.connect(db) if db else None

        def say(order, state):
            if own:
                with own:
                    own.execute(SAY, (order["id"], state))

        def take(order: dict):
            if "id" not in order:
                return
            tried = order.get("tries", 0)
            if tried and product in ("kafka", "its own topic"):
                env.sleep(5)
            try:
                charge(order["id"], order["cents"], key=order["id"])
                return say(order, "paid")
            except (ConnectionError, TimeoutError):
                pass
            if tried < tries:
                publish(later, {**order, "tries": tried + 1}, key=order["id"])
            elif end == "aside":
                publish("aside", order, key=order["id"])
            elif end == "failed":
                publish("failed", {"order": order["id"]}, key=order["id"])
            else:
                say(order, "failed")

        def take_again(order: dict):
            take(order)

        env.consume(bus, "orders", take, on_unreadable="skip")
        if later == "again" and product != "rabbit":
            group = {"group": "later"} if product == "kafka" else {}
            env.consume(bus, "again", take_again, on_unreadable="skip", **group)

    @system.entry(examples=[{"id": "o1", "cents": 500}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def told(product, end, tries):
    system = till(product, end, tries)
    found = explore(system, properties=assumed(system), faults_max=1)
    first = [one.findings[0].summary for one in found.counterexamples]
    asked = [str(one) for one in found.questions]
    return found.result, first, asked


PRODUCTS = ["kafka", "its own topic", "rabbit", "sqs"]


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("tries", [0, 2])
def test_who_gives_up_at_last_and_says_nothing_is_told(product, tries):
    result, found, _ = told(product, "nothing", tries)
    assert result == "violated"
    assert any("nothing came of item 1" in one for one in found), found


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("tries", [0, 2])
def test_what_is_put_aside_as_it_is_waits_for_a_person(product, tries):
    assert told(product, "aside", tries) == ("holds", [], [])


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("tries", [0, 2])
def test_an_order_that_failed_and_is_paid_for_all_the_same_is_told(product, tries):
    result, found, _ = told(product, "state", tries)
    assert result == "violated"
    assert any("ends as failed, and yet bank.charge" in one for one in found), found


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("tries", [0, 2])
def test_and_asked_about_where_a_message_alone_says_so(product, tries):
    result, found, asked = told(product, "failed", tries)
    assert (result, found) == ("holds", [])
    assert any("ends as 'bus.failed', and bank.charge" in one for one in asked), asked
