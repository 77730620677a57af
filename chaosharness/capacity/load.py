"""What is asked for, and what follows from it by arithmetic alone."""

import math
from typing import Final

import attrs

from chaosharness.capacity.costs import Engine
from chaosharness.errors import InvalidDefinition

__all__ = ["Load", "Outage"]

UTILISATION: Final = 0.6
"""How busy shards are meant to be: above, waits grow fast."""


def _positive(name: str, value: float) -> None:
    if not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
        raise InvalidDefinition(f"{name} is a number above 0, not {value!r}")


@attrs.frozen(kw_only=True)
class Load:
    """Workflows that come in, and how long things take. The times are inputs.

    Args:
        engine: Whose workflows.
        rate: Workflows a second.
        steps: Steps of each, one after the other.
        latency_ms: How long the store takes for one transaction.
        step_ms: How long the code of a step takes.
    """

    engine: Engine
    rate: float
    steps: int
    latency_ms: float
    step_ms: float

    def __attrs_post_init__(self) -> None:
        for name in ("rate", "latency_ms", "step_ms"):
            _positive(name, getattr(self, name))
        if not isinstance(self.steps, int) or self.steps < 1:
            raise InvalidDefinition(f"steps is a whole number from 1, not {self.steps!r}")

    @property
    def transactions(self) -> int:
        """T: transactions of one workflow."""
        return self.engine.transactions.of(self.steps)

    @property
    def transactions_per_s(self) -> float:
        """rate × T."""
        return self.rate * self.transactions

    @property
    def shards_min(self) -> int:
        """rate × T × L, rounded up: a shard does one transaction at a time, so 1/L a second.

        By Little's law it is also how many transactions are under way at once, on any store.
        """
        return math.ceil(round(self.transactions_per_s * self.latency_ms / 1_000, 9))

    @property
    def shards_advised(self) -> int:
        """The next power of two at which they are busy 60 % of the time at most."""
        return 1 << max(0, math.ceil(math.log2(self.shards_min / UTILISATION)))

    def utilisation(self, shards: int) -> float:
        """ρ = rate × T × L / shards."""
        return self.transactions_per_s * self.latency_ms / 1_000 / shards

    def wait_ms(self, shards: int) -> float:
        """ρL / 2(1-ρ): how long a transaction waits for its shard (M/D/1).

        It takes arrivals at a shard for Poisson, which those of one workflow are not quite.
        """
        busy = self.utilisation(shards)
        return math.inf if busy >= 1 else busy * self.latency_ms / (2 * (1 - busy))

    def mean_ms(self, shards: int) -> float:
        """T (L + wait) + n × step: how long a workflow takes, on average."""
        each = self.latency_ms + self.wait_ms(shards)
        return self.transactions * each + self.steps * self.step_ms

    @property
    def in_flight(self) -> float:
        """rate × n × step: steps whose code runs at any moment, by Little's law."""
        return self.rate * self.steps * self.step_ms / 1_000

    def drained_s(self, shards: int, outage_s: float) -> float:
        """outage × ρ / (1-ρ): how long shards work off what has piled up."""
        busy = self.utilisation(shards)
        return math.inf if busy >= 1 else outage_s * busy / (1 - busy)


@attrs.frozen(kw_only=True)
class Outage:
    """The store is away for a while.

    Args:
        seconds: For how long.
        timeout_s: How long the engine waits for the report of a step before it is begun again:
            start-to-close, response timeout, heartbeat timeout.
    """

    seconds: float
    timeout_s: float

    def __attrs_post_init__(self) -> None:
        _positive("seconds", self.seconds)
        _positive("timeout_s", self.timeout_s)
