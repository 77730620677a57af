"""A counterexample: a property, the smallest schedule that breaks it, and what happened."""

from __future__ import annotations

import builtins
import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any, Final

import attrs
import msgspec

from chaosharness.checkers import Finding, Property, assumed
from chaosharness.errors import InvalidDefinition, InvalidSchedule
from chaosharness.handlers.logged import Logged
from chaosharness.kernel.history import History
from chaosharness.kernel.lines import Line
from chaosharness.schedule import FORMAT, Schedule, read_format
from chaosharness.system import System, describe
from chaosharness.system.run import Examined

_PACKAGES: Final = ("chaosharness",)
_JSON_WORDS: Final[dict[type, str]] = {
    str: "a text",
    list: "a list",
    dict: "an object",
    bool: "true or false",
}
_SLUG_BYTES_MAX: Final = 120
"""A file name may have 255 bytes; endings and `test_` need some of them."""


def _versions() -> dict[str, str]:
    """Return the versions that a history may depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def _hash_seed() -> str:
    """Return the PYTHONHASHSEED of this process; empty where it is by chance."""
    seed = os.environ.get("PYTHONHASHSEED", "")
    return seed if seed.isdigit() else ""


@attrs.frozen(eq=False)
class Counterexample:
    """One broken promise, as small as it could be made.

    Attributes:
        property: Name of the claim.
        system: Name of the system.
        target: Where the system is found, as `module:attribute`; empty if unknown.
        schedule: The faults that are needed, and no others.
        items: The workload, as plain values.
        findings: What was violated, pointing into the history.
        digest: Of the history, so that a replay can tell whether it is the same.
        history: What happened. Not in the file: replaying it brings it back.
        minimal: Whether each fault was checked to be needed: without it, it passes. Other,
            fewer faults may do too; see `exact` and `checked`.
        exact: Whether it is proved that no fewer faults do it: there is one at most, or every
            schedule of fewer was run: with all options of the kinds searched, and on the workload
            of the search.
        checked: What was checked where there are two faults or more: `no fault can be dropped;
            no two exchanged for one within the 24 tried`; or that every smaller schedule was run.
        found_after: Runs until it was first seen.
        shrunk_in: Further runs that made it small.
        versions: Of Python and of what shapes a history.
        passing: The history of the nearest run that passes, if one was kept.
        lifelines: Parts of the system, in the order that pictures draw them from the left;
            those not named follow, in the order of the story.
        assumption: What the property took for granted, where nobody said so.
        profiles: Whose defaults brokers went by, where a client is named, in words.
        hash_seed: The PYTHONHASHSEED that it was found with; empty if that was by chance.
        types: The name of each item's type, where the entry has examples of several; else
            empty.
        lines: The line of the user's code that each event was asked for at, by its index. Not
            in the file: replaying it brings them back.
        code: The decisive ones of them, as the file had them.
        event_histories: What orchestrators recorded, as `Run.event_histories` has it. Not in the
            file: replaying it brings it back.
        logged: What the user's code logged and printed in that run. Not in the file: replaying it
            brings it back.
        format: Of the file that it was read from.
    """

    property: str
    system: str
    schedule: Schedule
    items: tuple[Any, ...]
    findings: tuple[Finding, ...]
    digest: str
    target: str = ""
    history: History = attrs.field(factory=History, repr=False)
    minimal: bool = False
    exact: bool = False
    checked: str = ""
    found_after: int = 0
    shrunk_in: int = 0
    versions: Mapping[str, str] = attrs.field(factory=_versions)
    passing: History | None = attrs.field(default=None, repr=False)
    lifelines: tuple[str, ...] = ()
    assumption: str = ""
    profiles: tuple[str, ...] = ()
    hash_seed: str = attrs.field(factory=_hash_seed)
    types: tuple[str, ...] = ()
    lines: Mapping[int, Line] = attrs.field(factory=dict, repr=False)
    code: tuple[Any, ...] = attrs.field(default=(), repr=False)
    logged: tuple[Logged, ...] = attrs.field(default=(), repr=False)
    event_histories: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    format: int = FORMAT

    @builtins.property
    def kind(self) -> str:
        """What sort of harm was found; empty for a claim that knows one sort only."""
        return self.findings[0].kind if self.findings else ""

    @builtins.property
    def place(self) -> str:
        """Where the difference lies; empty where it is one place."""
        return self.findings[0].place if self.findings else ""

    def line_of(self, event: int) -> Line | None:
        """Return the line of the user's code that asked for an event.

        That is its own, or that of the call which it goes back to; None where it is not known.
        """
        raw = self.history.raw
        at = event
        while 0 <= at < len(raw) and at not in self.lines:  # a history may not be at hand
            cause = raw[at][6]
            at = cause if cause >= 0 and raw[cause][3] == raw[event][3] else -1
        return self.lines.get(at)

    def decisive(self) -> tuple[Line, ...]:
        """Return the lines that asked for what the faults struck, and for what was found."""
        struck = [event.index for event in self.history.of("fault")]
        events = [*struck, *(event for finding in self.findings[:1] for event in finding.events)]
        found = {line: None for event in events if (line := self.line_of(event)) is not None}
        return tuple(found)

    def _code(self) -> list[Any]:
        """Return the decisive lines as plain values; without the run, as the file had them."""
        lines = self.decisive()
        return [
            {"at": line.at, "function": line.function, "text": line.text} for line in lines
        ] or list(self.code)

    def slug(self) -> str:
        """Return a file name made from the finding: the same finding, the same name."""
        text = f"{self.system}-{self.property}-{self.kind}-{_spelled(self.place)}".lower()
        words = "".join(c if c.isalnum() else "-" for c in text)
        slug = "-".join(filter(None, words.split("-"))) or "counterexample"
        if len(slug.encode()) <= _SLUG_BYTES_MAX:
            return slug
        digest = hashlib.blake2b(slug.encode(), digest_size=4).hexdigest()
        return f"{slug.encode()[: _SLUG_BYTES_MAX - 9].decode(errors='ignore')}-{digest}"

    def to_json(self) -> dict[str, Any]:
        """Return the counterexample as plain values, without its history."""
        known = {
            "kind": self.kind,
            "place": self.place,
            "assumption": self.assumption,
            "hash_seed": self.hash_seed,
            "profiles": list(self.profiles),
            "types": list(self.types),
            "checked": self.checked,
            "exact": self.exact and len(self.schedule) > 1,
            "code": self._code(),
        }
        return {
            "chaosharness": FORMAT,
            "property": self.property,
            "system": self.system,
            "target": self.target,
            "faults": self.schedule.to_json(),
            "workload": list(self.items),
            "finding": self.findings[0].summary if self.findings else "",
            "digest": self.digest,
            "minimal": self.minimal,
            **{name: value for name, value in known.items() if value},
            "versions": dict(self.versions),
        }

    def encode(self) -> str:
        """Write the counterexample as text, in one canonical spelling."""
        return json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def decode(cls, text: str) -> Counterexample:
        """Read what `encode` wrote. The history is empty until it is replayed.

        Raises:
            InvalidSchedule: Not such a file, or of another format.
        """
        value = read_format(text, what="counterexample")
        field = partial(_field, value)
        faults = Schedule.from_json(field("faults", list))
        minimal = field("minimal", bool, False)
        found = cls(
            property=field("property", str),
            system=field("system", str),
            target=field("target", str, ""),
            schedule=faults,
            items=tuple(field("workload", list)),
            findings=(
                Finding(
                    field("finding", str, ""),
                    kind=field("kind", str, ""),
                    place=field("place", str, ""),
                ),
            ),
            digest=field("digest", str),
            minimal=minimal,
            exact=field("exact", bool, minimal and len(faults) < 2),
            checked=field("checked", str, ""),
            versions=field("versions", dict, {}),
            assumption=field("assumption", str, ""),
            hash_seed=field("hash_seed", str, ""),
            profiles=tuple(map(str, field("profiles", list, []))),
            types=tuple(map(str, field("types", list, []))),
            code=tuple(field("code", list, [])),
            format=value["chaosharness"],
        )
        if not found.property:
            raise InvalidSchedule("counterexample file: 'property' is empty")
        return found


def _spelled(place: str) -> str:
    """Spell the place of a finding for a file name: two places never alike."""
    base = place.rstrip("+-")
    sign = {"+": "-more", "-": "-less", "": ""}.get(place[len(base) :], "-both")
    if all(c.isdigit() or c.islower() or c == "." for c in base):
        return base + sign
    return f"{base}{sign}-{hashlib.blake2b(place.encode(), digest_size=3).hexdigest()}"


def _field(value: dict[str, Any], name: str, kind: type[Any], default: Any = None) -> Any:
    """Return a field of a file, of its type.

    Raises:
        InvalidSchedule: It is not there, or of another type; the message says which.
    """
    if name not in value:
        if default is None:
            if "events" in value:
                raise InvalidSchedule(
                    "it is the history of a counterexample, whose own file is the one beside it "
                    "without .history in its name"
                )
            raise InvalidSchedule(f"counterexample file is incomplete: {name!r} is missing")
        return default
    found = value[name]
    if type(found) is not kind:
        raise InvalidSchedule(
            f"counterexample file: {name!r} must be {_JSON_WORDS[kind]}, not {_shown(found)}"
        )
    if kind is dict and not all(isinstance(one, str) for one in found.values()):
        raise InvalidSchedule(f"counterexample file: {name!r} must hold texts, not {_shown(found)}")
    return found


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def plain_items(items: Sequence[Any]) -> tuple[Any, ...]:
    """Return workload items as plain values, for a file."""
    return tuple(describe(item) for item in items)


def types_of(system: Examined, items: Sequence[Any]) -> tuple[str, ...]:
    """Return the name of each item's type; nothing where the entry has examples of one only."""
    if len(_kinds(system)) < 2:
        return ()
    return tuple(type(item).__qualname__ for item in items)


