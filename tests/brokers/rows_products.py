"""One small system for each product and profile, with every kind of operation of its rows."""

import boto3

from chaosharness import (
    AWS,
    NATS,
    SNS,
    SQS,
    Budget,
    DynamoDB,
    DynamoStream,
    EventBridge,
    EventRule,
    Gateway,
    Kafka,
    KafkaTopic,
    Lambda,
    NATSConsumer,
    NATSStream,
    RabbitMQ,
    Redis,
    SNSTopic,
    SQSQueue,
    System,
)

sqs, sns, events, tables = (
    boto3.client(name, region_name="us-east-1") for name in ("sqs", "sns", "events", "dynamodb")
)
ITEM = {"id": {"S": "o1"}}
PUT = [{"Put": {"TableName": "orders", "Item": ITEM}}]
ORDER = {"id": "o1"}
EVENT = {"Source": "shop", "DetailType": "Placed", "Detail": '{"id": "o1"}'}


def begun(name, bus_of):
    """Return a system with a service that sends to `orders`, as a client does; and its broker."""
    system = System(name, arrival_ms=1, budget=Budget(deliveries_max=50))
    bus = bus_of(system)

    @system.service("desk")
    def desk(env):
        def main():
            env.publisher(bus)("orders", ORDER, key="o1")

        env.main(main)

    @system.entry(examples=[ORDER])
    def place(env, order):
        env.publisher(bus)("orders", order, key="o1")

    return system, bus


def of_sqs(kind):
    end = ".fifo" if kind == "fifo" else ""
    system = System("aws")
    queues = {f"{one}{end}": SQSQueue(by_content=bool(end) or None) for one in ("dead", "more")}
    queues[f"orders{end}"] = SQSQueue(dead_letter=f"dead{end}", by_content=bool(end) or None)
    bus = system.add(SQS("bus", queues))
    topic = f"news{end}"
    to = SNSTopic([f"more{end}"], by_content=bool(end))
    topics = system.add(SNS("topics", bus, {topic: to}))
    system.add(AWS(bus, topics))

    @system.service("worker")
    def worker(env):
        env.consume(bus, f"orders{end}", lambda order: None)

    @system.service("loop")
    def loop(env):
        more = {"MessageGroupId": "a"} if end else {}
        arn = f"arn:aws:sns:us-east-1:000000000000:{topic}"

        def main():
            env.publisher(bus)(f"orders{end}", ORDER, key="o1")
            env.publisher(topics)(topic, ORDER, key="o1")
            sent = [{"Id": "1", "MessageBody": "{}", **more}]
            sqs.send_message_batch(QueueUrl=f"sqs/more{end}", Entries=sent)
            published = [{"Id": "1", "Message": "{}", **more}]
            sns.publish_batch(TopicArn=arn, PublishBatchRequestEntries=published)
            sqs.receive_message(QueueUrl=f"sqs/dead{end}")
            consumer = env.consumer(bus, f"more{end}")
            for delivery in consumer.receive(1, wait_s=1):
                consumer.change_visibility(delivery, 60)
                consumer.delete(delivery)
            env.consumer(bus, f"dead{end}").redrive()

        env.main(main)

    @system.entry(examples=[ORDER])
    def place(env, order):
        env.publisher(bus)(f"orders{end}", order, key="o1")

    return system


def of_eventbridge(kind):
    system = System("events")
    queues = system.add(SQS("queues", ["till"]))
    rules = {"placed": EventRule({"source": ["shop"]}, ["till"])}
    bus = system.add(EventBridge("bus", queues, rules, source="shop"))
    system.add(AWS(queues, bus))
    system.service("till")(lambda env: env.consume(queues, "till", lambda event: None))

    @system.service("shop")
    def shop(env):
        def main():
            env.publisher(bus)("Placed", ORDER, key="o1")
            events.put_events(Entries=[EVENT])

        env.main(main)

    system.entry(examples=[ORDER])(lambda env, one: env.publisher(bus)("Placed", one, key="o1"))
    return system


def of_dynamodb(kind):
    system = System("changes")
    db = system.add(DynamoDB("db", {"orders": "id"}))
    stream = system.add(DynamoStream("changes", db, "orders"))

    @system.service("till")
    def till(env):
        env.consume(stream, "orders", Lambda(lambda event, context: None))

    system.entry(examples=[ORDER])(lambda env, order: env.connect(db).put("orders", order))
    return system


def of_tables(kind):
    system = System("tables")
    db = system.add(DynamoDB("db", {"orders": "id"}))
    system.add(AWS(db))

    @system.service("loop")
    def loop(env):
        own = env.connect(db)

        def main():
            own.put("orders", ORDER)
            own.update("orders", ORDER, "SET paid = :yes", values={":yes": True})
            own.get("orders", ORDER)
            own.query("orders", "id = :id", values={":id": "o1"})
            own.scan("orders")
            own.delete("orders", ORDER)
            own.transact(PUT)
            tables.batch_write_item(RequestItems={"orders": [{"PutRequest": {"Item": ITEM}}]})

        env.main(main)

    system.entry(examples=[ORDER])(lambda env, order: None)
    return system


