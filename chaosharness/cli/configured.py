"""What a project says once of its searches: `[tool.chaosharness]` in its pyproject.toml.

    [tool.chaosharness]
    target = "chaos_shop:shop"
    faults = 1
    seconds = 60
    redact = ["card"]
    report = "reports"

The command line wins. Files and folders are those of the file's folder, and modules are looked for
there too, wherever beneath it a command is typed.
"""

from __future__ import annotations

import math
import os
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import click

from chaosharness.errors import InvalidDefinition

FILE: Final = "pyproject.toml"
MODES: Final = ("portfolio", "small-first", "lineage", "random", "guided")
KINDS: Final[dict[str, tuple[type, ...]]] = {
    "target": (str,),
    "faults": (int,),
    "budget": (int,),
    "seconds": (int, float),
    "seed": (int,),
    "workers": (int,),
    "mode": (str,),
    "without": (list,),
    "redact": (list,),
    "report": (str,),
}
"""What may be said, and what it must be."""

LEAST: Final[dict[str, int]] = {"faults": 0, "budget": 1, "workers": 0}
"""What a number is at least."""

HEARD: Final[dict[str, tuple[str, ...]]] = {
    "run": tuple(KINDS),
    "soak": ("target", "seed", "workers", "without", "redact"),
    "sites": ("target",),
    "guarantees": ("target", "budget", "without"),
    "graph": ("target",),
    "report": ("redact",),
}
"""Which command listens to what: a replay goes by its file."""

FROM_0: Final = click.IntRange(0)
FROM_1: Final = click.IntRange(1)


class Seconds(click.FloatRange):
    """A time that passes: above 0."""

    def __init__(self) -> None:
        super().__init__(0, min_open=True)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number; click's range lets pass what is none."""
        number = float(super().convert(value, param, ctx))
        return self.fail(f"{value!r} is no number.", param, ctx) if math.isnan(number) else number


target_argument = click.argument("target", required=True)
"""The system that is meant. The project may have said it."""


def defaults() -> dict[str, Any]:
    """Return what the project says, for each command that listens to it.

    Raises:
        InvalidDefinition: The file cannot be read, or says something unknown, or of another
            type; the message says which.
    """
    folder, said = project_settings()
    said = _from_here(folder, said)
    if said and str(folder) not in sys.path:
        sys.path.append(str(folder))
    return {
        command: {name: said[name] for name in names if name in said}
        for command, names in HEARD.items()
    }


def project_settings() -> tuple[Path, dict[str, Any]]:
    """Return `[tool.chaosharness]` of the nearest pyproject.toml, here or above, and its folder."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        path = folder / FILE
        if path.is_file():
            return folder, _read(path)
    return here, {}


def _from_here(folder: Path, said: dict[str, Any]) -> dict[str, Any]:
    """Return settings with the paths in them as one would type them here."""
    target, report = said.get("target", ""), said.get("report", "")
    place, colon, attribute = target.partition(":")
    if place.endswith(".py") or "/" in place:
        said = said | {"target": f"{_from(folder, place)}{colon}{attribute}"}
    return said | {"report": _from(folder, report)} if report else said


def _from(folder: Path, name: str) -> str:
    return name if Path(name).is_absolute() else os.path.relpath(folder / name)


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            tool = tomllib.load(file).get("tool", {})
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidDefinition(f"{path} cannot be read: {error}") from None
    said = tool.get("chaosharness", {}) if isinstance(tool, dict) else {}
    if not isinstance(said, dict):
        raise InvalidDefinition(f"{path}: write [tool.chaosharness], a table")
    for name, value in said.items():
        _check(path, name, value)
    return dict(said)


def _check(path: Path, name: str, value: Any) -> None:
    where = f"{path}: [tool.chaosharness] {name}"
    kinds = KINDS.get(name)
    if kinds is None:
        raise InvalidDefinition(f"{where} is unknown; known are {', '.join(KINDS)}")
    if not isinstance(value, kinds) or isinstance(value, bool):
        words = {str: "a text", int: "a whole number", float: "a number", list: "a list of texts"}
        raise InvalidDefinition(f"{where} must be {words[kinds[-1]]}, not {value!r}")
    if isinstance(value, list) and not all(isinstance(one, str) and one for one in value):
        raise InvalidDefinition(f"{where} must be a list of texts, not {value!r}")
    if value == "":
        raise InvalidDefinition(f"{where} must be a text that is not empty")
    number = value if isinstance(value, int | float) else 1
    if number < LEAST.get(name, number):
        raise InvalidDefinition(f"{where} must be a whole number from {LEAST[name]}, not {value}")
    if name == "seconds" and not number > 0:
        raise InvalidDefinition(f"{where} must be a number above 0, not {value}")
    if name == "mode" and value not in MODES:
        raise InvalidDefinition(f"{where} must be one of {', '.join(MODES)}, not {value!r}")
