"""The folder of a soak: what it found, what led to something new, and what was run.

    findings/            reports of counterexamples, each set whole
    CALM/corpus/         schedules that led to something new, each under a name made of its contents
    CALM/slices/         what each slice of a soak ran: 3-12.json is slice 12 of the third soak
    CALM/soaks/          one empty file for each soak that began here

CALM is the digest of the calm run: what was run of another version of the system does not
count for this one, and its findings stay. Every file appears under its name whole, by a rename,
and none is ever changed: so soaks may run side by side, and be killed at any moment.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs

from chaosharness.counterexample import Counterexample
from chaosharness.errors import ChaosharnessError, InvalidSchedule
from chaosharness.schedule import Schedule, read_format
from chaosharness.search.marks import Fact
from chaosharness.search.regressions import load, write

FINDINGS: Final = "findings"


@attrs.frozen
class News:
    """A schedule that led to something new.

    Attributes:
        schedule: It.
        facts: What was new.
    """

    schedule: Schedule
    facts: frozenset[Fact]

    def encode(self, system: str) -> str:
        """Spell it: the same schedule and facts, the same text."""
        value = json.loads(self.schedule.encode(system=system))
        return json.dumps({**value, "facts": sorted(self.facts)}, ensure_ascii=False) + "\n"

    @classmethod
    def decode(cls, text: str, system: str) -> News:
        """Read what `encode` wrote.

        Raises:
            InvalidSchedule: It is not that.
        """
        schedule = Schedule.decode(text, system=system)
        facts = read_format(text, what="schedule").get("facts")
        if not isinstance(facts, list) or not all(_is_fact(one) for one in facts):
            raise InvalidSchedule("'facts' must be a list of facts")
        return cls(
            schedule, frozenset((kind, place, how, times) for kind, place, how, times in facts)
        )


def _is_fact(value: Any) -> bool:
    kinds = [str, str, str, int]
    return isinstance(value, list) and [type(one) for one in value] == kinds


class Folder:
    """The folder of a soak, for one version of one system.

    Args:
        place: The folder; made if it is not there.
        system: Name of the system.
        calm: The digest of its calm run.

    Raises:
        ChaosharnessError: It cannot be written to.
    """

    def __init__(self, place: Path, system: str, calm: str) -> None:
        self.place = place
        self.system = system
        self.version = place / calm
        self.findings = place / FINDINGS
        self._read: dict[str, News] = {}
        self.number = self._begin()

    def _begin(self) -> int:
        """Take the next number: nobody else has it, also not at the same moment."""
        soaks = self.version / "soaks"
        try:
            soaks.mkdir(parents=True, exist_ok=True)
            self.findings.mkdir(exist_ok=True)
            number = 1 + max(
                (int(one.name) for one in soaks.iterdir() if one.name.isdigit()), default=0
            )
            while True:
                try:
                    (soaks / str(number)).touch(exist_ok=False)
                    return number
                except FileExistsError:
                    number += 1
        except OSError as error:
            raise ChaosharnessError(
                f"{self.place} cannot be written to: {error.strerror or error}; choose another "
                "folder"
            ) from None

    # ---- what was found

    def known(self) -> Iterator[Counterexample]:
        """Yield what was found, by anybody; a file that cannot be read is nobody's finding."""
        for path in sorted(self.findings.glob("*.json")):
            if path.name.endswith(".history.json"):
                continue
            try:
                found = load(path)
            except InvalidSchedule:
                continue
            if found.system == self.system:
                yield found

    # ---- what led to something new

    def corpus(self) -> list[News]:
        """Return what led to something new, in the order of its names."""
        for path in sorted((self.version / "corpus").glob("*.json")):
            if path.name not in self._read:
                try:
                    self._read[path.name] = News.decode(path.read_text("utf-8"), self.system)
                except (OSError, ValueError, InvalidSchedule):
                    continue
        return [self._read[name] for name in sorted(self._read)]

    def keep(self, news: News) -> None:
        """Keep what led to something new.

        Raises:
            ChaosharnessError: It cannot be written.
        """
        text = news.encode(self.system)
        name = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
        path = self.version / "corpus" / f"{name}.json"
        if not path.exists():
            write(path, text)

    # ---- what was run

    def record(self, slice: int, value: dict[str, Any]) -> None:
        """Write down what a slice ran.

        Raises:
            ChaosharnessError: It cannot be written.
        """
        path = self.version / "slices" / f"{self.number}-{slice}.json"
        write(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")

    def slices(self) -> Iterator[dict[str, Any]]:
        """Yield what all slices of all soaks ran."""
        for path in sorted((self.version / "slices").glob("*.json")):
            try:
                value = json.loads(path.read_text("utf-8"))
            except (OSError, ValueError, RecursionError):
                continue
            if isinstance(value, dict):
                yield value
