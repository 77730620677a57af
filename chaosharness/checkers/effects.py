"""Effects that must happen once: charges above all, and whatever else a third party does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

import attrs

from chaosharness.checkers.property import Evidence, Finding, Property
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.places import asked_at
from chaosharness.kernel.allowed import refused
from chaosharness.kernel.history import Event, History, plain

Key = str | tuple[str, ...] | Callable[[Mapping[str, Any]], Any]
"""What makes two effects the same: a name of an argument, some, or a function of the data."""

_NUMBERED: Final = frozenset({"method", "order", "cents", "key", "id"})
"""What an entry of a gateway's ledger says; its `id` is the number of the entry."""


def business(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an entry of a ledger says about the business, and not about itself."""
    itself = {"method"} if entry_number(data) is None else {"method", "id"}
    return {name: value for name, value in data.items() if name not in itself}


def entry_number(data: Mapping[str, Any]) -> int | None:
    """Return the number of an entry, where the ledger has them: other ids are business."""
    return data["id"] if data.keys() == _NUMBERED else None


def name_of(part: Any) -> str:
    """Return the name of a part of a system, given itself or its name."""
    name = part if isinstance(part, str) else getattr(part, "name", None)
    if not isinstance(name, str):
        raise InvalidDefinition(
            f"{part!r} is no part of a system: give the part itself, or its name, such as "
            f"'bank'{asked_at()}"
        )
    return name


def names_of(parts: Any) -> frozenset[str]:
    """Return the names of one part, of several, or of none at all: meaning all."""
    if parts is None:
        return frozenset()
    several = isinstance(parts, Iterable) and not isinstance(parts, str)
    return frozenset(name_of(part) for part in (parts if several else (parts,)))


def effects(history: History, externals: frozenset[str]) -> list[Event]:
    """Return what third parties did: those named, or all."""
    return [*_effects(history, externals)]


@lru_cache(maxsize=32)
def _effects(history: History, externals: frozenset[str]) -> tuple[Event, ...]:
    """Find them once for all claims about a history."""
    found = history.of("effect")
    return tuple(event for event in found if not externals or event.actor in externals)


@attrs.define
class Balance:
    """What was charged for one business key, and not given back."""

    cents: int = 0
    charges: list[Event] = attrs.field(factory=list)
    again: bool = False


def never_charged_twice(gateway: Any = None, *, per: str = "order") -> Property:
    """Claim that no order is charged again while a charge for it stands.

    A charge is legal where everything charged before has been refunded: charge, refund,
    charge is how a second try looks. Charging one idempotency key twice is a violation
    too, refunded or not: a key names one charge. Two instalments of one order are two
    charges for it: give them business keys of their own, or claim `per="key"`.

    Args:
        gateway: The gateway, its name, or several that share their orders (a fallback);
            by default all, each by itself.
        per: The argument of `charge` that is the business key. Where no charge has it, nothing
            was put to the test.

    Raises:
        InvalidDefinition: `gateway` is no part, or `per` no name.

    >>> run.check(never_charged_twice(bank))
    >>> run.check(never_charged_twice([stripe, adyen], per="order"))
    """
    externals = names_of(gateway)
    if not isinstance(per, str) or not per:
        raise refused("never_charged_twice", "per", "the name of an argument of charge", per)

    def judge(evidence: Evidence) -> list[Finding]:
        found = effects(evidence.history, externals)
        charged = _charged_again(found, per, shared=bool(externals))
        seen = {finding.events for finding in charged}
        if per != "key":
            by_key = _keys_used_twice(found, seen)
            charged = sorted([*charged, *by_key], key=lambda one: one.events)
        return charged

    def tested(evidence: Evidence) -> bool:
        found = effects(evidence.history, externals)
        return any(_is_charge(event) and event.data.get(per) is not None for event in found)

    return Property("never charged twice", judge, "always", tested=tested)


def _is_charge(event: Event) -> bool:
    return bool(event.data.get("method") == "charge")


def _charged_again(found: Iterable[Event], per: str, *, shared: bool) -> list[Finding]:
    balances: dict[tuple[str, str], Balance] = {}
    for event in found:
        method = event.data.get("method")
        key = event.data.get(per)
        if method not in ("charge", "refund") or key is None:
            continue
        one = balances.setdefault(("" if shared else event.actor, str(key)), Balance())
        if method == "refund":
            one.cents -= event.data.get("cents", 0)
            if one.cents <= 0 and not one.again:
                one.charges.clear()
            continue
        one.again = one.again or (bool(one.charges) and one.cents > 0)
        one.cents += event.data.get("cents", 0)
        one.charges.append(event)
    return [
        _charges(f"{per} {key} was charged", one.charges)
        for (_, key), one in balances.items()
        if one.again
    ]


def _keys_used_twice(found: Iterable[Event], seen: set[tuple[int, ...]]) -> list[Finding]:
    """Return a finding for each idempotency key of two charges, where not found already."""
    charges: dict[tuple[str, str], list[Event]] = {}
    for event in found:
        key = event.data.get("key")
        if _is_charge(event) and key is not None:
            charges.setdefault((event.actor, str(key)), []).append(event)
    findings = [
        _charges(f"idempotency key {key} was charged", events)
        for (_, key), events in charges.items()
        if len(events) > 1
    ]
    return [one for one in findings if one.events not in seen]


def _charges(what: str, charges: list[Event]) -> Finding:
    amounts = [event.data.get("cents", 0) for event in charges]
    if len(set(amounts)) == 1:
        how = f"{times(len(amounts))} for {amounts[0]} cents each"
    else:
        how = f"{times(len(amounts))}, for {', '.join(map(str, amounts))} cents"
    return Finding(
        f"{what} {how}; promised: once",
        tuple(event.index for event in charges),
        charges[0].entity,
        {
            "charges": len(charges),
            "cents": amounts,
            "order": plain(charges[0].data.get("order")),
            "keys": [plain(event.data.get("key")) for event in charges],
        },
    )


@attrs.frozen
class Same:
    """What makes two effects the same: where, the method, the key, and perhaps the item."""

    external: str
    method: str
    key: str
    entity: int


def never_twice(
    external: Any,
    method: str | None = None,
    *,
    key: Key | None = None,
    undone_by: str | Iterable[str] | None = (),
    as_in_calm: bool = False,
) -> Property:
    """Claim that a third party does the same thing at most once.

    Args:
        external: The third party, its name, or several that stand in for each other.
        method: What it does; by default everything, each method by itself.
        key: What makes two requests the same: the name of an argument, several names, or
            a function of the ledger entry's data. By default all arguments. A name that none
            of the requests has raises `InvalidDefinition` when a run is judged.
        undone_by: Methods that undo it, so that doing it again is legal, where the
            arguments that both have are equal. None: any other method may have undone it.
        as_in_calm: Allow, for each workload item, what the run without faults does.

    >>> run.check(never_twice(mailer, "send", key="to"))
    >>> run.check(never_twice(warehouse, "reserve", key="order", undone_by="release"))
    """
    externals = names_of(external)
    undoing = (undone_by,) if isinstance(undone_by, str) else undone_by
    undoing = None if undoing is None else frozenset(undoing)
    identity = _identity(key)

    where = "/".join(sorted(externals))

    def repeats(history: History) -> dict[Same, list[Event]]:
        found = list(effects(history, externals))
        _check_key(key, found, method, where)
        return _repeats(found, where, method, identity, undoing, per_item=as_in_calm)

    def judge(evidence: Evidence) -> list[Finding]:
        repeated = repeats(evidence.history)
        if not repeated:
            return []
        usual = repeats(evidence.calm()) if as_in_calm else {}
        return [
            _repeated(same, events, len(usual.get(same, [None])), as_in_calm)
            for same, events in repeated.items()
            if len(events) > len(usual.get(same, [None]))
        ]

    def tested(evidence: Evidence) -> bool:
        found = effects(evidence.history, externals)
        return any(method in (None, event.data.get("method")) for event in found)

    name = f"never twice: {where}.{method}" if method else f"never twice: {where}"
    return Property(name, judge, "always", tested=tested)


def _identity(key: Key | None) -> Callable[[Mapping[str, Any]], Any]:
    if callable(key):
        return key
    names = (key,) if isinstance(key, str) else key

    def identity(data: Mapping[str, Any]) -> Any:
        if names is None:
            return business(data)
        return {name: data.get(name) for name in names}

    return identity


def _check_key(key: Key | None, found: Iterable[Event], method: str | None, where: str) -> None:
    """See that the names which tell requests apart are names of arguments.

    Raises:
        InvalidDefinition: No request has one of them: all would count as the same.
    """
    if key is None or callable(key):
        return
    asked = [event for event in found if method in (None, event.data.get("method"))]
    for name in (key,) if isinstance(key, str) else key:
        if asked and not any(name in event.data for event in asked):
            known = dict.fromkeys(one for event in asked for one in business(event.data))
            what = f"{where}.{method}" if method else where
            raise InvalidDefinition(
                f"never_twice(..., key={key!r}): {what} has no argument {name!r}; "
                f"it has: {', '.join(known) or 'none'}"
            )


def _repeats(
    found: Iterable[Event],
    where: str,
    method: str | None,
    identity: Callable[[Mapping[str, Any]], Any],
    undoing: frozenset[str] | None,
    *,
    per_item: bool,
) -> dict[Same, list[Event]]:
    """Return the effects that happened more than once without being undone in between."""
    standing: dict[Same, list[Event]] = {}
    repeated: dict[Same, list[Event]] = {}
    for event in found:
        what = event.data.get("method", "")
        for same in [*standing] if undoing is None or what in undoing else ():
            if _undoes(event, standing[same][0], anything=undoing is None):
                del standing[same]
        if method is None or what == method:
            entity = event.entity if per_item else 0
            same = Same(where, what, _text(identity(event.data)), entity)
            events = standing.setdefault(same, [])
            events.append(event)
            if len(events) > 1:
                repeated[same] = events
    return repeated


def _undoes(later: Event, earlier: Event, *, anything: bool) -> bool:
    """Say whether an effect is about the same business as an earlier one of another method."""
    if later.data.get("method") == earlier.data.get("method"):
        return False
    after, before = business(later.data), business(earlier.data)
    equal = [after[name] == before[name] for name in sorted(after.keys() & before.keys())]
    if anything:
        return later.entity == earlier.entity or any(equal)
    return all(equal) if equal else later.entity == earlier.entity


def _text(identity: Any) -> str:
    value = plain(identity)
    if isinstance(value, dict):
        return ", ".join(f"{name}={value[name]!r}" for name in value)
    return str(value)


def _repeated(same: Same, events: list[Event], allowed: int, as_in_calm: bool) -> Finding:
    usual = f"in the calm run: {times(allowed)}" if as_in_calm else "promised: once"
    return Finding(
        f"{same.external} did {same.method}({same.key}) {times(len(events))}; {usual}",
        tuple(event.index for event in events),
        events[0].entity,
        {
            "external": same.external,
            "method": same.method,
            "times": len(events),
            "allowed": allowed,
        },
    )


def times(count: int) -> str:
    """Say how often: `once`, `2 times`."""
    return "once" if count == 1 else f"{count} times"
