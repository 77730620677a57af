"""What crosses from one process to another: schedules there, what their runs showed back.

Bytes in msgpack, and plain values only: nothing that is read here can run code. What a run
reached is told by stretches of what the calm run did, which both sides have.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import attrs
import msgspec

from chaosharness.checkers import Finding
from chaosharness.faults import FAULTS
from chaosharness.handlers.port import Kinds, Surface
from chaosharness.kernel.history import History
from chaosharness.kernel.rest import RanOn
from chaosharness.kernel.world import Ending
from chaosharness.schedule import Schedule
from chaosharness.search.lineage.ways import Cut, Key, Way, Ways
from chaosharness.search.marks import Marks
from chaosharness.search.seen import NO_MARKS, Attempts, Seen, Verdict
from chaosharness.system import Run

_KINDS: Final = tuple(FAULTS)
_NUMBERS: Final = {kind: number for number, kind in enumerate(_KINDS)}


class _Cause(msgspec.Struct, array_like=True):
    summary: str
    kind: str
    place: str
    entity: int
    question: bool


class _Said(msgspec.Struct, array_like=True, omit_defaults=True):
    tested: bool
    causes: list[_Cause] = []


_Way = tuple[str, str, str, bool]


class Spelled(msgspec.Struct, array_like=True, omit_defaults=True):
    """A `Seen` in plain values.

    Attributes:
        unused: Places, in the schedule, of faults that found no site.
        attempts: What it reached: see `Wire`.
        said: What each claim says.
        surfaces: Of operations that the calm run did not reach: kinds, by number.
        verdict, reason, ran_on: How the run ended.
        marks: What it was like, where the planner wants to know.
    """

    unused: list[int] = []
    attempts: list[int | str] = []
    said: list[_Said] = []
    surfaces: dict[str, list[list[int]]] = {}
    verdict: str = "quiet"
    reason: str = ""
    ran_on: list[tuple[str, str, int]] = []
    marks: Marks | None = None
    cuts: tuple[Cut, ...] = ()
    outcomes: list[tuple[Key, list[_Way]]] = []
    handled: list[str] = []
    failed: list[str] = []
    digest: str = ""


_AS_IT_IS: Final = b"="
_SHORT: Final = b"z"
_LONG: Final = 400
_FAST: Final = 1
_WINDOW: Final = 1 << 15
"""What zlib can look back on."""

_spell: Final = msgspec.msgpack.Encoder()
_read: Final = msgspec.msgpack.Decoder(Spelled)


@attrs.frozen
class Wire:
    """How what runs showed is spelled, for one workload. Both ends have its calm run."""

    calm: Run
    _places: list[tuple[str, int, str]] = attrs.field(init=False)
    _numbers: dict[tuple[str, int, str], int] = attrs.field(init=False)
    _words: bytes = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        places = list(self.calm.attempts)
        numbers = {place: number for number, place in enumerate(places)}
        object.__setattr__(self, "_places", places)
        object.__setattr__(self, "_numbers", numbers)
        object.__setattr__(self, "_words", _words_of(self.calm.history))

    def pack(self, seen: Seen) -> bytes:
        """Spell what a run showed."""
        known, ways = self.calm.surfaces, seen.ways
        broken = any(one.findings for one in seen.verdicts)
        return self._small(
            Spelled(
                unused=[at for at, one in enumerate(seen.schedule) if one in seen.unused],
                attempts=self._spelled(seen.attempts),
                said=[_Said(one.tested, _causes(one)) for one in seen.verdicts],
                surfaces={
                    name: _numbered(surface)
                    for name, surface in seen.surfaces.items()
                    if name not in known
                },
                verdict=seen.ending.verdict,
                reason=seen.ending.reason,
                ran_on=[(one.place, one.why, one.after_ms) for one in seen.ending.ran_on],
                marks=None if seen.beside is None else seen.marks,
                cuts=ways.cuts,
                outcomes=[(key, [_hex(way) for way in each]) for key, each in ways.outcomes],
                handled=[f"{bits:x}" for bits in ways.handled],
                failed=list(seen.failed),
                digest=seen.run.digest() if broken and seen.run is not None else "",
            )
        )

    def _spelled(self, attempts: Attempts) -> list[int | str]:
        """Spell what a run reached, in its order: mostly stretches of what the calm run did.

        A stretch is `0, first, count`: places of the calm run by their number, each as often as
        there. One that was reached more or less often is `1, number, times`; another one `2,
        operation, entity, message, times`.
        """
        calm, numbers = self.calm.attempts, self._numbers
        found: list[int | str] = []
        following = -1  # the number that would go on with the last stretch
        for place, times in attempts.items():
            number = numbers.get(place, -1)
            if number < 0:
                found += (2, *place, times)
                following = -1
            elif calm[place] != times:
                found += (1, number, times)
                following = -1
            elif number == following:
                found[-1] += 1  # type: ignore[operator]
                following += 1
            else:
                found += (0, number, 1)
                following = number + 1
        return found

    def _attempts(self, spelled: list[int | str]) -> Attempts:
        """Read what a run reached."""
        calm, places = self.calm.attempts, self._places
        left: Iterator[Any] = iter(spelled)
        found: dict[tuple[str, int, str], int] = {}
        for how in left:
            if how == 2:
                place = (next(left), next(left), next(left))
                found[place] = next(left)
            elif how == 1:
                place = places[next(left)]
                found[place] = next(left)
            else:
                first = next(left)
                for place in places[first : first + next(left)]:
                    found[place] = calm[place]
        return found

    def _small(self, spelled: Spelled) -> bytes:
        """Encode; what is long mostly repeats words of the calm run, and is written short."""
        data = _spell.encode(spelled)
        if len(data) < _LONG:
            return _AS_IT_IS + data
        short = zlib.compressobj(level=_FAST, zdict=self._words)
        return _SHORT + short.compress(data) + short.flush()

    def _whole(self, data: bytes) -> bytes:
        if data[:1] == _AS_IT_IS:
            return data[1:]
        return zlib.decompressobj(zdict=self._words).decompress(data[1:])

    def unpack(self, data: bytes, schedule: Schedule) -> Seen:
        """Read what the run of a schedule showed."""
        found = _read.decode(self._whole(data))
        ran_on = tuple(RanOn(place, why, after) for place, why, after in found.ran_on)  # type: ignore[arg-type]
        return Seen(
            schedule=schedule,
            unused=tuple(schedule.faults[at] for at in found.unused),
            attempts=self._attempts(found.attempts),
            surfaces={name: _surface(kinds) for name, kinds in found.surfaces.items()},
            ending=Ending(found.verdict, found.reason, ran_on),  # type: ignore[arg-type]
            verdicts=tuple(Verdict(one.tested, _findings(one.causes)) for one in found.said),
            told_marks=NO_MARKS if found.marks is None else found.marks,
            told_ways=_ways(found),
            failed=tuple(found.failed),
            digest=found.digest,
        )


def _hex(way: Way) -> _Way:
    """Spell a way: its sets of cuts are numbers of any length, which no wire takes."""
    return f"{way.direct:x}", f"{way.memory:x}", f"{way.end:x}", way.gone


def _ways(found: Spelled) -> Ways:
    outcomes = tuple(
        (key, tuple(Way(int(a, 16), int(b, 16), int(c, 16), gone) for a, b, c, gone in each))
        for key, each in found.outcomes
    )
    return Ways(found.cuts, outcomes, tuple(int(bits, 16) for bits in found.handled))


def _causes(verdict: Verdict) -> list[_Cause]:
    return [
        _Cause(one.summary, one.kind, one.place, one.entity, one.question)
        for one in verdict.firsts()
    ]


def _findings(causes: Sequence[_Cause]) -> tuple[Finding, ...]:
    return tuple(
        Finding(
            one.summary, entity=one.entity, kind=one.kind, place=one.place, question=one.question
        )
        for one in causes
    )


def _numbered(surface: Surface) -> list[list[int]]:
    *places, told = attrs.astuple(surface, recurse=False)
    numbers = [[_NUMBERS[kind] for kind in kinds] for kinds in places]
    return numbers if told else [*numbers, []]


def _surface(numbers: Sequence[Sequence[int]]) -> Surface:
    kinds: list[Kinds] = [tuple(_KINDS[number] for number in some) for some in numbers]
    before, after, searched_before, searched_after, *untold = kinds
    return Surface(before, after, searched_before, searched_after, not untold)


def _words_of(calm: History) -> bytes:
    """Return what runs are mostly told in: events of the calm run, as marks spell them."""
    words = dict.fromkeys(
        (kind, operation or actor.partition("#")[0])
        for _, kind, actor, operation, _, _, _, _ in calm.raw
    )
    return msgspec.msgpack.encode(list(words))[-_WINDOW:]
