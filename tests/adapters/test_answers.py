"""Questions and answers over queues that the broker names: another name after each connection."""

import json
import sqlite3
import time
import uuid

import pika
import pytest

from chaosharness import (
    AMQP,
    Delay,
    NetworkPartition,
    RabbitMQ,
    Schedule,
    Site,
    SQLite,
    System,
    explore,
    smallest,
)

SCHEMA = "CREATE TABLE quotes (id TEXT PRIMARY KEY, cents INTEGER)"
RABBIT = pika.ConnectionParameters("rabbit")
ASKS = Site("shop.main/bus.publish quote", entity=0)


def answering():
    while True:
        try:
            channel = pika.BlockingConnection(RABBIT).channel()
            channel.basic_qos(prefetch_count=1)

            def on_question(channel, method, properties, body):
                answer = json.dumps({"cents": 100 * len(json.loads(body)["id"])})
                same = pika.BasicProperties(correlation_id=properties.correlation_id)
                channel.basic_publish("", properties.reply_to, answer, same)
                channel.basic_ack(method.delivery_tag)

            channel.basic_consume("quote", on_question)
            channel.start_consuming()
        except pika.exceptions.AMQPError:
            time.sleep(1)


def asked(connection, channel, mine, answers, body, times):
    """Ask until there is an answer, so many times at most."""
    for _ in range(times):
        question = str(uuid.uuid4())
        channel.basic_publish(
            "", "quote", body, pika.BasicProperties(reply_to=mine, correlation_id=question)
        )
        until = time.monotonic() + 5
        while question not in answers and time.monotonic() < until:
            connection.process_data_events(time_limit=5)
        if question in answers:
            return answers[question]["cents"]
    return None


def asking(times):
    def main():
        db = sqlite3.connect("/data/quotes.db")
        while True:
            try:
                connection = pika.BlockingConnection(RABBIT)
                channel = connection.channel()
                mine = channel.queue_declare("", exclusive=True).method.queue
                answers, orders = {}, []

                def on_answer(channel, method, properties, body, answers=answers):
                    answers[properties.correlation_id] = json.loads(body)

                def on_order(channel, method, properties, body, orders=orders):
                    orders.append((method.delivery_tag, body))

                channel.basic_consume(mine, on_answer, auto_ack=True)
                channel.basic_consume("orders", on_order)
                while channel.is_open:
                    connection.process_data_events(time_limit=5)
                    while orders:
                        tag, body = orders.pop(0)
                        cents = asked(connection, channel, mine, answers, body, times)
                        if cents is not None:
                            with db:
                                row = (json.loads(body)["id"], cents)
                                db.execute("INSERT OR IGNORE INTO quotes VALUES (?, ?)", row)
                        channel.basic_ack(tag)
            except pika.exceptions.AMQPError:
                time.sleep(1)

    return main


def quotes(times):
    system = System("quotes")
    bus = system.add(RabbitMQ("bus", queues=["orders", "quote"]))
    system.add(AMQP("rabbit", bus))
    system.add(SQLite("db", SCHEMA, url="sqlite:////data/quotes.db"))
    system.service("answers")(lambda env: env.main(answering))
    system.service("shop")(lambda env: env.main(asking(times)))

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def test_an_answer_goes_to_another_queue_after_another_connection():
    cut = NetworkPartition(ASKS, lasting="long")
    run = quotes(1_000).run(None, Schedule([cut]))
    told = [one.data for one in run.history.of("publish") if "amq.gen" in one.data["topic"]]
    assert len({one["topic"] for one in told}) == 1 and told[0]["topic"] != "amq.gen-1"
    assert all(one["made_up"] for one in told)


@pytest.mark.parametrize("kind", [NetworkPartition, Delay])
def test_who_asks_again_elsewhere_is_not_accused_of_having_told_nobody(kind):
    found = explore(quotes(1_000), faults_max=1, runs_max=1_000, kinds=[kind])
    assert found.result == "holds", found.sentences()


def test_who_takes_silence_for_an_answer_is_named():
    found = smallest(quotes(1), faults_max=1, runs_max=300)
    assert found is not None
    assert "o1" in found.findings[0].summary