def _kinds(system: Examined) -> list[type[Any]]:
    return list(dict.fromkeys(type(example) for example in system.examples))


def items_for(system: System, values: Sequence[Any], types: Sequence[str] = ()) -> tuple[Any, ...]:
    """Build workload items from plain values: of the types that the entry's examples have.

    Args:
        system: The system.
        values: The items as plain values.
        types: The name of each one's type, as `types_of` gives them. Where nobody says it,
            an item is of the first type that has just its fields.

    Raises:
        InvalidSchedule: A value does not fit its type any more.
    """
    kinds = _kinds(system)
    if not kinds:
        return tuple(values)
    named = types if len(types) == len(values) else [""] * len(values)
    return tuple(_built(kinds, value, name) for value, name in zip(values, named, strict=True))


def _built(kinds: list[type[Any]], value: Any, name: str) -> Any:
    """Return a plain value as an item: of the type of that name, else of one that fits."""
    mine = [kind for kind in kinds if kind.__qualname__ == name] or kinds
    fits, errors = [], []
    for kind in mine:
        try:
            fits.append(msgspec.convert(value, kind))
        except (ValueError, TypeError, RecursionError) as error:  # msgspec's is a ValueError
            errors.append(f"the workload does not fit {kind.__qualname__}: {error}")
    if not fits:
        raise InvalidSchedule("; ".join(errors))
    return next((item for item in fits if describe(item) == value), fits[0])


def claimed(system: System, name: str) -> Property:
    """Return the property of this name: the system's own claim, or what is assumed of any.

    Raises:
        InvalidDefinition: The system claims none of that name, or no longer.
    """
    known: list[Property] = [*system.properties, *assumed(system)]
    for one in known:
        if one.name == name:
            return one
    raise InvalidDefinition(
        f"system {system.name!r} does not claim {name!r}; known are "
        f"{', '.join(repr(one.name) for one in known)}. Say so where the system is put "
        f"together: {system.name}.claim(...)"
    )
