"""Small systems with one planted bug each, whose smallest schedule is known."""

import attrs

from chaosharness import External, Finding, Gateway, Kafka, Property, System


@attrs.frozen
class Order:
    id: str
    cents: int


EXAMPLES = [Order("o1", 500), Order("o2", 700)]


def _double_charges(evidence):
    first = {}
    found = []
    for event in evidence.history.of("effect"):
        if event.data.get("method") != "charge":
            continue
        order = event.data["order"]
        if order in first:
            events = (first[order], event.index)
            found.append(Finding(f"{order} was charged twice", events, event.entity))
        first.setdefault(order, event.index)
    return found


def _charges(evidence):
    return any(event.data.get("method") == "charge" for event in evidence.history.of("effect"))


never_charged_twice = Property("never charged twice", _double_charges, tested=_charges)


class Registry:
    """Remembers who was here first."""

    def __init__(self):
        self.taken = set()

    def claim(self, order):
        first = order not in self.taken
        self.taken.add(order)
        return first


def shop(*, registries=0, keys=False, log_partitions=1, name="shop"):
    """Return a shop that charges an order once, unless it is handled again.

    With registries, it charges an order that is handled again only if none of them
    answers: so many faults more.
    """
    system = System(name)
    bus = system.add(Kafka("bus", {"orders": log_partitions}))
    bank = system.add(Gateway("bank", idempotency_keys=True))
    books = [system.add(External(f"book{at + 1}", Registry)) for at in range(registries)]

    @system.service("payments")
    def payments(env):
        charge = env.client(bank).charge
        claims = [env.client(book).claim for book in books]

        def first_time(claim, order):
            try:
                return claim(order)
            except (TimeoutError, ConnectionError):
                return True  # the bug: it may well not be

        def on_order(order: Order):
            votes = [first_time(claim, order.id) for claim in claims]
            if all(votes):
                charge(order.id, order.cents, key=order.id if keys else None)

        env.consume(bus, "orders", on_order)

    @system.entry(examples=EXAMPLES)
    def place(env, order):
        env.publisher(bus)("orders", order, key=order.id)

    system.claim(never_charged_twice)
    return system


def one():
    return shop()


def two():
    return shop(registries=1)


def three():
    return shop(registries=2)


def right():
    return shop(keys=True)


WORDS = {"one", "two", "three", "four", "five", "six", "seven"}


def words_of_a_set():
    """A system whose history hangs on the order of a set: on PYTHONHASHSEED."""
    system = System("words")

    @system.service("speaker")
    def speaker(env):
        def speak():
            for word in WORDS:
                env.note(word)

        env.main(speak)

    @system.entry(examples=[1])
    def begin(env, item):
        """Nothing enters."""

    return system


def counts_its_runs():
    """A system that remembers from run to run how often it was run."""
    system = System("counts")
    runs = []

    @system.service("counter")
    def counter(env):
        def count():
            runs.append(1)
            env.note("ran", times=len(runs))

        env.main(count)

    @system.entry(examples=[1])
    def begin(env, item):
        """Nothing enters."""

    return system