def of_calls(kind):
    system = System("calls")
    queues = system.add(SQS("bus", ["more"]))
    topics = system.add(SNS("topics", queues, {"news": SNSTopic(["more"])}))
    db = system.add(DynamoDB("db", {"orders": "id"}))
    rules = {"placed": EventRule({"source": ["shop"]}, ["more"])}
    system.add(AWS(queues, topics, db, system.add(EventBridge("events", queues, rules))))
    bank = system.add(Gateway("bank"))

    @system.service("loop")
    def loop(env):
        charge = env.client(bank).charge
        url = {"QueueUrl": "sqs/more"}

        def main():
            sqs.send_message(MessageBody="{}", **url)
            sqs.send_message_batch(Entries=[{"Id": "1", "MessageBody": "{}"}], **url)
            for one in sqs.receive_message(**url)["Messages"]:
                about = {"ReceiptHandle": one["ReceiptHandle"], **url}
                sqs.change_message_visibility(VisibilityTimeout=60, **about)
                sqs.delete_message(**about)
            sns.publish(TopicArn="arn:aws:sns:us-east-1:000000000000:news", Message="{}")
            tables.put_item(TableName="orders", Item=ITEM)
            tables.get_item(TableName="orders", Key=ITEM)
            tables.batch_write_item(RequestItems={"orders": [{"PutRequest": {"Item": ITEM}}]})
            tables.transact_write_items(TransactItems=PUT)
            events.put_events(Entries=[EVENT])
            charge("o1", 500)

        env.main(main)

    system.entry(examples=[ORDER])(lambda env, order: None)
    return system


def of_redis(kind):
    lost = {"loses_ms": 1_000} if kind == "replicated" else {}
    system, bus = begun("redis", lambda one: one.add(Redis("bus", ["orders", "more"], **lost)))
    system.service("worker")(lambda env: env.consume(bus, "orders", lambda order: None))

    @system.service("loop")
    def loop(env):
        consumer = env.consumer(bus, "more", group="loop", on_unreadable="skip")

        def main():
            env.publisher(bus)("more", ORDER)
            consumer.ack(*consumer.read(1, block_s=1))
            consumer.autoclaim(60)
            consumer.pending(1)
            consumer.delete_consumer("nobody")

        env.main(main)

    return system


def of_nats(kind):
    ack = {"all": "all", "none": "none"}.get(kind, "explicit")
    streams = {
        "orders": NATSStream(consumers={"worker": NATSConsumer(ack=ack)}),
        "more": NATSStream(consumers={"loop": NATSConsumer(ack=ack)}),
    }
    system, bus = begun("nats", lambda one: one.add(NATS("bus", streams)))

    @system.service("worker")
    def worker(env):
        if kind == "ordered":
            env.consume(bus, "orders", lambda order: None, ordered=True, on_error="crash")
        else:
            env.consume(bus, "worker", lambda order: None)

    @system.service("loop")
    def loop(env):
        consumer = env.consumer(bus, "loop")

        def main():
            for _ in range(2):
                env.publisher(bus)("more", ORDER)
            first, second = consumer.fetch(2, wait_s=5)
            if ack != "none":
                consumer.in_progress(first)
                consumer.ack(first)
                consumer.ack_sync(second)
            consumer.get("more", 1)

        if kind != "ordered":
            env.main(main)

    return system


def of_kafka(kind):
    about = {
        "retained": {"retention_ms": 3_600_000},
        "compacted": {"compacted": True},
        "both": {"compacted": True, "retention_ms": 3_600_000},
    }.get(kind, {})
    made = {
        "idempotent": {"idempotent_producer": True},
        "leader": {"acks": 1},
        "nobody": {"acks": 0},
        "unclean": {"unclean_elections": True},
    }.get(kind, {})
    topics = {"orders": KafkaTopic(**about), "more": 1, "done": 1}
    system, bus = begun("kafka", lambda one: one.add(Kafka("bus", topics, **made)))
    system.service("worker")(lambda env: env.consume(bus, "orders", lambda order: None))

    @system.service("loop")
    def loop(env):
        consumer = env.consumer(bus, "more")
        decides = env.publisher(bus, transactional_id="loop") if not made else None

        def main():
            env.publisher(bus)("more", ORDER, key="o1")
            for delivery in consumer.poll(timeout_s=5):
                if decides:
                    decides.begin()
                    decides("done", ORDER)
                    decides.send_offsets(consumer)
                    decides.commit()
                consumer.commit(delivery)
            env.client(bus).create_partitions("done", 2)

        env.main(main)

    return system


def of_rabbitmq(kind):
    made = {"again": {"resends": True}, "unconfirmed": {"confirms": False}}.get(kind, {})
    queues = ["orders", "more"]
    system, bus = begun("rabbit", lambda one: one.add(RabbitMQ("bus", queues=queues, **made)))

    @system.service("worker")
    def worker(env):
        how = {"acknowledge": "before"} if kind == "automatic" else {}
        env.consume(bus, "orders", lambda order: None, **how)

    @system.service("loop")
    def loop(env):
        def main():
            publish = env.publisher(bus)
            publish.send("more", ORDER)
            publish.confirms(timeout_s=5)

        if kind == "later":
            env.main(main)

    return system
