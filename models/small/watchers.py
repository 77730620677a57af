"""Two price watchers, in plain code: each answers the other, and one day they must stop.

chaosharness run models.small.watchers:watchers
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from chaosharness import (
    Env,
    Kafka,
    System,
    never_stuck,
    no_event_cycle,
    nothing_acknowledged_lost,
    order_per_key,
)
from models.small import PATIENT


class Price(Struct, frozen=True):
    """What a shop asks for a thing."""

    thing: str
    cents: int


class Watcher:
    """Undercuts the other shop, down to what the thing costs."""

    floor_cents = 450

    def __init__(self, publish: Any, topic: str) -> None:
        self.publish = publish
        self.topic = topic

    def on_price(self, price: Price) -> None:
        """Ask for a little less, if that pays."""
        cents = price.cents - 10
        if cents >= self.floor_cents:
            self.publish(self.topic, Price(price.thing, cents), key=price.thing)


def watchers(*, watcher: type[Watcher] = Watcher) -> System:
    """Build both shops."""
    market = System("watchers")
    bus = market.add(Kafka("bus", {"our-prices": 1, "their-prices": 1}))

    def watch(name: str, theirs: str, ours: str) -> None:
        @market.service(name)
        def shop(env: Env) -> None:
            one = watcher(env.publisher(bus), ours)
            env.consume(bus, theirs, one.on_price, **PATIENT)

    watch("we", "their-prices", "our-prices")
    watch("they", "our-prices", "their-prices")

    @market.entry(examples=[Price("lamp", 500)])
    def open_up(env: Env, price: Price) -> None:
        env.publisher(bus)("our-prices", price, key=price.thing)

    market.claim(no_event_cycle(), order_per_key(), nothing_acknowledged_lost(), never_stuck())
    return market


def undercut_each_other_for_ever() -> System:
    """Nobody knows what the thing costs."""

    class Blind(Watcher):
        floor_cents = -1_000_000

    return watchers(watcher=Blind)
