"""Findings on the screen and as files, each as soon as there is one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from errno import EACCES
from pathlib import Path
from textwrap import fill, wrap
from typing import TYPE_CHECKING, Any

from chaosharness.cli.doors import TROUBLE, fail
from chaosharness.cli.screen import Unprinted, count, is_watched, say, screen_width
from chaosharness.errors import ChaosharnessError

if TYPE_CHECKING:
    from chaosharness.campaign import Campaign
    from chaosharness.counterexample import Counterexample
    from chaosharness.system.run import Run


def unwritable(folder: str | Path) -> str:
    """Say why nothing can be written in a folder, before a search; nothing if it can.

    Nothing is made: what is not there yet is looked for in the nearest folder that is.
    """
    place = Path(folder).absolute()
    nearest = next(one for one in (place, *place.parents) if os.path.lexists(one))
    if not nearest.is_dir():
        return f"the report cannot be written to {folder}: {nearest.name} is no folder"
    if not os.access(nearest, os.W_OK | os.X_OK):
        return f"the report cannot be written to {folder}: {os.strerror(EACCES)}"
    return ""


def refuse_unwritable(folder: str | Path) -> None:
    """Refuse a folder in which nothing can be written, before a search that is for its page.

    Raises:
        ChaosharnessError: Says why.
    """
    if why := unwritable(folder):
        raise ChaosharnessError(f"{why}. Choose another folder; nothing was run.")


class Telling:
    """Tells each finding when it is found, so that nothing which happens later loses it.

    Attributes:
        found: What was told, in that order.
        trouble: Why a report could not be written; empty if all were.
        unprinted: Why something could not be printed; empty if all was.
        bar: What else is on the screen meanwhile; None if nothing is.
    """

    def __init__(self, folder: str | None, redact: tuple[str, ...], *, aloud: bool) -> None:
        self.folder = folder
        self.redact = redact
        self.aloud = aloud
        self.found: list[Counterexample] = []
        self.trouble = ""
        self.unprinted = ""
        self.bar: Any = None
        self._files: list[Path] = []
        self._unwritten: list[Counterexample] = []
        self._schedules: set[str] = set()
        self._screen = sys.stdout
        self._spoken = ""

    def hear(self, calm: Run) -> None:
        """Take note of which client libraries the adapters met, and what went past them."""
        from chaosharness.campaign import spoken_in_words

        self._spoken = spoken_in_words(calm.spoken, calm.unspoken, calm.lacked)

    def tell(self, found: Counterexample) -> None:
        """Write the files of a finding, and print it.

        Raises:
            Unprinted: Nobody reads it, and there is no file either: nothing can be told any more.
        """
        self.found.append(found)
        file = self._write(found)
        if self.aloud:
            try:
                with self._on_screen():
                    self._print(found, file)
            except Unprinted as error:
                self.unprinted = str(error)
                if file is None:
                    raise
                self.aloud = False  # the search goes on for the sake of the files

    @contextmanager
    def _on_screen(self) -> Iterator[None]:
        """Print on the screen for a while: what the user's code prints goes elsewhere."""
        with nullcontext() if self.bar is None else self.bar.aside(), redirect_stdout(self._screen):
            yield

    def _write(self, found: Counterexample) -> str | None:
        from chaosharness.reporting import write

        if self.folder is None:
            return None
        try:
            files = write(found, self.folder, redact=self.redact)
        except ChaosharnessError as error:
            self.trouble = str(error)
            self._unwritten.append(found)
            return None
        self._files += files
        return next((str(one) for one in files if one.name == f"{found.slug()}.json"), None)

    @property
    def unwritten(self) -> int:
        """How many of those that were told stand in no file."""
        return len(self._unwritten)

    def write_again(self) -> None:
        """Write what could not be written: the disk may have room by now."""
        unwritten, self._unwritten = self._unwritten, []
        self.trouble = ""
        for one in unwritten:
            self._write(one)

    def conclude(self, campaign: Campaign) -> None:
        """Write the page of the campaign, whatever came of it.

        Not where a finding that it links stands in no file: then there is no page either.
        """
        from chaosharness.reporting import write_campaign

        if self.folder is None:
            return
        if self._unwritten:
            self.write_again()
        if self._unwritten:
            return
        try:
            self._files += write_campaign(campaign, self.folder, redact=self.redact)
        except ChaosharnessError as error:
            self.trouble = str(error)

    def for_ci(self, campaign: Campaign, junit: str | None, sarif: str | None) -> None:
        """Write what CI systems read, where it was asked for."""
        from chaosharness.reporting import write_for_ci

        try:
            self._files += write_for_ci(campaign, junit=junit, sarif=sarif, redact=self.redact)
        except ChaosharnessError as error:
            self.trouble = str(error)

    def _print(self, found: Counterexample, file: str | None) -> None:
        from chaosharness.reporting import to_text

        schedule = repr(found.schedule)
        if schedule in self._schedules:
            say(also(found, self.redact))
            return
        self._schedules.add(schedule)
        if self._spoken:  # a finding is worth as much as what was seen
            say(fill(self._spoken, screen_width(), subsequent_indent="  ") + "\n")
            self._spoken = ""
        color = is_watched() and not os.environ.get("NO_COLOR")
        say(to_text(found, width=screen_width(), color=color, redact=self.redact, file=file))

    @contextmanager
    def as_far_as_can_be(self) -> Iterator[None]:
        """Print, and remember why it could not be: the result stands whoever reads it."""
        try:
            yield
        except Unprinted as error:
            self.unprinted = str(error)

    def end(self, code: int) -> int:
        """Return the exit code, and say what could not be told."""
        if self.trouble:
            fail(self.trouble)
        say_slips(self.found, self.redact)
        if not self.unprinted:
            return code
        files = f"; {self.folder} has the reports" if self._files else ""
        many = f"; {count(len(self.found), 'finding')} so far{files}" if self.found else ""
        say(f"chaosharness: {self.unprinted}{many}", err=True)
        return code or TROUBLE

    def say_files(self) -> None:
        """Say which files were written."""
        if self._files:
            say("Reports:")
            for one in self._files:
                say(f"  {one}")
        if older := self._older():
            others = " and so on" * (len(older) > 1)
            say(
                f"{count(len(older), 'counterexample')} of earlier searches still there: "
                f"chaosharness replay {older[0]}{others} says what is fixed"
            )

    def _older(self) -> list[str]:
        """Return the files of counterexamples that this search has not written."""
        if self.folder is None or not self._files:
            return []
        mine = {Path(one).name for one in self._files}
        histories = sorted(Path(self.folder).glob("*.history.json"))
        files = (path.with_name(path.name.replace(".history.json", ".json")) for path in histories)
        return [str(path) for path in files if path.is_file() and path.name not in mine]


def say_slips(found: Sequence[Counterexample], redact: tuple[str, ...]) -> None:
    """Say which fields were to be masked, and are not there: what they were to hide is open."""
    if not redact or not found:
        return
    from chaosharness.reporting.formats.redact import without_a_field

    for name, like in without_a_field(found, redact).items():
        there = f"; there is {like!r}" if like else ""
        say(f"chaosharness: nothing is called {name!r}, which was to be masked{there}", err=True)


def also(found: Counterexample, redact: tuple[str, ...]) -> str:
    """Name what else is broken by a schedule whose story has been told."""
    from chaosharness.reporting import masked

    finding = masked(found, redact).findings[0]
    words = f"BROKEN too, by the same schedule as above: {found.property}"
    width = min(screen_width(), 80) - 4
    lines = [words, *wrap(finding.summary, width, initial_indent="  ", subsequent_indent="  ")]
    return "\n".join((*lines, ""))
