"""Do our events go in a circle?

chaosharness graph models.questions.cycle:each_change_is_news --static
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from chaosharness import Env, Kafka, System, never_stuck, no_event_cycle
from models.questions import PATIENT


class Account(Struct, frozen=True):
    """A customer, as the services tell each other about one."""

    customer: str
    points: int
    tier: str = "silver"


class Pricing:
    """A better tier is a better price: and who saves, earns points for it."""

    def __init__(self, publish: Any) -> None:
        self.publish = publish

    def on_tier(self, account: Account) -> None:
        """Grant points for a tier."""
        granted = Account(account.customer, account.points + 100, account.tier)
        self.publish("points", granted, key=account.customer)


class Loyalty:
    """Points make a tier."""

    def __init__(self, publish: Any) -> None:
        self.publish = publish

    def on_points(self, account: Account) -> None:
        """Say which tier that makes, if it is another one."""
        tier = "gold" if account.points >= 100 else "silver"
        if tier != account.tier:
            self.tell(account, tier)

    def tell(self, account: Account, tier: str) -> None:
        """Say it."""
        self.publish("tier", Account(account.customer, account.points, tier), key=account.customer)


class EachChangeIsNews(Loyalty):
    """Says it whenever points change: the next service will know whether it matters."""

    def on_points(self, account: Account) -> None:
        self.tell(account, "gold" if account.points >= 100 else "silver")


def right(*, loyalty: type[Loyalty] = Loyalty) -> System:
    """Build both services: there is a way round, and what has not changed does not take it."""
    shop = System("cycle")
    bus = shop.add(Kafka("bus", {"points": 1, "tier": 1}))

    @shop.service("pricing")
    def pricing(env: Env) -> None:
        env.consume(bus, "tier", Pricing(env.publisher(bus)).on_tier, **PATIENT)

    @shop.service("loyalty")
    def tiers(env: Env) -> None:
        env.consume(bus, "points", loyalty(env.publisher(bus)).on_points, **PATIENT)

    @shop.entry(examples=[Account("ada", 120)])
    def earn(env: Env, account: Account) -> None:
        env.publisher(bus)("points", account, key=account.customer)

    shop.claim(no_event_cycle(), never_stuck())
    return shop


def each_change_is_news() -> System:
    """Points make a tier, a tier makes points, and there is no end to it."""
    return right(loyalty=EachChangeIsNews)
