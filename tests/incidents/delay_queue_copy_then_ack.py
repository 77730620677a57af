"""A delayed message is copied to the work queue and then acknowledged: two steps, two copies.

Kind: forward, then acknowledge. Source: Bogdanp/dramatiq issues 461 and 431.
Smallest fault: 1 (crash after the copy, or the connection lost before the acknowledgement).
Expected: `broken` is reported (one SMS sent twice). `right` holds: the copy carries an id that
the SMS service recognises.
"""

from contextlib import suppress

from chaosharness import ChannelClosed, External, Queue, RabbitMQ, System, never_twice

FAULTS = 1


class Sms:
    def __init__(self):
        self.known = set()

    def send(self, to, reference=None):
        if reference in self.known:
            return External.unchanged()
        if reference:
            self.known.add(reference)


def build(name, *, fixed):
    system = System(name)
    queues = {
        "delayed": Queue("quorum", dead_letter="parked"),
        "work": Queue("quorum", dead_letter="parked"),
        "parked": Queue(),
    }
    bus = system.add(RabbitMQ("bus", queues=queues))
    sms = system.add(External("sms", Sms))

    @system.service("mover")
    def mover(env):
        consumer = env.consumer(bus, "delayed", read_as=bytes, prefetch=8)
        publish = env.publisher(bus)

        def loop():
            for message in consumer:
                env.sleep(15)
                try:
                    publish("work", message.value, key=message.key)
                    consumer.ack(message)
                except (ChannelClosed, ConnectionError, TimeoutError):
                    with suppress(ChannelClosed, ConnectionError, TimeoutError):
                        consumer.nack(message)  # so that it comes again

        env.main(loop)

    @system.service("worker")
    def worker(env):
        client = env.client(sms)

        def on_reminder(reminder: dict):
            client.send(reminder["to"], reference=reminder["id"] if fixed else None)

        env.consume(bus, "work", on_reminder)

    @system.entry(examples=[{"id": "r1", "to": "+41 1"}])
    def remind(env, reminder):
        env.publisher(bus)("delayed", reminder, key=reminder["id"])

    return system


CLAIMS = [never_twice("sms", "send", key="to")]
broken = build("delayed copy then ack", fixed=False)
right = build("delayed copy with an id", fixed=True)
