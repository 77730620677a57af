"""How little a product may promise, as rows: what a system can be tried on beside what it declares.

`System.weaker` and `chaosharness guarantees` read them, and so does the documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import attrs

Delivery = Literal["at most once", "at least once"]


@attrs.frozen
class Guarantee:
    """One setting of a product that promises less than another one.

    Attributes:
        product: `SQS`.
        name: What it is called, one word: `standard`. It stands in targets:
            `shop:system.weaker.standard`.
        stronger: What is given up for it: `FIFO`.
        delivery: How often a message arrives then, at least or at most.
        order: What is promised about order then.
        means: What can happen there, and cannot at the stronger one.
        source: Where that was read.
        weaken: Returns a definition that promises no more than this; the same one, where it
            promises no more already.
        strikes: Whether it is less because other faults may strike; False: the same do, and lead to
            more.
    """

    product: str
    name: str
    stronger: str
    delivery: Delivery
    order: str
    means: str
    source: str
    weaken: Callable[[Any], Any] = attrs.field(repr=False)
    strikes: bool = attrs.field(default=True, kw_only=True)

    def __str__(self) -> str:
        return f"{self.product} {self.name}"


def table(rows: Iterable[Guarantee]) -> str:
    """Return rows as a Markdown table."""
    lines = [
        "| weaker | instead of | delivery | order | what can happen then | source |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.product} `{row.name}` | {row.stronger} | {row.delivery} | {row.order} "
        f"| {row.means} | {row.source} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"
