"""Chance from a seed, the same on every machine: SplitMix64 (Steele, Lea, Flood, 2014)."""

import math

import attrs

__all__ = ["Chance"]

_MASK = (1 << 64) - 1


@attrs.define
class Chance:
    """A stream of numbers, by its seed alone."""

    state: int

    def fraction(self) -> float:
        """Return the next number above 0, up to 1."""
        self.state = (self.state + 0x9E3779B97F4A7C15) & _MASK
        mixed = self.state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return ((mixed ^ (mixed >> 31)) >> 11) / 2**53 or 2**-53

    def gap_us(self, per_second: float) -> int:
        """Return the time to the next arrival of so many a second, in microseconds (Poisson)."""
        return round(-math.log(self.fraction()) * 1_000_000 / per_second)
