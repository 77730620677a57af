"""A failed record is left uncommitted, and the next good one commits past it.

Kind: skipped on error, silently acknowledged. Source: ag2ai/faststream issue 2618.
Smallest fault: 1 (one refused or unanswered call) with a second record behind it.
Expected: `broken` is reported (invoice i1 is never booked, nobody was told). `right` holds: it
stays at the record until it works.
"""

from contextlib import suppress
from dataclasses import dataclass

from chaosharness import CommitFailed, External, Kafka, System, eventually

FAULTS = 1


@dataclass
class Invoice:
    id: str


class Ledger:
    def __init__(self):
        self.booked = set()

    def book(self, invoice):
        if invoice in self.booked:
            return External.unchanged(invoice)
        self.booked.add(invoice)
        return invoice


def build(name, *, fixed):
    system = System(name)
    bus = system.add(Kafka("bus", topics={"invoices": 1}))
    ledger = system.add(External("ledger", Ledger))

    @system.service("books")
    def books(env):
        consumer = env.consumer(bus, "invoices", read_as=Invoice, on_unreadable="dead-letter")
        client = env.client(ledger)

        async def loop():
            while True:
                for record in await consumer.poll():
                    while True:
                        try:
                            await client.book(record.value.id)
                        except Exception:  # logged
                            if not fixed:
                                break
                            await env.sleep(5)
                            continue
                        with suppress(CommitFailed, TimeoutError):
                            await consumer.commit(record)
                        break

        env.main(loop)

    @system.entry(examples=[Invoice("i1"), Invoice("i2")])
    def issue(env, invoice):
        env.publisher(bus)("invoices", invoice, key="all")

    return system


def all_booked(history):
    if any(history.of("dead")):
        return True  # put aside for a person
    return {e.data["invoice"] for e in history.of("effect")} == {"i1", "i2"}


CLAIMS = [eventually("every invoice is booked", all_booked)]
broken = build("commit past a failure", fixed=False)
right = build("stay at a failure", fixed=True)
