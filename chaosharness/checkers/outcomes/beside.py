"""Numbers in a text beside what may differ: `12:00:01 balance 350 cents` says a time, and money.

A text that is another in each clean run is not left out as a whole where only some of its
numbers are others: those are left out, with the numbers that they are one with (a date, a
time of day), and the rest is compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from chaosharness.checkers.masking import LOOKS, STAR

Shapes = Mapping[str, frozenset[int]]
"""The numbers that may differ, by their place in a text, by the rest of that text."""

NUMBER: Final = re.compile(r"\d+(?:\.\d+)?")
JOINED: Final = re.compile(r"[ :\-./+T]")
"""What may stand between two numbers of one date, time or version: one of these."""

COUNTED: Final = re.compile(
    r"(?:attempts?|try|tries|retry|retries|times?|no|nr|version|rev|offset|position|#)\W*$",
    re.IGNORECASE,
)
"""What stands before a number that a mere repeat moves."""


def shapes_of(mine: Sequence[Any], theirs: Sequence[Any], known: Shapes | None) -> Shapes | None:
    """Return which numbers may differ in texts, as two clean runs show; None for all of them.

    Args:
        mine: The texts of one run.
        theirs: Those of another, in the same order.
        known: What other runs have shown already.
    """
    found = dict(known or {})
    stays = False
    for one, other in zip(mine, theirs, strict=True):
        if not isinstance(one, str) or not isinstance(other, str):
            return None
        shape, numbers, joined = _taken_apart(one)
        other_shape, others, _ = _taken_apart(other)
        if shape != other_shape:
            return None
        moved = {at for at, (x, y) in enumerate(zip(numbers, others, strict=True)) if x != y}
        counted = {at for at, before in enumerate(_before(one)) if COUNTED.search(before)}
        away = {at for at in range(len(numbers)) if moved & joined[at]} | counted
        found[shape] = found.get(shape, frozenset()) | away
        stays = stays or len(found[shape]) < len(numbers)
    return found if stays else None


def without(text: str, shapes: Shapes) -> str:
    """Return a text without the numbers that may differ; nothing of it where it is another one."""
    shape, numbers, _ = _taken_apart(text)
    away = shapes.get(shape)
    if away is None:
        return STAR
    kept = iter([STAR if at in away else number for at, number in enumerate(numbers)])
    return NUMBER.sub(lambda _: next(kept), LOOKS.sub(STAR, text))


def _taken_apart(text: str) -> tuple[str, list[str], list[set[int]]]:
    """Return a text without its numbers, the numbers, and which of them each is one with."""
    text = LOOKS.sub(STAR, text)
    found = [*NUMBER.finditer(text)]
    groups: list[set[int]] = []
    for at, one in enumerate(found):
        if at and JOINED.fullmatch(text, found[at - 1].end(), one.start()):
            groups[-1].add(at)
            groups.append(groups[-1])
        else:
            groups.append({at})
    return NUMBER.sub("0", text), [one[0] for one in found], groups


def _before(text: str) -> Iterator[str]:
    """Yield what stands before each number."""
    text = LOOKS.sub(STAR, text)
    for one in NUMBER.finditer(text):
        yield text[max(one.start() - 20, 0) : one.start()]
