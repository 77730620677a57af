"""Reports as files: all of them or none, and the same finding overwrites itself."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from errno import EISDIR
from pathlib import Path
from typing import Final

from chaosharness.campaign import Campaign
from chaosharness.counterexample import Counterexample
from chaosharness.errors import ChaosharnessError, InvalidDefinition
from chaosharness.reporting.formats.ci_files import to_junit, to_sarif
from chaosharness.reporting.formats.html import to_html
from chaosharness.reporting.formats.json_file import history_to_json, to_json
from chaosharness.reporting.formats.markdown import to_markdown
from chaosharness.reporting.formats.page import page_html, page_markdown
from chaosharness.reporting.formats.pytest_file import has_target, to_pytest
from chaosharness.reporting.formats.redact import Redact, masked
from chaosharness.reporting.formats.snippets import test_name
from chaosharness.reporting.formats.tests_page import Tested, tests_html, tests_markdown
from chaosharness.reporting.formats.text import to_text

FORMATS: Final = ("text", "html", "json", "markdown", "pytest")

PART: Final = ".part"
WHOLE: Final = ".whole"
"""How folders end that hold a set of files: while it is written, and once it is whole."""

OLD_S: Final = 3_600
"""Seconds after which nobody goes on with what was begun."""


class CannotWrite(ChaosharnessError, OSError):
    """A report could not be written; nothing was left half-written."""


def write(
    found: Counterexample,
    folder: str | os.PathLike[str],
    *,
    formats: Iterable[str] = FORMATS,
    redact: Redact = (),
    called: str = "",
) -> tuple[Path, ...]:
    """Write a counterexample into a folder, and return the files.

    Their names come from the finding: `shop-never-charged-twice.html`. With `json` comes
    the history, if it is at hand, in a file beside it; without a target, which a test
    would import, there is no pytest file.

    Args:
        found: The counterexample.
        folder: Made if it is not there.
        formats: Any of `text`, `html`, `json`, `markdown`, `pytest`.
        redact: Fields to mask: see `masked`.
        called: How the commands in the report call the folder, where that is not `folder`.
            An absolute path is written from where the process is, or else left out: no
            report holds a path of somebody's machine.

    Raises:
        InvalidDefinition: A format is not known.
        CannotWrite: The folder cannot be written to. Nothing is left half-written.
    """
    wanted = (formats,) if isinstance(formats, str) else tuple(formats)
    place = Path(folder)
    contents = _contents(masked(found, redact), _told(Path(called or folder)), wanted)
    _write_all({place / name: content for name, content in contents.items()}, place)
    return tuple(place / name for name in contents)


def write_campaign(
    campaign: Campaign, folder: str | os.PathLike[str], *, redact: Redact = ()
) -> tuple[Path, ...]:
    """Write the page of a campaign, `index.html` and `summary.md`, and return the files.

    Whatever came of it: what held, what was covered and how to go on is worth keeping too. Its
    findings are files of their own (see `write`), which the page links.

    Args:
        campaign: The campaign.
        folder: Made if it is not there.
        redact: Fields to mask in findings: see `masked`.

    Raises:
        CannotWrite: The folder cannot be written to. Nothing is left half-written.
    """
    place, called = Path(folder), str(_told(Path(folder)))
    contents = {
        place / "index.html": page_html(campaign, redact=redact, called=called),
        place / "summary.md": page_markdown(campaign, redact=redact, called=called),
    }
    _write_all(contents, place)
    return tuple(contents)


def write_for_ci(
    campaign: Campaign,
    *,
    junit: str | os.PathLike[str] | None = None,
    sarif: str | os.PathLike[str] | None = None,
    redact: Redact = (),
) -> tuple[Path, ...]:
    """Write a campaign for a CI system, as JUnit XML, SARIF or both, and return the files.

    Args:
        campaign: The campaign.
        junit: Where to write JUnit XML; None for nowhere.
        sarif: Where to write SARIF, likewise.
        redact: Fields to mask in findings: see `masked`.

    Raises:
        CannotWrite: A file cannot be written. Nothing is left half-written.
    """
    contents: dict[Path, str] = {}
    if junit is not None:
        contents[Path(junit)] = to_junit(campaign, redact=redact)
    if sarif is not None:
        contents[Path(sarif)] = to_sarif(campaign, redact=redact)
    for path, content in contents.items():
        _write_all({path: content}, path.parent)
    return tuple(contents)


def write_tests(tests: Sequence[Tested], folder: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Write the page of a pytest session, `index.html` and `summary.md`, and return the files.

    Raises:
        CannotWrite: The folder cannot be written to. Nothing is left half-written.
    """
    place = Path(folder)
    contents = {
        place / "index.html": tests_html(tests),
        place / "summary.md": tests_markdown(tests),
    }
    _write_all(contents, place)
    return tuple(contents)


