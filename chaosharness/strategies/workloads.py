"""Workloads: the items that enter a system, one after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from chaosharness.errors import InvalidDefinition
from chaosharness.kernel.allowed import whole
from chaosharness.strategies.personas import personas
from chaosharness.system import System

Draw = Callable[[SearchStrategy[Any]], Any]

CATALOGUE: Final[tuple[tuple[str, int], ...]] = (
    ("book", 1_000),
    ("lamp", 2_500),
    ("coffee grinder", 7_999),
    ("sticker", 1),
    ("bicycle", 129_900),
    ("Röstkaffee 500 g", 899),
    ("wedding ring, 18 ct", 2_450_000),
)
"""What is sold, and its price in cents; the plainest first."""


@attrs.frozen
class Order:
    """A ready-made order.

    Attributes:
        id: `order-1`, `order-2`, ... in the order in which they are placed.
        customer: Name of a persona.
        item: What was bought.
        cents: Price of all of it, from 1.
        quantity: How many, from 1.
    """

    id: str
    customer: str
    item: str
    cents: int = attrs.field(validator=whole(1))
    quantity: int = attrs.field(default=1, validator=whole(1))


def orders(
    min_size: int = 1, max_size: int = 3, *, locale: str = "en_US"
) -> SearchStrategy[list[Order]]:
    """Return a strategy for workloads of orders, each with an id of its own.

    Shrinks to fewer orders, of one book by the plainest customer.

    Args:
        min_size: Orders at least, from 0.
        max_size: Orders at most.
        locale: Where the customers live.
    """
    check_sizes(min_size, max_size)
    return _orders(min_size, max_size, locale)


@st.composite
def _orders(draw: Draw, min_size: int, max_size: int, locale: str) -> list[Order]:
    customers = personas(locale)
    found: list[Order] = []
    while True:
        more = draw(_ONE_MORE)  # also where it decides nothing, so that any order can be deleted
        if len(found) == max_size or not (more or len(found) < min_size):
            return found
        customer = draw(customers)
        item, cents = draw(_ITEMS)
        quantity = draw(_QUANTITIES)
        number = len(found) + 1
        found.append(Order(f"order-{number}", customer.name, item, cents * quantity, quantity))


_ONE_MORE: Final = st.booleans()
_ITEMS: Final = st.sampled_from(CATALOGUE)
_QUANTITIES: Final = st.integers(1, 9)


def workloads(system: System, *, min_size: int = 1, max_size: int = 3) -> SearchStrategy[list[Any]]:
    """Return a strategy for workloads of a system, from what its entry says about items.

    Where the entry has `items`, a strategy for one item, a workload is a list of those.
    Otherwise it is some of the entry's examples, each at most once, in their order.
    Shrinks to fewer items, and to the first examples.

    Args:
        system: The system that they are for. What its entry says is read when a test starts.
        min_size: Items at least, from 0.
        max_size: Items at most.

    Raises:
        InvalidDefinition: The sizes contradict each other; or, when the test starts, the
            entry has neither `items` nor enough examples.
    """
    if not isinstance(system, System):
        raise InvalidDefinition(f"workloads are those of a System, not of {system!r}")
    check_sizes(min_size, max_size)

    def build() -> SearchStrategy[list[Any]]:
        if system.items is None:
            return _some_of(_enough(system, min_size), min_size, max_size)
        if not isinstance(system.items, SearchStrategy):
            raise InvalidDefinition(
                f"the items of system {system.name!r} must be a Hypothesis strategy for one "
                f"item, such as st.builds(Order, ...), not {system.items!r}"
            )
        return st.lists(system.items, min_size=min_size, max_size=max_size)

    return st.deferred(build)


def _enough(system: System, min_size: int) -> Sequence[Any]:
    if len(system.examples) < max(min_size, 1):
        raise InvalidDefinition(
            f"the entry of system {system.name!r} has {len(system.examples)} examples, and a "
            f"workload needs at least {max(min_size, 1)}: give it more, or items=, a Hypothesis "
            "strategy for one item"
        )
    return system.examples


@st.composite
def _some_of(draw: Draw, examples: Sequence[Any], min_size: int, max_size: int) -> list[Any]:
    """Draw a subset, each member by a choice of its own, so that dropping one moves no other."""
    taken = [draw(_ONE_MORE) for _ in examples]
    for number in range(len(taken)):
        if sum(taken) >= min_size:
            break
        taken[number] = True
    found = [example for example, take in zip(examples, taken, strict=True) if take]
    return found[:max_size]


def check_sizes(min_size: int, max_size: int) -> None:
    """Refuse sizes that contradict each other."""
    whole = all(isinstance(one, int) and not isinstance(one, bool) for one in (min_size, max_size))
    if not whole or not 0 <= min_size <= max_size or max_size < 1:
        raise InvalidDefinition(
            f"min_size and max_size must be whole numbers with 0 <= min_size <= max_size and "
            f"1 <= max_size, not {min_size!r} and {max_size!r}"
        )
