"""How long trouble lasts: sizes taken from the durations that a system shows.

A stall breaks something between two durations: longer than a price is good for, shorter
than the timeout of who waits for it. Usually the first of them is a number nobody has
shown (it stands in a claim, or in a document), and the longer the stall the worse, until
the timeout takes care of it. So just below each known duration a size is tried: it is just
past, or far past, whatever lies below. And one beyond the longest, where `long` is not: a
reservation that expires while somebody still works on it waits for nothing shorter. Then come
sizes just past each duration, where that is far from the former, and steps in what is still wide
apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise
from math import isqrt
from typing import Any, Final

import attrs

from chaosharness.faults import EVERY_KIND, LASTINGS, Fault
from chaosharness.kernel.site import Site
from chaosharness.system import Run

SIZES_MAX: Final = 8
"""How long trouble may last at one site: the three words, and so many less three in ms."""

STEP_MAX: Final = 10
"""Between durations further apart than this factor there are sizes to choose from."""

STEP_MIN: Final = 2
"""A size within this factor of another one is only tried where a duration is between them."""

MILDNESS: Final = {kind: order for order, kind in enumerate(EVERY_KIND)}
REMEMBERED_MAX: Final = 10_000
_LONGER_THAN_ALL: Final = 1 << 62


@attrs.frozen
class Sizes:
    """How long trouble is tried to last, besides `next`, `timeout` and `long`.

    Attributes:
        ms: Sizes, ascending.
        gaps: Neighbouring durations of the system between which there is no size: there
            were more than can be tried at a site. Durations that differ by less than a
            fifth count as one.
    """

    ms: tuple[int, ...] = ()
    gaps: tuple[tuple[int, int], ...] = ()


NONE: Final = Sizes()


def sizes_for(run: Run) -> Sizes:
    """Return the sizes for the faults of a system, from what its calm run has shown."""
    most_ms = run.system.budget.chaos_ms
    return sizes_of(run.durations, long_ms=run.long_ms, most_ms=most_ms)


def sizes_of(durations: Iterable[int], *, long_ms: int, most_ms: int) -> Sizes:
    """Return sizes for trouble in a system that has shown these durations.

    Whole numbers only, and fractions of them: the same on every machine.

    Args:
        durations: In ms.
        long_ms: How long `long` lasts in this system.
        most_ms: Trouble ends by then in any case.
    """
    known = sorted({one for one in durations if 1 < one < most_ms})
    if not known:
        return NONE
    top = min(max(long_ms, known[-1] * STEP_MIN), most_ms)
    room = SIZES_MAX - len(LASTINGS)
    gaps = _gaps(known, long_ms, top)
    beyond = known[-1]  # trouble that outlasts all the system reckons with comes first
    widest = sorted(gaps, key=lambda gap: (gap[0] != beyond, -Fraction(gap[1], gap[0]), gap))
    chosen = [_below(high) for _, high in widest[:room]]
    for low in sorted(known, key=lambda one: (-Fraction(_next_to(one, chosen, top), one), one)):
        if len(chosen) < room and STEP_MIN * _past(low) <= _next_to(low, chosen, top):
            chosen.append(_past(low))
    offered = _offered(known, top)
    while len(chosen) < room:
        distance, size = _farthest(offered, [1, *chosen, top])
        if distance < STEP_MIN:
            break
        chosen.append(size)
    return Sizes(tuple(sorted(chosen)), tuple(sorted(widest[room:])))


def _gaps(known: list[int], long_ms: int, top: int) -> list[tuple[int, int]]:
    """Return neighbouring durations that a size can lie between.

    Short ones are the matter of `next`. What is longer than the longest is that of `long`,
    which is past every timeout but knows of no other duration.
    """
    gaps = [(low, high) for low, high in pairwise(known) if _past(low) <= _below(high)]
    if known[0] > STEP_MAX:
        gaps.append((1, known[0]))
    if known[-1] >= long_ms and _past(known[-1]) <= _below(top):
        gaps.append((known[-1], top))
    return gaps


def _next_to(duration: int, chosen: list[int], top: int) -> int:
    """Return the next longer size that is chosen, or else the top."""
    return min((one for one in chosen if one > duration), default=max(top, duration))


def _offered(known: list[int], top: int) -> list[int]:
    """Return just below and just past each duration, and steps in between, ascending."""
    found: set[int] = set()
    for low, high in zip([1, *known], [*known, top], strict=True):
        found |= {_past(low), _below(high), *_steps(low, high)}
    return sorted(one for one in found if 1 < one < top)


def _past(duration_ms: int) -> int:
    return duration_ms + max(1, duration_ms // 10)


def _below(duration_ms: int) -> int:
    return duration_ms - max(1, duration_ms // 10)


def _steps(low: int, high: int) -> set[int]:
    """Return sizes between two durations, no further apart than `STEP_MAX`: by halving."""
    middle = isqrt(low * high)
    if high <= low * STEP_MAX or not low < middle < high:
        return set()
    return {middle, *_steps(low, middle), *_steps(middle, high)}


def _farthest(offered: list[int], taken: list[int]) -> tuple[Fraction, int]:
    """Return the size that is farthest from those taken, as a factor, and that factor."""

    def distance(size: int) -> Fraction:
        return min(Fraction(max(size, one), min(size, one)) for one in taken)

    best = max(offered, key=lambda size: (distance(size), -size), default=1)
    return distance(best), best


# ---- faults of these sizes


def ways(kind: type[Fault], sizes: Sizes = NONE) -> tuple[dict[str, Any], ...]:
    """Return the further fields of a kind of fault, once for each way a search tries it.

    Mildest first. A kind that has no such field has one way.
    """
    found: list[dict[str, Any]] = [{kind.option_name: value} for value in kind.options]
    if name := kind.length_name:
        lengths: tuple[Any, ...] = sizes.ms
        if lengths and name != kind.option_name:
            lengths = (*lengths, "long")  # its option is not how long it lasts
        found += [{name: length} for length in lengths]
    somewhere = Site("any")
    return tuple(sorted(found, key=lambda words: severity(kind(somewhere, **words)))) or ({},)


def variants(kind: type[Fault], site: Site, sizes: Sizes = NONE) -> tuple[Fault, ...]:
    """Return this kind of fault at a site in each way that a search tries, mildest first."""
    return tuple(kind(site, **words) for words in _ways(kind, sizes))


def variant(kind: type[Fault], site: Site, sizes: Sizes, which: int) -> Fault:
    """Return one of `variants`."""
    return kind(site, **_ways(kind, sizes)[which])


def count_of(kind: type[Fault], sizes: Sizes = NONE) -> int:
    """Return in how many ways a search tries this kind of fault at a site."""
    return len(_ways(kind, sizes))


def _ways(kind: type[Fault], sizes: Sizes) -> tuple[dict[str, Any], ...]:
    found = _WAYS.get((kind, sizes))
    if found is None:
        if len(_WAYS) >= REMEMBERED_MAX:
            _WAYS.clear()
        found = _WAYS[kind, sizes] = ways(kind, sizes)
    return found


_WAYS: Final[dict[tuple[type[Fault], Sizes], tuple[dict[str, Any], ...]]] = {}


def is_sized(fault: Fault) -> bool:
    """Say whether a fault lasts a length that its kind has not in every system."""
    name = fault.length_name
    if not name or name == fault.option_name:
        return bool(name) and fault.option not in fault.options
    return bool(getattr(fault, name) != attrs.fields_dict(type(fault))[name].default)


def option_of(fault: Fault) -> int:
    """Return how severe a fault's option is: its place among the options, from 0.

    A length in ms comes after them all.
    """
    options = fault.options
    option = fault.option
    return len(options) if is_sized(fault) or option not in options else options.index(option)


def length_of(fault: Fault) -> int:
    """Return how many ms a fault lasts, or 0 where a word says it."""
    length = getattr(fault, fault.length_name) if fault.length_name else 0
    if isinstance(length, int):
        return length
    return _LONGER_THAN_ALL if length == "long" and is_sized(fault) else 0


def severity(fault: Fault) -> tuple[int, int, int]:
    """Return how severe a fault is, to be compared: by its option, its length, then its kind.

    A length in ms stands between `timeout` and `long`.
    """
    option = option_of(fault)
    if fault.options == LASTINGS and is_sized(fault):
        option = LASTINGS.index("timeout")
    return (option, length_of(fault), MILDNESS[type(fault)])


def rank(fault: Fault) -> tuple[int, int, int, int]:
    """Return when a search tries a fault: each option of every kind first, then lengths in ms."""
    key = (type(fault), fault.option, fault.length_name and getattr(fault, fault.length_name))
    found = _RANKS.get(key)
    if found is None:
        if len(_RANKS) >= REMEMBERED_MAX:
            _RANKS.clear()
        found = (int(is_sized(fault)), option_of(fault), length_of(fault), MILDNESS[type(fault)])
        _RANKS[key] = found
    return found


_RANKS: Final[dict[tuple[type[Fault], object, object], tuple[int, int, int, int]]] = {}


def in_words(duration_ms: int) -> str:
    """Spell a duration, rounded to three figures at most: `47 ms`, `2.3 s`, `4.5 min`, `27 s`."""
    for unit_ms, unit in ((3_600_000, "h"), (60_000, "min"), (1_000, "s")):
        if duration_ms >= unit_ms:
            tenths = (20 * duration_ms + unit_ms) // (2 * unit_ms)
            whole, tenth = divmod(tenths, 10)
            return f"{whole}.{tenth} {unit}" if tenth else f"{whole} {unit}"
    return f"{duration_ms} ms"
