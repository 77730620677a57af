"""Counterexamples as files: one for each finding, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import attrs

from chaosharness.counterexample import Counterexample
from chaosharness.errors import ChaosharnessError, InvalidSchedule

SUFFIX = ".json"


def save(counterexample: Counterexample, folder: Path | str) -> Path:
    """Write a counterexample into a folder, which is made if need be; return its file.

    The name comes from the finding: the same finding overwrites itself.

    Raises:
        ChaosharnessError: The folder cannot be written to. Nothing is half-written.
    """
    path = Path(folder) / f"{counterexample.slug()}{SUFFIX}"
    write(path, counterexample.encode())
    return path


def write(path: Path, text: str) -> None:
    """Write a file whole: at first under another name, then renamed.

    Raises:
        ChaosharnessError: It cannot be written; what was there before still is.
    """
    new = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            new.write_text(text, "utf-8", newline="\n")
            os.replace(new, path)
        finally:
            new.unlink(missing_ok=True)
    except OSError as error:
        raise ChaosharnessError(
            f"{path} cannot be written: {error.strerror or error}; choose another folder"
        ) from None


def load(path: Path | str) -> Counterexample:
    """Read a counterexample's file.

    Raises:
        InvalidSchedule: There is no such file, or it holds no counterexample of a format
            that this version reads.
    """
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "not a text"
        raise InvalidSchedule(f"{path} cannot be read: {words}") from None
    try:
        return Counterexample.decode(text)
    except InvalidSchedule as error:
        raise InvalidSchedule(f"{path}: {error}") from None


@attrs.frozen
class Regression:
    """A counterexample, and the file it came from."""

    path: Path
    counterexample: Counterexample


def load_all(folder: Path | str) -> tuple[Regression, ...]:
    """Read every counterexample of a folder, by name; none if there is no such folder.

    Raises:
        InvalidSchedule: One of the files cannot be read; the message says which.
    """
    paths = sorted(Path(folder).glob(f"*{SUFFIX}"))
    return tuple(Regression(path, load(path)) for path in paths)
