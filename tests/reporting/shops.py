"""Systems whose counterexamples are printed: a small one, and one with everything in it."""

from typing import Any

import attrs

from chaosharness.brokers import Kafka
from chaosharness.checkers import Property, idempotent, never_charged_twice, never_twice
from chaosharness.counterexample import Counterexample, plain_items
from chaosharness.externals.external import External
from chaosharness.externals.gateway import Gateway
from chaosharness.faults import Crash, Fault, LostReply
from chaosharness.kernel.site import Site
from chaosharness.schedule import Schedule
from chaosharness.stores.keyvalue import KeyValue
from chaosharness.stores.sqlite import SQLite
from chaosharness.system import System

CRASH = Crash(Site("payments.on_order/bank.charge", "after"))
NO_RECEIPT = LostReply(Site("notifications.on_shipped/mailer.send", "after"))


@attrs.frozen
class Order:
    id: str
    cents: int


def small(*, key: bool = False) -> System:
    """Orders are charged, with an idempotency key or without one."""
    shop = System("shop")
    bus = shop.add(Kafka("bus", topics={"orders": 8, "paid": 8}))
    bank = shop.add(Gateway("bank"))

    @shop.service("payments", replicas=2)
    def payments(env):
        gateway = env.client(bank)
        publish = env.publisher(bus)

        def on_order(order: Order):
            gateway.charge(order.id, order.cents, key=order.id if key else None)
            publish("paid", {"order": order.id}, key=order.id)

        env.consume(bus, "orders", on_order)

    @shop.entry(examples=[Order("o1", 500), Order("o2", 700)])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order.id)

    shop.claim(never_charged_twice(bank))
    return shop


def without_key() -> System:
    return small()


def with_key() -> System:
    return small(key=True)


@attrs.frozen
class Basket:
    order_id: str
    customer: str
    email: str
    card: str
    cents: int
    sku: str


class Mailer:
    def send(self, to: str, subject: str) -> None:
        """Deliver."""


BASKETS = (
    Basket("ord-7101", "Ada Lovelace", "ada@example.org", "4111111111111111", 4999, "RED-CHAIR"),
    Basket("ord-7102", "Alan Turing", "alan@example.org", "5500000000000004", 700, "LAMP"),
)


def large(*baskets: Basket) -> System:
    """Payments, inventory, shipping, notifications: two databases and two third parties."""
    shop = System("checkout")
    topics = dict.fromkeys(("orders", "paid", "reserved", "shipped"), 4)
    bus = shop.add(Kafka("events", topics=topics))
    bank = shop.add(Gateway("bank"))
    mailer = shop.add(External("mailer", Mailer))
    schema = "CREATE TABLE charges (order_id TEXT PRIMARY KEY, card TEXT, cents INT)"
    database = shop.add(SQLite("payments-db", schema=schema))
    stock = shop.add(KeyValue("stock"))

    @shop.service("payments", replicas=2)
    def payments(env):
        gateway = env.client(bank)
        publish = env.publisher(bus)
        connection = env.connect(database)

        def on_order(basket: Basket):
            key = (basket.order_id,)
            if connection.execute("SELECT 1 FROM charges WHERE order_id = ?", key).fetchone():
                return
            gateway.charge(basket.order_id, basket.cents)
            row = (basket.order_id, basket.card, basket.cents)
            connection.execute("INSERT INTO charges VALUES (?, ?, ?)", row)
            connection.commit()
            publish("paid", attrs.asdict(basket), key=basket.order_id)

        env.consume(bus, "orders", on_order)

    @shop.service("inventory")
    def inventory(env):
        shelf = env.connect(stock)
        publish = env.publisher(bus)

        def on_paid(event: dict[str, Any]):
            shelf.put(f"{event['sku']}:{event['email']}", event["card"])
            env.note("reserved", sku=event["sku"], who=event["customer"])
            publish("reserved", event, key=event["order_id"])

        env.consume(bus, "paid", on_paid)

    @shop.service("shipping", replicas=2)
    def shipping(env):
        publish = env.publisher(bus)
        env.consume(bus, "reserved", lambda event: publish("shipped", event, key=event["email"]))

    @shop.service("notifications")
    def notifications(env):
        mail = env.client(mailer)

        def on_shipped(event: dict[str, Any]):
            mail.send(event["email"], f"Dear {event['customer']}, your {event['sku']} is coming")

        env.consume(bus, "shipped", on_shipped)

    @shop.entry(examples=baskets or BASKETS)
    def place(env, basket):
        env.publisher(bus)("orders", basket, key=basket.order_id)

    shop.claim(never_charged_twice(bank), never_twice(mailer, "send"), idempotent())
    return shop


def found(
    system: System, *faults: Fault, claim: Property | None = None, **words: Any
) -> Counterexample:
    """Break a claim of a system, and return the counterexample as a search would."""
    schedule = Schedule(faults)
    run = system.run(None, schedule)
    assert not run.unused, run.unused
    claim = claim or system.properties[0]
    findings = claim.findings(run.evidence())
    assert findings, f"{claim.name} holds"
    maker = "large" if system.name == "checkout" else "without_key"
    given = {
        "target": f"tests.reporting.shops:{maker}",
        "minimal": True,
        "found_after": 12,
        "shrunk_in": 31,
        "passing": system.run().history if faults else None,
        "versions": {"python": "3.11.0", "chaosharness": "0.1.0"},
    }
    return Counterexample(
        property=claim.name,
        system=system.name,
        schedule=schedule,
        items=plain_items(run.items),
        findings=tuple(findings),
        digest=run.digest(),
        history=run.history,
        **(given | words),
    )


def double_charge(**words: Any) -> Counterexample:
    return found(without_key(), CRASH, **words)


def everything(*baskets: Basket, **words: Any) -> Counterexample:
    """Charged twice, with much else going on before and after."""
    return found(large(*baskets), CRASH, NO_RECEIPT, **words)


def second_mail(*baskets: Basket, **words: Any) -> Counterexample:
    system = large(*baskets)
    return found(system, NO_RECEIPT, claim=system.properties[1], **words)
