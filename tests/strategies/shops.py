"""Small systems to draw schedules and workloads for."""

from chaosharness import External, Gateway, Kafka, System

CHARGE = "payments.on_order/bank.charge"
REFUND = "payments.on_order/bank.refund"
EXAMPLES = [{"id": "o1", "cents": 500}, {"id": "o2", "cents": 700}]


def shop(*, examples=EXAMPLES, items=None, name="shop"):
    """Charges, then reserves; refunds only where reserving fails, so never in calm."""
    system = System(name)
    bus = system.add(Kafka("bus", {"orders": 1}))
    bank = system.add(Gateway("bank"))
    stock = system.add(External("stock", Stock))

    @system.service("payments")
    def payments(env):
        gateway = env.client(bank)
        reserve = env.client(stock).reserve

        def on_order(order: dict):
            gateway.charge(order["id"], order["cents"], key=order["id"])
            try:
                reserve(order["id"])
            except ConnectionError:
                gateway.refund(order["id"], order["cents"], key=order["id"])

        env.consume(bus, "orders", on_order)

    @system.entry(examples=examples, items=items)
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


class Stock:
    def reserve(self, order):
        """Take one from the shelf."""


def deaf():
    """Nobody listens: nothing in it can be struck but the client's own publishing."""
    system = System("deaf")

    @system.entry(examples=[1])
    def place(env, item):
        """Send it nowhere."""

    return system
