"""What a project says once of its searches: `[tool.chaosharness]` in its pyproject.toml.

    [tool.chaosharness]
    target = "chaos_shop:shop"
    faults = 1
    seconds = 60
    redact = ["card"]
    report = "reports"

The command line wins.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final

import click

from chaosharness.errors import InvalidDefinition

FILE: Final = "pyproject.toml"
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

HEARD: Final[dict[str, tuple[str, ...]]] = {
    "run": tuple(KINDS),
    "soak": ("target", "seed", "workers", "without", "redact"),
    "sites": ("target",),
    "guarantees": ("target", "budget", "without"),
    "graph": ("target",),
    "report": ("redact",),
}
"""Which command listens to what: a replay goes by its file."""

target_argument = click.argument("target", required=True)
"""The system that is meant. The project may have said it."""


def defaults() -> dict[str, Any]:
    """Return what the project says, for each command that listens to it.

    Raises:
        InvalidDefinition: The file cannot be read, or says something unknown, or of another
            type; the message says which.
    """
    said = project_settings()
    return {
        command: {name: said[name] for name in names if name in said}
        for command, names in HEARD.items()
    }


def project_settings() -> dict[str, Any]:
    """Return `[tool.chaosharness]` of the nearest pyproject.toml, here or above."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        path = folder / FILE
        if path.is_file():
            return _read(path)
    return {}


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
    if isinstance(value, list) and not all(isinstance(one, str) for one in value):
        raise InvalidDefinition(f"{where} must be a list of texts, not {value!r}")
