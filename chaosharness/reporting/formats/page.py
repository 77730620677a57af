"""A campaign as one page: green, unknown or broken, what was covered, and how to go on."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs

from chaosharness.campaign import Campaign
from chaosharness.reporting.formats.coverage import coverage_markdown, outcome, sign
from chaosharness.reporting.formats.html import templates
from chaosharness.reporting.formats.markdown import escape, table
from chaosharness.reporting.formats.redact import Redact, masked
from chaosharness.reporting.formats.snippets import schedule_code
from chaosharness.reporting.story.legible import clip, count
from chaosharness.reporting.story.tell import tell

WORD: Final = {"holds": "HOLDS", "violated": "BROKEN", "unknown": "UNKNOWN"}
TEXT_MAX: Final = 400


@attrs.frozen
class Entry:
    """One finding, as the page shows it.

    Attributes:
        property: What is broken.
        summary: How, in one sentence.
        cause: What it came from, if the history shows that.
        schedule: By which faults, as code.
        more: What else is known of it.
        file: Its own report, without a suffix.
    """

    property: str
    summary: str
    cause: str
    schedule: str
    more: tuple[str, ...]
    file: str


def page_html(campaign: Campaign, *, redact: Redact = (), called: str = "") -> str:
    """Render a campaign as one self-contained HTML page; its findings are linked.

    Args:
        campaign: The campaign.
        redact: Fields to mask in findings: see `masked`. Sentences that were made of a run
            and not of a finding cannot be masked, and are counted instead.
        called: How commands call the folder of the findings' files.
    """
    kinds = campaign.coverage.kinds()
    matrix = [
        (phase, operation, [_cell(campaign, phase, operation, kind) for kind in kinds])
        for phase, operation in campaign.coverage.operations()
    ]
    return (
        templates()
        .get_template("campaign.html.jinja")
        .render(
            campaign=campaign,
            word=WORD[campaign.result],
            searched=count(campaign.searched, "run"),
            entries=_entries(campaign, redact),
            standings=[(one, outcome(one)) for one in campaign.standings],
            remarks=_remarks(campaign, redact),
            kinds=kinds,
            matrix=matrix,
            never=len(campaign.coverage.never_struck()),
            go_on=_go_on(campaign, called),
        )
    )


def page_markdown(campaign: Campaign, *, redact: Redact = (), called: str = "") -> str:
    """Render a campaign as Markdown, for the summary of a CI job.

    Args: as for `page_html`.
    """
    runs = f"{count(campaign.searched, 'run')} ({campaign.mode}, faults ≤ {campaign.faults_max})"
    lines = [f"## {WORD[campaign.result]}: {escape(clip(campaign.system, 80))}", "", runs]
    lines += ["", escape(clip(campaign.spoken, TEXT_MAX))] if campaign.spoken else []
    lines += ["", *(f"- {escape(clip(one, TEXT_MAX))}" for one in campaign.reasons)]
    for one in _entries(campaign, redact):
        lines += ["", f"### {escape(clip(one.property, 80))}", "", escape(one.summary), ""]
        lines += [escape(one.cause), ""] if one.cause else []
        lines += ["```python", *one.schedule.replace("```", "'''").split("\n"), "```"]
        lines += [f"- {escape(words)}" for words in one.more]
    rows = [(clip(one.name, 80), outcome(one)) for one in campaign.standings]
    if rows:
        lines += ["", "### Claims", "", *table(("claim", "outcome"), rows)]
    for head, sentences in _remarks(campaign, redact):
        lines += ["", f"### {head}", "", *(f"- {escape(one)}" for one in sentences)]
    if matrix := coverage_markdown(campaign.coverage):
        lines += ["", "<details><summary>Operations and faults</summary>", "", matrix, "</details>"]
    lines += ["", "### How to go on", "", *(f"- `{one}`" for one in _go_on(campaign, called))]
    return "\n".join(lines) + "\n"


def _entries(campaign: Campaign, redact: Redact) -> list[Entry]:
    groups = campaign.groups or (None,) * len(campaign.counterexamples)
    found = []
    for one, group in zip(campaign.counterexamples, groups, strict=True):
        shown = masked(one, redact)
        cause = tell(shown).cause
        more = () if group is None or redact else group.sentences()
        found.append(
            Entry(
                shown.property,
                clip(shown.findings[0].summary, TEXT_MAX) if shown.findings else "",
                "" if cause is None else clip(cause.words, TEXT_MAX),
                schedule_code(shown.schedule, 76),
                tuple(clip(words, TEXT_MAX) for words in more),
                one.slug(),
            )
        )
    return found


def _remarks(campaign: Campaign, redact: Redact) -> list[tuple[str, list[str]]]:
    """Return what else there is to say, under its heading."""
    coverage = campaign.coverage
    covered = [*coverage.sentences()]
    if campaign.result != "violated" and not campaign.unproved:
        covered.append(f"That says: {coverage.rules_out(campaign.searched)}")
    troubles = [
        f"{one.verdict} in {count(one.times, 'run')}: {one.reason}, such as {one.schedule}"
        for one in campaign.troubles
    ]
    sections: list[tuple[str, Sequence[str]]] = [
        ("Without any fault, already", campaign.upset),
        ("Runs that did not become quiet", troubles),
        ("Is this right? Only you can say", [str(one) for one in campaign.questions]),
    ]
    said = [(head, _said(sentences, redact)) for head, sentences in sections if sentences]
    return [*said, ("What was covered", [clip(one, TEXT_MAX) for one in covered])]


def _said(sentences: Sequence[str], redact: Redact) -> list[str]:
    if redact:
        return [f"{count(len(sentences), 'sentence')} not shown here, since fields are masked"]
    return [clip(one, TEXT_MAX) for one in sentences]


def _cell(campaign: Campaign, phase: str, operation: str, kind: str) -> tuple[str, str]:
    """Return a cell of the matrix: its sign or count, and the class that colours it."""
    times = campaign.coverage.cells.get((phase, operation, kind))
    mark = sign(campaign.coverage, phase, operation, kind)
    named = {"○": "never", "=": "same", "·": "impossible"}
    return (f"{times:,}", "struck") if times else (mark, named[mark])


def _go_on(campaign: Campaign, called: str) -> list[str]:
    """Return the commands that lead on from here."""
    target = shlex.quote(campaign.target or "module:attribute")
    files = [str(Path(called) / f"{one.slug()}.json") for one in campaign.counterexamples[:3]]
    found = [f"chaosharness replay {shlex.quote(file)}" for file in files]
    needed = campaign.budget_needed()
    if needed and not found and not campaign.unproved:
        found.append(f"chaosharness run {target} --faults {campaign.faults_max} --budget {needed}")
    elif not found and not campaign.unproved:
        found.append(f"chaosharness run {target} --faults {campaign.faults_max + 1}")
    return [*found, f"chaosharness sites {target}"]
