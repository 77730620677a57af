"""Mask what must not leave the house, everywhere in a counterexample at once.

A report is made from the masked value, so no format can forget to mask. Masks keep
apart what was apart: two cards become `[card 1]` and `[card 2]`, everywhere they appear.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import partial
from typing import Any, Final

import attrs

from chaosharness.brokers.message import POISON
from chaosharness.counterexample import Counterexample
from chaosharness.errors import InvalidDefinition
from chaosharness.kernel.history import History, RawEvent, plain
from chaosharness.kernel.lines import Line
from chaosharness.reporting.formats.wrapped import PAYLOAD, closed, opened

Redact = str | Iterable[str] | Callable[[str, Any], Any]
"""Names of payload fields, or a function `(name, value) -> value to show instead`."""

_OURS_IN_TRAFFIC: Final = frozenset(
    {
        *("broker", "topic", "partition", "offset", "message", "to", "group", "times", "queue"),
        *("generation", "members", "why", "exchange", "outcome", "happened", "ms", "down"),
        *("fault", "phase", "verdict", "method", "store", "kind"),
    }
)
_TRAFFIC: Final = (
    *("publish", "deliver", "ack", "nack", "dead", "poll", "rebalance", "fault", "crash"),
    *("phase", "end", "sleep", "reply"),
)
_OURS: Final = (
    dict.fromkeys(_TRAFFIC, _OURS_IN_TRAFFIC)
    | dict.fromkeys(("call", "effect"), frozenset({"method", "service", "endpoint"}))
    | {"decide": frozenset({"commands"})}
    | {"resolve": frozenset({"registry", "subject", "what", "from", "as"})}
)
"""Fields of events that we wrote ourselves, and that hold nothing of the user's."""

_ANYWHERE_MIN: Final = 6
"""A secret of at least so many characters is masked inside of words, too."""

_TRACED_MIN: Final = 2
"""A secret shorter than this is masked in its own field only: it says too little."""


def masked(found: Counterexample, redact: Redact = ()) -> Counterexample:
    """Return the counterexample with some payload fields masked: in messages, keys, calls,
    ledger, state, notes, errors, the workload and the finding's sentence.

    Args:
        found: The counterexample.
        redact: Names of fields, whatever their case and however their words are joined; or
            a function that is given the name and the value of each field, and returns
            what to show: the value itself, or something else in its place. What was
            masked in one place is then masked wherever it is repeated.

    Raises:
        InvalidDefinition: `redact` is neither, or the function raised.

    What has no name of its own, an argument of a call or of SQL by position, is masked
    unless the same value stands in the open elsewhere. A payload that is no JSON is masked
    as a whole.

    Not modelled: a secret that is repeated in another spelling (hashed, reversed,
    encoded), or that stands only in free text, under no name.
    """
    judge = _judge(redact)
    if judge is None:
        return found
    mask = Mask(judge)
    told = _read(found, mask)
    items = tuple(mask.hide("", item) for item in found.items)
    findings = tuple(
        attrs.evolve(one, summary=mask.scrub(one.summary), data=mask.hide("", one.data))
        for one in found.findings
    )
    hidden = [
        History([mask.hide_event(raw) for raw in history.raw]) for history in _histories(found)
    ]
    return attrs.evolve(
        found,
        items=items,
        findings=findings,
        history=hidden[0],
        passing=hidden[1] if found.passing is not None else None,
        code=(),
        lines={index: _scrubbed(line, mask) for index, line in found.lines.items()},
        logged=tuple(attrs.evolve(one, text=mask.scrub(one.text)) for one in found.logged),
        event_histories={
            mask.scrub(name): json.dumps(closed(mask.hide("", value)))
            for name, value in told.items()
        },
        digest=found.digest if items == found.items else "",
    )


def _histories(found: Counterexample) -> list[History]:
    return [found.history] if found.passing is None else [found.history, found.passing]


def _read(found: Counterexample, mask: Mask) -> dict[str, Any]:
    """Have a mask learn of everything in a counterexample; return its histories of workflows."""
    for item in found.items:
        mask.learn("", item)
    for history in _histories(found):
        for raw in history.raw:
            mask.learn_event(raw)
    for finding in found.findings:
        mask.learn("", finding.data)
    told = {name: opened(json.loads(text)) for name, text in found.event_histories.items()}
    mask.learn("", told)
    return told


