"""The chaos tests of one pytest session as a page: what each ran, what it found, where that is."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from chaosharness.reporting.formats.html import templates
from chaosharness.reporting.formats.markdown import escape, table
from chaosharness.reporting.story.legible import clip, count

TEXT_MAX = 400


@attrs.frozen
class Tested:
    """One chaos test of a session.

    Attributes:
        name: As pytest calls it.
        outcome: `passed`, `failed`, `skipped`, `xfailed` or `xpassed`.
        runs: Of its systems.
        faults: That struck.
        operations: At how many operations.
        found: What is broken, in a sentence, the page of it, and the file to replay; these are
            empty where no report of it could be written.
    """

    name: str
    outcome: str
    runs: int
    faults: int
    operations: int
    found: tuple[tuple[str, str, str], ...] = ()

    def words(self) -> str:
        """Say what was done."""
        places = count(self.operations, "operation")
        return f"{count(self.runs, 'run')}, {count(self.faults, 'fault')} struck at {places}"


def tests_html(tests: Sequence[Tested]) -> str:
    """Render a session as one self-contained HTML page; reports are linked."""
    failed = sum(1 for one in tests if one.outcome == "failed")
    return (
        templates()
        .get_template("tests.html.jinja")
        .render(tests=tests, failed=failed, total=count(len(tests), "chaos test"))
    )


def tests_markdown(tests: Sequence[Tested]) -> str:
    """Render a session as Markdown, for the summary of a CI job."""
    failed = sum(1 for one in tests if one.outcome == "failed")
    lines = [f"## {count(len(tests), 'chaos test')}, {failed} failed", ""]
    rows = [(one.name, one.outcome, one.words()) for one in tests]
    lines += table(("test", "outcome", "what it did"), rows)
    for one in tests:
        for words, _, file in one.found:
            lines += ["", f"### {escape(one.name)}", "", escape(clip(words, TEXT_MAX)), ""]
            lines += [f"`pytest --chaos-replay {file}`"] if file else []
    return "\n".join(lines) + "\n"
