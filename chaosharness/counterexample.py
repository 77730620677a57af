"""A counterexample: a property, the smallest schedule that breaks it, and what happened."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final

import attrs
import msgspec

from chaosharness.checkers import Finding
from chaosharness.errors import InvalidSchedule
from chaosharness.kernel.history import History
from chaosharness.schedule import FORMAT, Schedule, read_format
from chaosharness.system import System, describe

_PACKAGES: Final = ("chaosharness",)


def _versions() -> dict[str, str]:
    """Return the versions that a history may depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


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
        minimal: Whether each fault was checked to be needed: without it, it passes.
        found_after: Runs until it was first seen.
        shrunk_in: Further runs that made it small.
        versions: Of Python and of what shapes a history.
        passing: The history of the nearest run that passes, if one was kept.
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
    found_after: int = 0
    shrunk_in: int = 0
    versions: Mapping[str, str] = attrs.field(factory=_versions)
    passing: History | None = attrs.field(default=None, repr=False)
    lifelines: tuple[str, ...] = ()

    def slug(self) -> str:
        """Return a file name made from the finding: the same finding, the same name."""
        words = "".join(c if c.isalnum() else "-" for c in f"{self.system}-{self.property}".lower())
        return "-".join(filter(None, words.split("-")))

    def to_json(self) -> dict[str, Any]:
        """Return the counterexample as plain values, without its history."""
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
        try:
            return cls(
                property=str(value["property"]),
                system=str(value["system"]),
                target=str(value.get("target", "")),
                schedule=Schedule.from_json(value["faults"]),
                items=tuple(value["workload"]),
                findings=(Finding(str(value.get("finding", ""))),),
                digest=str(value["digest"]),
                minimal=bool(value.get("minimal", False)),
                versions=dict(value.get("versions", {})),
            )
        except (KeyError, TypeError) as error:
            raise InvalidSchedule(f"counterexample file is incomplete: {error}") from None


def plain_items(items: Sequence[Any]) -> tuple[Any, ...]:
    """Return workload items as plain values, for a file."""
    return tuple(describe(item) for item in items)


def items_for(system: System, values: Sequence[Any]) -> tuple[Any, ...]:
    """Build workload items from plain values: of the type of the entry's first example.

    Raises:
        InvalidSchedule: The values do not fit that type any more.
    """
    if not system.examples:
        return tuple(values)
    kind = type(system.examples[0])
    try:
        return tuple(msgspec.convert(value, kind) for value in values)
    except (msgspec.ValidationError, TypeError) as error:
        raise InvalidSchedule(f"the workload does not fit {kind.__qualname__}: {error}") from None
