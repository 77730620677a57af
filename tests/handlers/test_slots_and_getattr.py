"""Objects with slots whose class answers for attributes that are not there."""

from chaosharness import Crash, Kafka, Schedule, Site, System


class Lazy:
    __slots__ = ("made", "seen")

    def __init__(self):
        self.seen = 0

    def __getattr__(self, name):
        raise TypeError(f"{name} cannot be made here")


KEPT = Lazy()
COUNTS = []


def on_order(order: dict):
    KEPT.seen += 1
    COUNTS.append(KEPT.seen)
    KEPT.made = order["id"]


def shop():
    system = System("shop")
    bus = system.add(Kafka("bus", topics={"orders": 1}))
    system.service("desk")(lambda env: env.consume(bus, "orders", on_order))

    @system.entry(examples=[{"id": "o1"}, {"id": "o2"}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def test_they_are_not_asked_and_a_process_has_its_own():
    crash = Crash(Site("desk.on_order/handle", "after", entity=1))
    for schedule, counts in ((None, [1, 2]), (Schedule([crash]), [1, 1]), (None, [1, 2])):
        COUNTS.clear()
        shop().run(None, schedule)
        assert COUNTS[: len(counts)] == counts
        KEPT.seen = 0
        del KEPT.made