def _told(folder: Path) -> Path:
    """Return a folder as others can make use of it: from here, or where the report is."""
    here = Path.cwd()
    if not folder.is_absolute():
        return folder
    return folder.relative_to(here) if folder.is_relative_to(here) else Path()


def _contents(found: Counterexample, place: Path, wanted: tuple[str, ...]) -> dict[str, str]:
    for one in wanted:
        if one not in FORMATS:
            known = ", ".join(FORMATS)
            raise InvalidDefinition(f"there is no report format {one!r}; known: {known}")
    slug = found.slug()
    file = (place / f"{slug}.json").as_posix()
    contents: dict[str, str] = {}
    for one in dict.fromkeys(wanted):
        match one:
            case "text":
                contents[f"{slug}.txt"] = to_text(found, file=file)
            case "html":
                contents[f"{slug}.html"] = to_html(found, file=file)
            case "json":
                contents[f"{slug}.json"] = to_json(found)
                if len(found.history):
                    history = history_to_json(
                        found.history, system=found.system, event_histories=found.event_histories
                    )
                    contents[f"{slug}.history.json"] = history
            case "markdown":
                contents[f"{slug}.md"] = to_markdown(found, file=file)
            case "pytest" if has_target(found):
                contents[f"{test_name(found)}.py"] = to_pytest(found)
    return contents


def _write_all(contents: dict[Path, str], place: Path) -> None:
    """Write every file into a folder beside their place first, then move all into place.

    Once that folder has its last name the set is whole: whoever writes here next finishes the
    moving, if this process does not live to do it.
    """
    if not contents:
        return
    beside = place / f".{next(iter(contents)).name}.{os.getpid()}{PART}"
    try:
        place.mkdir(parents=True, exist_ok=True)
        for path in contents:
            if path.is_dir():
                raise IsADirectoryError(EISDIR, f"{path.name} is a folder")
        finish(place)
        beside.mkdir(exist_ok=True)
        _forget_old(place, beside)
        for path, content in contents.items():
            part = beside / f"{path.name}{PART}"
            part.write_bytes(content.encode("utf-8", "backslashreplace"))
        beside.rename(beside.with_suffix(WHOLE))
        finish(place)
    except OSError as error:
        _throw_away(beside)
        raise CannotWrite(
            f"the report cannot be written to {place}: {error.strerror or error}. "
            "Choose another folder; nothing was left half-written."
        ) from error


def finish(place: Path) -> None:
    """Move sets of files into place that were written whole, and not moved by who wrote them."""
    for whole in sorted(place.glob(f".*{WHOLE}")):
        with suppress(FileNotFoundError):  # somebody else moves it as well
            for part in sorted(whole.iterdir()):
                with suppress(FileNotFoundError):
                    part.replace(place / part.name.removesuffix(PART))
            whole.rmdir()


def _forget_old(place: Path, new: Path) -> None:
    """Throw away what somebody began long ago, and never finished."""
    now = new.stat().st_mtime
    for other in place.glob(f".*{PART}"):
        with suppress(OSError):
            if now - other.stat().st_mtime > OLD_S:
                _throw_away(other)


def _throw_away(folder: Path) -> None:
    with suppress(OSError):
        for one in folder.iterdir():
            with suppress(OSError):
                one.unlink()
        folder.rmdir()