def without_a_field(found: Iterable[Counterexample], names: Iterable[str]) -> dict[str, str]:
    """Return those of the names that no field has in any of what was found: slips, as a rule.

    Returns:
        By the name, the field that is called most like it; or nothing.
    """
    seen: dict[str, str] = {}

    def look(name: str, _: Any) -> Any:
        seen.setdefault(_folded(name), name)
        return _KEEP

    mask = Mask(look)
    for one in found:
        _read(one, mask)
    like = partial(get_close_matches, possibilities=sorted(seen), n=1, cutoff=0.75)
    lacking = [name for name in names if seen and _folded(name) not in seen]
    return {name: "".join(map(seen.__getitem__, like(_folded(name)))) for name in lacking}


def _scrubbed(line: Line, mask: Mask) -> Line:
    """Mask what a line of source repeats: an example's card number, say."""
    return attrs.evolve(line, source=tuple((at, mask.scrub(text)) for at, text in line.source))


Judge = Callable[[str, Any], Any]
_KEEP: Final = object()
_HIDE: Final = object()


def _judge(redact: Redact) -> Judge | None:
    """Return what says of a field: keep it, hide it, or what to show instead."""
    if callable(redact):
        return _asking(redact)
    if isinstance(redact, str):
        redact = (redact,)
    if not isinstance(redact, Iterable):
        raise InvalidDefinition(f"redact must be names of fields, or a function: {redact!r}")
    wanted = tuple(redact)
    for name in wanted:
        if not isinstance(name, str) or not _folded(name):
            raise InvalidDefinition(f"redact must name fields, and {name!r} is no name")
    names = frozenset(map(_folded, wanted))
    return (lambda name, value: _HIDE if _folded(name) in names else _KEEP) if names else None


def _asking(function: Callable[[str, Any], Any]) -> Judge:
    def judge(name: str, value: Any) -> Any:
        try:
            shown = function(name, value)
        except Exception as error:
            raise InvalidDefinition(
                f"redact raised {type(error).__name__} at the field {name!r}: {error}. "
                "It must return what to show, for every field."
            ) from error
        return _KEEP if shown is value or shown == value else plain(shown)

    return judge


def _folded(name: str) -> str:
    """Return a name without case and joints: cardNumber, card_number and Card-Number are one."""
    return "".join(char for char in name.casefold() if char.isalnum())


