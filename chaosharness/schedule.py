"""A schedule: all the trouble of one run, as a small text anyone can read, edit and paste."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from chaosharness.errors import InvalidSchedule
from chaosharness.faults import EVERY_KIND, KIND_BY_NAME, Fault
from chaosharness.kernel.places import asked_at
from chaosharness.kernel.site import Site
from chaosharness.kernel.world import Armed

FORMAT: Final = 2
READ: Final = (1, 2)
"""The formats that are read. In format 1 an attempt counted for the workload item, whichever
message was in hand; from 2 on it counts for each message. Where one message gets to an operation
for an item, as is usual, both mean the same."""
DEPTH_MAX: Final = 100
"""How deep a file may be nested: Python's own limit is met at about a thousand."""
_ORDER: Final = {kind: order for order, kind in enumerate(EVERY_KIND)}


def _faults(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """Put faults into their one order, and merge equal ones."""
    try:
        found = tuple(faults)
    except TypeError:
        raise InvalidSchedule(
            f"a Schedule is made of several faults, and not of {faults!r}{asked_at()}: write "
            "Schedule([...]), also around one"
        ) from None
    for fault in found:
        if type(fault) not in _ORDER:
            known = ", ".join(kind.__name__ for kind in EVERY_KIND)
            raise InvalidSchedule(f"{fault!r} is not a fault{asked_at()}; faults are: {known}")
        if type(fault.site) is not Site:
            kind = type(fault).__name__
            raise InvalidSchedule(
                f"a {kind} strikes at a Site, and not at {fault.site!r}{asked_at()}: write "
                f'{kind}(Site("service.handler/operation")); `chaosharness sites` lists them'
            )
    unique = dict.fromkeys(found)
    return tuple(sorted(unique, key=_sort_key))


def _sort_key(fault: Fault) -> tuple[Any, ...]:
    site = fault.site
    place = (site.entity, site.operation, site.message, site.attempt, site.phase == "after")
    return (*place, _ORDER[type(fault)], str(fault.option))


@attrs.frozen
class Schedule:
    """The faults of one run. Empty is calm; order and repetition do not matter.

    >>> from chaosharness import Crash, Schedule, Site
    >>> Schedule([Crash(Site("payments.on_order/bank.charge", "after"))])
    Schedule((Crash(Site('payments.on_order/bank.charge', 'after')),))
    """

    faults: tuple[Fault, ...] = attrs.field(default=(), converter=_faults)
    drawn: bool = attrs.field(default=False, eq=False, repr=False, kw_only=True)
    """Whether a search chose it: it may choose faults that find no site, and nobody is told."""

    def __iter__(self) -> Iterator[Fault]:
        return iter(self.faults)

    def __len__(self) -> int:
        return len(self.faults)

    def __repr__(self) -> str:
        if not self.faults:
            return "Schedule()"
        return f"Schedule(({''.join(f'{code(fault)}, ' for fault in self.faults).rstrip()}))"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Show the code instead of every field: to Hypothesis and to IPython."""
        if len(self.faults) < 2:
            printer.text(repr(self))
            return
        with printer.group(10, "Schedule((", "))"):
            for number, fault in enumerate(self.faults):
                if number:
                    printer.breakable()
                printer.text(f"{code(fault)},")

    def without(self, fault: Fault) -> Schedule:
        """Return the schedule with one fault less. The others stay where they are."""
        return Schedule((one for one in self.faults if one != fault), drawn=self.drawn)

    def with_(self, fault: Fault) -> Schedule:
        """Return the schedule with one fault more."""
        return Schedule((*self.faults, fault), drawn=self.drawn)

    def armed(self) -> list[Armed]:
        """Return the faults as the kernel keeps them."""
        return [Armed(fault.site, fault) for fault in self.faults]

    def to_json(self) -> list[dict[str, Any]]:
        """Return the faults as plain values, in canonical order."""
        return [_plain(fault) for fault in self.faults]

    @classmethod
    def from_json(cls, values: object) -> Schedule:
        """Read what `to_json` wrote.

        Raises:
            InvalidSchedule: A fault is of an unknown kind, names no site or has an
                unknown field; the message says which and where.
        """
        if not isinstance(values, list):
            raise InvalidSchedule(f"faults must be a list, not {type(values).__name__}")
        return cls(_fault(value, place) for place, value in enumerate(values))

    def encode(self, *, system: str) -> str:
        """Write the schedule as text in one canonical spelling."""
        value = {"chaosharness": FORMAT, "system": system, "faults": self.to_json()}
        return json.dumps(value, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def decode(cls, text: str, *, system: str) -> Schedule:
        """Read what `encode` wrote.

        Raises:
            InvalidSchedule: Not JSON, another format, or another system's schedule.
        """
        value = read_format(text, what="schedule")
        if value.get("system") != system:
            raise InvalidSchedule(
                f"this schedule was made for system {value.get('system')!r}, not {system!r}"
            )
        return cls.from_json(value.get("faults"))


def struck_of(schedule: Schedule, unused: tuple[Fault, ...]) -> tuple[Fault, ...]:
    """Return the faults that found their site."""
    if not unused:
        return schedule.faults
    return tuple(fault for fault in schedule.faults if fault not in unused)


def read_format(text: str, *, what: str) -> dict[str, Any]:
    """Read a JSON object that carries our format number.

    Raises:
        InvalidSchedule: The text is not such an object, or has another format number.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidSchedule(f"not a chaosharness {what}: it is no JSON ({error})") from None
    except RecursionError:
        raise InvalidSchedule(f"not a chaosharness {what}: it is nested too deeply") from None
    if _deeper_than(DEPTH_MAX, value):
        raise InvalidSchedule(f"not a chaosharness {what}: it is nested more than {DEPTH_MAX} deep")
    if not isinstance(value, dict) or "chaosharness" not in value:
        raise InvalidSchedule(f"not a chaosharness {what}: it has no 'chaosharness' format number")
    found = value["chaosharness"]
    if found not in READ:
        newer = isinstance(found, int) and found > FORMAT
        known = " and ".join(map(str, READ))
        hint = "; it was written by a newer version: upgrade chaosharness" if newer else ""
        raise InvalidSchedule(
            f"{what} format {found!r} cannot be read; this version reads {known}{hint}"
        )
    return value


def _deeper_than(depth: int, value: Any) -> bool:
    """Say whether a value of JSON is nested deeper than that, without going so deep."""
    level = [value]
    for _ in range(depth):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def code(fault: Fault) -> str:
    """Spell a fault as Python code, leaving out what is at its default."""
    site = fault.site
    words = [repr(site.operation)]
    if site.phase != "before":
        words.append(repr(site.phase))
    words += [
        f"{name}={value}"
        for name, value in (("entity", site.entity), ("attempt", site.attempt))
        if value != 1
    ]
    if site.message:
        words.append(f"message={site.message!r}")
    text = f"Site({', '.join(words)})"
    fields = attrs.fields_dict(type(fault))
    options = [
        f", {name}={getattr(fault, name)!r}"
        for name, field in fields.items()
        if name != "site" and getattr(fault, name) != field.default
    ]
    return f"{type(fault).__name__}({text}{''.join(options)})"


def _plain(fault: Fault) -> dict[str, Any]:
    value: dict[str, Any] = {"fault": fault.kind, "site": str(fault.site)}
    for name, field in attrs.fields_dict(type(fault)).items():
        if name != "site" and getattr(fault, name) != field.default:
            value[name] = getattr(fault, name)
    return value


def _fault(value: object, place: int) -> Fault:
    where = f"fault {place + 1}"
    if not isinstance(value, Mapping):
        raise InvalidSchedule(f"{where} must be an object, not {value!r}")
    fields = dict(value)
    name = fields.pop("fault", None)
    kind = KIND_BY_NAME.get(name) if isinstance(name, str) else None
    if kind is None:
        raise InvalidSchedule(
            f"{where} has the unknown kind {value.get('fault')!r}; "
            f"known: {', '.join(sorted(KIND_BY_NAME))}"
        )
    try:
        return kind(Site.parse(str(fields.pop("site", ""))), **fields)
    except (TypeError, ValueError) as error:
        raise InvalidSchedule(f"{where} ({value.get('fault')}): {error}") from None
