"""What a registry asks of a new version, as data: which reader must be able to read whom."""

from __future__ import annotations

from typing import Final, Literal

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.kernel.places import asked_at

First = Literal["consumers", "producers", "any"]

CONFLUENT: Final = (
    "Confluent Platform 8.4, Schema Evolution and Compatibility, summary table "
    "(docs.confluent.io/platform/8.4/schema-registry/fundamentals/schema-evolution.html)"
)
GLUE: Final = (
    "AWS Glue Developer Guide, Schema registry, Schema versioning and compatibility "
    "(docs.aws.amazon.com/glue/latest/dg/schema-registry.html)"
)


@attrs.frozen
class Mode:
    """One compatibility mode.

    Attributes:
        name: In the words of its registry.
        new_reads_old: Whether the new version, as a reader, must read what older ones wrote.
        old_reads_new: Whether older versions must read what the new one writes.
        all_versions: Whether that holds for all versions before, and not the last one alone.
        first: Which side may have the new version first: of all others, who upgrades in that
            order meets none.
        closed: Whether there may be no further version at all.
        source: Where that was read.
    """

    name: str
    new_reads_old: bool
    old_reads_new: bool
    all_versions: bool
    first: First
    source: str
    closed: bool = False


def _modes() -> dict[str, Mode]:
    found: dict[str, Mode] = {}
    words: tuple[tuple[str, bool, bool, First], ...] = (
        ("BACKWARD", True, False, "consumers"),
        ("FORWARD", False, True, "producers"),
        ("FULL", True, True, "any"),
    )
    for name, backward, forward, first in words:
        found[name] = Mode(name, backward, forward, False, first, CONFLUENT)
        for suffix, source in (("TRANSITIVE", CONFLUENT), ("ALL", GLUE)):
            longer = f"{name}_{suffix}"
            found[longer] = Mode(longer, backward, forward, True, first, source)
    found["NONE"] = Mode("NONE", False, False, False, "any", CONFLUENT)
    found["DISABLED"] = Mode("DISABLED", False, False, False, "any", GLUE, closed=True)
    return found


MODES: Final = _modes()
"""By name: those of Confluent's registry, and those of AWS Glue, which says ALL for TRANSITIVE."""

DEFAULT: Final = "BACKWARD"
"""What a new registry of Confluent asks."""


def mode_of(name: object) -> Mode:
    """Return the mode of this name.

    Raises:
        InvalidDefinition: There is none; the message names those there are.
    """
    found = MODES.get(name) if isinstance(name, str) else None
    if found is None:
        raise InvalidDefinition(
            f"no compatibility mode is called {name!r}; there are: {', '.join(MODES)}{asked_at()}"
        )
    return found