class Mask:
    """What is masked by what. It learns the secrets first, and hides them afterwards."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.shown: dict[tuple[type, Any], Any] = {}
        self.open: set[tuple[type, Any]] = set()
        self.counts: dict[str, int] = {}
        self._pattern: re.Pattern[str] | None = None
        self._words: dict[str, str] = {}

    # ---- learning

    def learn(self, name: str, value: Any) -> None:
        """Find the secrets in a value."""
        match value:
            case Mapping() if PAYLOAD in value:
                self.learn("", value[PAYLOAD])
            case Mapping():
                for inside, item in value.items():
                    self._field(str(inside), item)
            case list() | tuple() | set() | frozenset():
                for item in value:
                    self.learn(name, item)
            case str() | int() | float() if name:
                self.open.add((type(value), value))

    def _field(self, name: str, value: Any) -> None:
        shown = self.judge(name, value)
        if shown is _KEEP:
            self.learn(name, value)
        else:
            self._secret(name, value, shown)

    def _secret(self, name: str, value: Any, shown: Any) -> None:
        match value:
            case Mapping():
                for inside, item in value.items():
                    self._secret(str(inside), item, shown)
            case list() | tuple() | set() | frozenset():
                for item in value:
                    self._secret(name, item, shown)
            case None | bool():
                pass
            case _:
                key = (type(value), plain(value))
                if key not in self.shown:
                    self.shown[key] = self._pseudonym(name, value) if shown is _HIDE else shown

    def _pseudonym(self, name: str, value: Any) -> Any:
        """Return a stand-in of the same type, the same for the same value."""
        self.counts[name] = number = self.counts.get(name, 0) + 1
        match value:
            case int():
                return number
            case float():
                return float(number)
            case _:
                return f"[{name} {number}]"

    def learn_event(self, raw: RawEvent) -> None:
        """Find the secrets in an event."""
        kind, data = raw[1], raw[7]
        ours = _OURS.get(kind, frozenset())
        for name, value in (data or {}).items():
            if name in ours:
                continue
            payload = _payload(value) if name == "value" else value
            if not _is_nameless(name, payload):
                self._field(name, payload)

    # ---- hiding

    def hide(self, name: str, value: Any) -> Any:
        """Return a value with its secrets masked."""
        match value:
            case Mapping() if PAYLOAD in value:
                inside = value[PAYLOAD]
                named = isinstance(inside, (Mapping, list))
                shown = self.hide("", inside) if named else self._positional(inside)
                return {**value, PAYLOAD: shown}
            case Mapping():
                return {
                    self.scrub(str(inside)): self._hidden(str(inside), item)
                    for inside, item in value.items()
                }
            case list() | tuple() | set() | frozenset():
                return type(value)(self.hide(name, item) for item in value)
            case None | bool():
                return value
            case int() | float():
                long = len(str(abs(value))) >= _TRACED_MIN
                return self.shown.get((type(value), value), value) if long else value
            case str():
                return self.scrub(value)
            case _:
                return self.scrub(str(plain(value)))

    def _hidden(self, name: str, value: Any) -> Any:
        shown = self.judge(name, value)
        if shown is _KEEP:
            return self.hide(name, value)
        return self._stand_in(value) if shown is _HIDE else shown

    def _stand_in(self, value: Any) -> Any:
        match value:
            case Mapping():
                return {name: self._stand_in(item) for name, item in value.items()}
            case list() | tuple() | set() | frozenset():
                return type(value)(self._stand_in(item) for item in value)
            case None | bool():
                return value
            case _:
                return self.shown[type(value), plain(value)]

    def hide_event(self, raw: RawEvent) -> RawEvent:
        """Return an event with its secrets masked."""
        *head, data = raw
        if not data:
            return raw
        kind = raw[1]
        ours = _OURS.get(kind, frozenset())
        hidden = {
            name: value if name in ours else self._hidden_in_event(name, value)
            for name, value in data.items()
        }
        return (*head, hidden)  # type: ignore[return-value]

    def _hidden_in_event(self, name: str, value: Any) -> Any:
        if _is_nameless(name, value):
            return [self._positional(argument) for argument in value]
        if name != "value" or not isinstance(value, (bytes, str)):
            return self._hidden(name, value)
        if value in _POISON_BODIES:
            return value  # it is ours, and what tells of it knows it by its bytes
        payload = _payload(value)
        if payload is None:
            return f"[{len(value):,} bytes that are no JSON]"
        shown = self._hidden(name, payload)
        return json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode(
            "utf-8", "surrogatepass"
        )

    def _positional(self, value: Any) -> Any:
        """Mask an argument without a name, unless it is seen elsewhere, in the open."""
        shown = self.judge("argument", value)
        if shown is not _KEEP:
            return self._stand_in_or(value) if shown is _HIDE else shown
        match value:
            case None | bool():
                return value
            case str() | int() | float():
                key = (type(value), value)
                hidden = self.hide("", value)
                return hidden if key in self.open or hidden != value else "[argument]"
            case _:
                return "[argument]"

    def _stand_in_or(self, value: Any) -> Any:
        return self._stand_in(value) if (type(value), plain(value)) in self.shown else "[argument]"

    def scrub(self, text: str) -> str:
        """Return text with every secret in it masked."""
        if self._pattern is None:
            self._pattern = self._compile()
        return self._pattern.sub(self._stand_in_for, text)

    def _stand_in_for(self, match: re.Match[str]) -> str:
        return self._words.get(match[0].casefold(), "[masked]")

    def _compile(self) -> re.Pattern[str]:
        spellings = set()
        for (_, value), shown in self.shown.items():
            text = str(value)
            if len(text) >= _TRACED_MIN:
                for spelling in (text, repr(text)[1:-1], json.dumps(text)[1:-1]):
                    self._words.setdefault(spelling.casefold(), str(plain(shown)))
                    spellings.add(spelling)
        longest_first = sorted(spellings, key=lambda word: (-len(word), word))
        spelled = [
            re.escape(word) if len(word) >= _ANYWHERE_MIN else rf"(?<!\w){re.escape(word)}(?!\w)"
            for word in longest_first
        ]
        return re.compile("|".join(spelled) or r"(?!)", re.IGNORECASE)


def _is_nameless(name: str, value: Any) -> bool:
    """Say whether a field of an event holds arguments by position: of a call, of SQL."""
    return name in ("arguments", "params") and isinstance(value, (list, tuple))


_POISON_BODIES: Final = frozenset(POISON.values()) | {plain(one) for one in POISON.values()}


def _payload(value: Any) -> Any:
    """Return what a payload says, or None if it is no JSON."""
    if not isinstance(value, (bytes, str)):
        return value
    if value in _POISON_BODIES:
        return plain(value)
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None
