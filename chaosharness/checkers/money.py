"""Whether a field that carries money is dropped where two versions of a schema meet."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from chaosharness.checkers.effects import names_of
from chaosharness.checkers.masking import words_in
from chaosharness.checkers.payload import leaf_name, payload_of
from chaosharness.checkers.property import Evidence, Finding, Property
from chaosharness.kernel.history import Event, History, plain
from chaosharness.schemas.shape import leaves

NAME: Final = "no money dropped"

_SUMS = ("cents", "amount", "amounts", "price", "prices", "total", "totals", "subtotal", "balance")
_PARTS = ("fee", "fees", "discount", "discounts", "tax", "taxes", "vat", "tip", "tips", "surcharge")
_MOVES = ("refund", "refunds", "deposit", "charge", "charges", "credit", "debit", "payout")
_OTHERS = ("cost", "costs", "commission", "paid", "due", "money")
MONEY: Final = frozenset((*_SUMS, *_PARTS, *_MOVES, *_OTHERS))
"""Words in the name of a field that say it carries money."""


_INDEX: Final = re.compile(r"\[\d+\]")


def no_money_dropped(*, fields: Iterable[str] = (), ignore: Iterable[str] = ()) -> Property:
    """Claim that no field that carries money is dropped where two versions of a schema meet.

    A consumer of an old version does not see a field that is new: it reads the event, and goes
    on without. That is a finding where money went wrong by it: where what the handler does next,
    or what stores hold in the end, has other amounts than the run without faults, or has the same
    field empty. For `fields` that are named here it is one as soon as the handler does anything
    with money after it.

    A field that a producer's own schema does not have, and that is left out when it is written
    (Avro), is a question.

    Args:
        fields: Names of fields that must get through: `discount_cents`, or `lines[].tax`.
            By default those with a word for money in their name (`cents`, `price`, `tax`, ...).
        ignore: Handlers that need no money: `mail.on_order`, or `mail`.

    >>> no_money_dropped(fields=["discount_cents"])

    Not modelled:
        What code itself leaves out; amounts in fields whose names say nothing of money.
    """
    named, ignored = names_of(fields), names_of(ignore)

    def judge(evidence: Evidence) -> list[Finding]:
        found: list[Finding] = []
        for event in evidence.history.of("resolve"):
            place = event.operation.partition("/")[0]
            dropped = event.data.get("dropped", {})
            lost = {path: v for path, v in dropped.items() if _carries(path, v, named)}
            if not lost or ignored & {place, place.partition(".")[0]}:
                continue
            if event.data["what"] == "read":
                found += _read_without(evidence, event, place, lost, named)
            elif event.data["from"] == event.data["as"]:
                found.append(_written_without(event, place, lost))
        return found

    def tested(evidence: Evidence) -> bool:
        return any(True for _ in evidence.history.of("resolve"))

    return Property(NAME, judge, "eventually", tested=tested)


def carries_money(path: str) -> bool:
    """Say whether the name of a field has a word for money in it: `total_cents`, `unitPrice`."""
    return bool(MONEY & words_in(leaf_name(path)))


def _carries(path: str, value: Any, named: frozenset[str] | set[str]) -> bool:
    if not value or isinstance(value, bool):
        return False
    if named:
        return bool(named & {path, leaf_name(path), _INDEX.sub("[]", path)})
    return carries_money(path) and (_is_number(value))


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return bool(re.fullmatch(r"-?\d+(\.\d+)?", value))
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read_without(
    evidence: Evidence, event: Event, place: str, lost: dict[str, Any], named: Any
) -> Iterator[Finding]:
    done = [*_what_follows(evidence.history, event)]
    for path, value in lost.items():
        said, shown = _harm(evidence, event, done, path, bool(named))
        if said:
            data = event.data
            yield Finding(
                f"{place} reads {data['subject']} of version {data['from']} as version "
                f"{data['as']}, without {path}={value}: {said}",
                (event.index, *shown),
                event.entity,
                {"field": path, "value": value, "from": data["from"], "as": data["as"]},
                kind="money dropped",
                place=f"{place}: {data['subject']}.{leaf_name(path)}",
            )
            return


def _harm(
    evidence: Evidence, event: Event, done: list[Event], path: str, named: bool
) -> tuple[str, tuple[int, ...]]:
    """Say what went wrong because a field was dropped, and which events show it."""
    for one in done:
        same = [(p, v) for p, v in payload_of(one) if leaf_name(p) == leaf_name(path)]
        if same and not any(value for _, value in same):
            return f"{_named(one)} has {path}={same[0][1]!r}", (one.index,)
        if named and money_of(one):
            return f"{_named(one)} goes on without it", (one.index,)
    if not evidence.faults:
        return "", ()
    calm = evidence.calm()
    for one in done:
        here = money_of(one)
        there = [money_of(e) for e in calm.of(one.kind) if _place(e) == _place(one)]
        if here and there and here not in there:
            return f"{_named(one)} has {_words(here)}, not {_words(there[0])}", (one.index,)
    for name, sum_here, sum_there in _books(evidence.history, calm):
        return f"{name} holds {sum_here} in the end, not {sum_there}", ()
    return "", ()


def _written_without(event: Event, place: str, lost: dict[str, Any]) -> Finding:
    path, value = next(iter(lost.items()))
    subject = event.data["subject"]
    return Finding(
        f"{place} publishes {subject} with {path}={value}, which version {event.data['as']} has no "
        "field for: it is left out",
        (event.index,),
        event.entity,
        {"field": path, "value": value},
        kind="money dropped",
        place=f"{place}: {subject}.{leaf_name(path)}",
        question=True,
    )


def _what_follows(history: History, event: Event) -> Iterator[Event]:
    """Yield the events and effects that the same handler run brings about, after an event."""
    within = {event.index}
    for index in range(event.index + 1, len(history)):
        raw = history.raw[index]
        if raw[6] in within and raw[1] != "deliver":
            within.add(index)
            if raw[1] in ("publish", "effect"):
                yield history[index]


def money_of(event: Event) -> dict[str, Any]:
    """Return the amounts that an event or effect carries, by their paths."""
    return {p: v for p, v in payload_of(event) if carries_money(p) and _is_number(v)}


def _place(event: Event) -> tuple[Any, ...]:
    return event.operation, event.entity, event.data.get("topic"), event.data.get("method")


def _named(event: Event) -> str:
    data = event.data
    return str(data.get("topic") or f"{event.actor}.{data.get('method', 'its effect')}")


def _words(money: Mapping[str, Any]) -> str:
    return ", ".join(f"{path}={value}" for path, value in money.items())


def _books(history: History, calm: History) -> Iterator[tuple[str, str, str]]:
    """Yield the columns with money whose sums differ at the end of two runs."""
    here, there = _sums(history), _sums(calm)
    for name in sorted(here.keys() | there.keys()):
        if here[name] != there[name]:
            yield name, f"{here[name]}", f"{there[name]}"


def _sums(history: History) -> defaultdict[str, float]:
    found: defaultdict[str, float] = defaultdict(float)
    for event in history.of("state"):
        for path, value in leaves(plain(event.data.get("tables", {}))):
            if carries_money(path) and isinstance(value, int | float):
                found[f"{event.actor}.{_INDEX.sub('', path)}"] += value
    return found
