"""What messages are called in sites: by what published them, and never by a global count.

`2 of orders.on_order/bus.publish lines` is the second message that this operation published for
one workload item, while one message was in hand. `1 of Q from 2 of P`: that one was in hand when
Q published its first. `1 (copy 2) of P` has the very content of the first once more (a retry, or
what a fault stored twice), so that it moves no numbers; `1 (poison) of P` is what nobody can
read, just ahead of that message. Who publishes with no message in hand (a client,
a relay) has names without `from`. So a name says a chain of causes: what befalls other messages
moves none.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

EVERY: Final = "every"
"""The name that fits every message: a fault that strikes at each one."""

FROM: Final = " from "
_COPY: Final = re.compile(r"^(\d+) \(copy \d+\)")
_NUMBER: Final = re.compile(r"(\d+)(?: \((copy \d+|poison)\))? of (.+)", re.DOTALL)


def named(number: int, operation: str, parent: str) -> str:
    """Return what a message is called.

    Args:
        number: The how-manieth it is of this operation, for the message in hand.
        operation: What published it.
        parent: The name of the message in hand; empty where there is none.
    """
    if not parent:
        return f"{number} of {operation}"
    return f"{number} of {operation}{FROM}{parent}"


def copy_of(name: str, copy: int) -> str:
    """Return what a message is called that has the content of an earlier one: copy 2, 3, ..."""
    return name.replace(" of ", f" (copy {copy}) of ", 1)


def poison_at(name: str) -> str:
    """Return what a message is called that nobody can read, just ahead of another, or a copy."""
    return _COPY.sub(r"\1", name).replace(" of ", " (poison) of ", 1)


def is_name(text: str) -> bool:
    """Say whether a text may name a message, or every one."""
    return text == EVERY or _NUMBER.fullmatch(text) is not None


def fits(wanted: str, name: str) -> bool:
    """Say whether a name, or the beginning of its chain, is that of a message.

    An empty one fits any message: the first to get there is meant.
    """
    if not wanted or wanted == EVERY:
        return True
    return name.startswith(wanted) and (
        len(name) == len(wanted) or name.startswith(FROM, len(wanted))
    )


def shortest(name: str, others: Collection[str]) -> str:
    """Return the beginning of a name's chain that fits none of some other messages."""
    links = name.split(FROM)
    for count in range(1, len(links)):
        short = FROM.join(links[:count])
        if not any(fits(short, other) for other in others if other != name):
            return short
    return name


def parts(name: str) -> tuple[int, str, str]:
    """Return the number of a message, how it is odd (`copy 2`, `poison`), and what published it."""
    match = _NUMBER.fullmatch(name.partition(FROM)[0])
    if match is None:
        return 1, "", name
    return int(match[1]), match[2] or "", match[3]
