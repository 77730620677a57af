"""A thread or task that reads messages ends, and its process goes on; beside its near misses."""

import json
import threading
import time

import pytest

from chaosharness import AMQP, RabbitMQ, SQLite, System, Web, smallest
from chaosharness.checkers import Finding
from chaosharness.reporting import to_text
from chaosharness.reporting.story.causes.readers import reader_ended
from tests.reporting.story.tales import Tale, case


def shop(*, ends=True, words=None, dies=False, another=False, late=False, gives_back=False, item=1):
    """Two orders come; after the first, what reads them ends with an error, or does not."""
    tale = Tale()
    first = tale.publish(key="o9", entity=9)
    given = tale.deliver(first)
    tale.handled(given)
    if ends:
        says = {"thread": "Thread-1"} if words is None else words
        error = tale.add(
            "raised", "pay#1", "", given, error="StreamLostError: gone", line="pay.py:7", **says
        )
        if dies:
            tale.crash(error, who="pay#1")
    second = tale.publish(entity=item)
    if not ends or another or late or gives_back:
        to = "pay#2" if another else "pay#1"
        given = tale.deliver(second, to)
        tale.keep("orders", given, who=to)
        tale.handled(given, who=to)
    return tale.end(orders=[{"id": "o1"}] if not ends else [])


def lacks(history):
    return Finding("no row", (len(history) - 1,), 1, kind="row missing", place="db.orders")


@pytest.mark.parametrize(
    ("words", "how"),
    [({"thread": "Thread-1"}, "thread Thread-1"), ({"task": "Task-3"}, "task Task-3")],
)
def test_what_read_is_told_with_its_error_and_its_line(words, how):
    history = shop(words=words)
    found = reader_ended(case(history, lacks(history), shop(ends=False)))
    assert found.kind == "reader"
    assert found.words == (
        f"pay stopped reading orders at 3 ms: its {how} ended with StreamLostError at pay.py:7, "
        f"and the process went on without it. Nobody has read there since."
    )


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"words": {}}, id="a handler raised, and its message comes again"),
        pytest.param({"dies": True}, id="the process ended with it"),
        pytest.param({"another": True}, id="another replica reads on"),
        pytest.param({"late": True}, id="it has another thread that reads"),
    ],
)
def test_what_goes_on_or_has_nothing_left_to_read_is_not_told(near):
    history = shop(**near)
    assert reader_ended(case(history, lacks(history), shop(ends=False))) is None


def test_what_is_left_there_of_another_item_and_a_run_alone_are_not_told():
    history, calm = (shop(ends=ends, item=2) for ends in (True, False))
    assert reader_ended(case(history, lacks(history), calm)) is None
    assert reader_ended(case(shop(), lacks(shop()))) is None


def test_what_it_gave_back_when_it_ended_waits_as_well():
    def run(*, ends):
        tale = Tale()
        message = tale.publish()
        given = tale.deliver(message)
        if ends:
            words = {"message": message, "from": "pay#1", "why": "connection lost"}
            tale.add("nack", "bus", "", given, **words)
            tale.add("raised", "pay#1", "", given, error="StreamLostError", thread="Thread-1")
        else:
            tale.keep("orders", given)
        return tale.end(orders=[] if ends else [{"id": "o1"}])

    history = run(ends=True)
    assert reader_ended(case(history, lacks(history), run(ends=False))).kind == "reader"


def web(*, connects_again):
    """A web application stores orders that a thread of it reads from RabbitMQ."""
    pika = pytest.importorskip("pika")
    fastapi = pytest.importorskip("fastapi")
    system = System("web")
    bus = system.add(RabbitMQ("bus", queues=["orders"]))
    system.add(AMQP("rabbit", bus))
    site = system.add(Web("shop.example"))
    db = system.add(SQLite("db", "CREATE TABLE orders (id TEXT PRIMARY KEY)"))

    @system.service("shop")
    def service(env):
        def on_order(channel, method, properties, body):
            try:
                order = json.loads(body)["id"]
            except (ValueError, KeyError):
                return channel.basic_reject(method.delivery_tag, requeue=False)
            connection = env.connect(db)
            connection.execute("INSERT OR IGNORE INTO orders VALUES (?)", [order])
            connection.commit()
            return channel.basic_ack(method.delivery_tag)

        def read():
            channel = pika.BlockingConnection(pika.ConnectionParameters("rabbit")).channel()
            channel.basic_consume("orders", on_order)
            channel.start_consuming()

        def read_on():
            while True:
                try:
                    read()
                except Exception:
                    time.sleep(1)

        app = fastapi.FastAPI()
        target = read_on if connects_again else read
        app.router.on_startup.append(lambda: threading.Thread(target=target).start())
        env.app(site, app)

    @system.entry(examples=[{"id": "o1"}, {"id": "o2"}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def test_a_web_application_that_goes_on_without_its_reader_is_told_so():
    found = smallest(web(connects_again=False), faults_max=1)
    report = " ".join(to_text(found).split())
    assert "shop stopped reading orders at" in report
    assert "and the process went on without it. Nobody has read there since." in report
    assert "a loop around it that logs an error and connects again" in report


def test_one_that_connects_again_is_not_accused():
    assert smallest(web(connects_again=True), faults_max=1) is None
