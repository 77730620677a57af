"""A counterexample as Markdown with a Mermaid sequence diagram, for issues and merge requests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from chaosharness.counterexample import Counterexample
from chaosharness.reporting.formats.pytest_file import has_target
from chaosharness.reporting.formats.redact import Redact, masked
from chaosharness.reporting.formats.snippets import replay_command, schedule_code, test_name
from chaosharness.reporting.story.accounts import Ledger, State, unremarkable
from chaosharness.reporting.story.code import steps_in_words
from chaosharness.reporting.story.executions import Execution
from chaosharness.reporting.story.legible import clip, columns, count, listed, seconds
from chaosharness.reporting.story.step import Step
from chaosharness.reporting.story.tell import Gap, Story, tell

_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]#|~^$])")
_LEADING: Final = re.compile(r"^(\s*)([-+=])|^(\s*\d+)([.)])(?=\s|$)")
_MERMAID_SAFE: Final = re.compile(r"[A-Za-z0-9 ,.()/→✗…]|[^\x00-\x7f]")
WORDS_MAX: Final = 72


def to_markdown(found: Counterexample, *, redact: Redact = (), file: str = "") -> str:
    """Render a counterexample as Markdown (GitHub's, with Mermaid).

    Args:
        found: The counterexample.
        redact: Fields to mask: see `masked`.
        file: Where the counterexample's file is, for the replay command.
    """
    found = masked(found, redact)
    story = tell(found)
    sections = [
        _headline(story),
        _schedule(found, story),
        _code(story),
        _sequence(story),
        *(_ledger(ledger) for ledger in story.ledgers),
        *(_state(state) for state in story.states if state.values),
        _rest(story),
        *(_execution(one) for one in story.executions),
        _logs(story),
        _parting(story),
        _again(found, file),
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def escape(text: str) -> str:
    """Make text plain text in Markdown: no markup, no HTML, no mention, no table cell ends."""
    text = _SPECIAL.sub(r"\\\1", text)
    text = _LEADING.sub(r"\1\3\\\2\4", text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("@", "@<!-- -->")


def fenced(text: str, language: str) -> list[str]:
    """Put text into a code block that nothing in it can end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", *text.split("\n"), fence]


def _headline(story: Story) -> list[str]:
    lines = [f"# Broken: {escape(story.headline)}", "", f"**{escape(story.summary)}**"]
    lines += [f"<br>also: {escape(also)}" for also in story.also]
    if story.cause:
        lines += ["", escape(story.cause.words)]
    if story.why:
        lines += ["", escape(" ".join(story.why))]
    if story.cure:
        page = f"[{story.cure.link}]({story.cure.address})"
        lines += ["", f"Usually prevents it: {escape(story.cure.words)} ({page})"]
    lines += ["", f"System: {escape(story.system)}"]
    if story.assumption:
        lines += ["", f"Taken for granted: {escape(story.assumption)}"]
    for profile in story.profiles:
        lines += ["", f"Profile: {escape(profile)}"]
    return lines


def _schedule(found: Counterexample, story: Story) -> list[str]:
    if not story.faults:
        return []
    lines = [f"## Schedule: {count(len(story.faults), 'fault')}", ""]
    for fault in story.faults:
        needed = f" Without fault {fault.number}: passes." if fault.needed else ""
        lines.append(f"{fault.number}. {escape(fault.words)}{needed}")
    return [*lines, "", *fenced(schedule_code(found.schedule), "python")]


def _code(story: Story) -> list[str]:
    """Return the user's lines behind the decisive steps."""
    lines: list[str] = []
    for place in story.code:
        lines += ["", f"`{place.line.at}` in `{place.line.function}` ({steps_in_words(place)})"]
        if place.source:
            rows = [
                f"{'>' if number == place.line.number else ' '} {number}  {text}"
                for number, text in place.source
            ]
            lines += ["", *fenced("\n".join(rows), "text")]
    return ["## In your code", *lines] if lines else []


# ---- the picture


def _sequence(story: Story) -> list[str]:
    if not story.steps:
        return []
    lines = ["## What happened", "", "```mermaid", "sequenceDiagram"]
    places = {lane.key: f"p{at}" for at, lane in enumerate(story.lanes)}
    lines += [f"    participant {places[lane.key]} as {mermaid(lane.name)}" for lane in story.lanes]
    for part in story.parts:
        if isinstance(part, Gap):
            lines.append(f"    Note over {_across(places)}: {mermaid(f'… {part.words}')}")
        else:
            lines += _step(part, places)
    return [*lines, "```", "", *_legend(story)]


def mermaid(text: str) -> str:
    """Make text plain text in a Mermaid diagram: what may mean something becomes its number."""
    shown = clip(text, WORDS_MAX)
    return "".join(
        char if _MERMAID_SAFE.fullmatch(char) else f"#{ord(char)};" for char in shown
    ).strip()


def _across(places: dict[str, str]) -> str:
    names = list(places.values())
    return names[0] if len(names) == 1 else f"{names[0]},{names[-1]}"


def _step(step: Step, places: dict[str, str]) -> list[str]:
    words = mermaid(f"{step.number}. {_words(step)}")
    source, target = places.get(step.source), places.get(step.target)
    if source is None:
        return [f"    Note over {_across(places)}: {words}"]
    if target is None or target == source:
        note = f"    Note over {source}: {words}"
        boxed = ["    rect rgb(250, 220, 216)", note, "    end"] if step.found else [note]
        return boxed
    arrow = "-x" if step.tone == "lost" else "-->>" if step.kind in ("reply", "ack") else "->>"
    return [f"    {source}{arrow}{target}: {words}"]


def _words(step: Step) -> str:
    words = f"✗ {step.words}" if step.found else step.words
    if step.extra and not step.found:
        words += " (not in the passing run)"
    return f"{words} (fault {step.fault})" if step.fault else words


def _legend(story: Story) -> list[str]:
    found = [str(step.number) for step in story.steps if step.found]
    last = story.steps[-1]
    lines = [f"Virtual time: 0 to {seconds(last.at_ms)} s."]
    return [f"{lines[0]} What was found: step {', '.join(found)}."] if found else lines


# ---- tables


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Write a table. Cells are escaped."""
    lines = [f"| {' | '.join(map(escape, head))} |", f"|{'---|' * len(head)}"]
    return [*lines, *(f"| {' | '.join(map(escape, row))} |" for row in rows)]


def _ledger(ledger: Ledger) -> list[str]:
    rows = []
    for entry in ledger.entries:
        note = "found" if entry.found else "" if entry.expected else "not in the passing run"
        step = str(entry.step) if entry.step else ""
        rows.append((str(entry.number), seconds(entry.at_ms), entry.words, step, note))
    rows += [("", "", words, "", "only in the passing run") for words in ledger.missing]
    lines = table(("entry", "time", "what", "step", ""), rows)
    more = ["", f"… {ledger.left_out:,} more of other items"] if ledger.left_out else []
    return [f"## Ledger of {escape(ledger.name)}", "", *lines, *more]


def _state(state: State) -> list[str]:
    title = f"## {escape(state.name)} at the end"
    if any(value.differs for value in state.values):
        head: tuple[str, ...] = ("what", "here", "in the passing run")
        rows = [
            (value.name, value.here or "none", value.passing or "none") for value in state.values
        ]
        lines = table(head, rows)
    else:
        lines = table(("what", "here"), [(value.name, value.here) for value in state.values])
    more = ["", f"… {state.left_out:,} more"] if state.left_out else []
    return [title, "", *lines, *more]


def _execution(one: Execution) -> list[str]:
    """Return what an orchestrator wrote down."""
    title = f"## {one.form.capitalize()} of {escape(one.name)}: {escape(one.what)}"
    rows = [
        ("" if row.at_ms is None else seconds(row.at_ms), *(row.cells[at] for at in one.columns))
        for row in one.rows
    ]
    lines = table(("time", *(one.head[at] for at in one.columns)), rows)
    more = ["", f"… {one.left_out:,} more"] if one.left_out else []
    return [title, "", *lines, *more]


def _rest(story: Story) -> list[str]:
    """Say of whom there is nothing to say."""
    lines: list[str] = []
    for how, names in unremarkable(story.states):
        lines += ["", f"{escape(listed(names))} at the end: {how}."]
    return lines[1:]


def _logs(story: Story) -> list[str]:
    rows = [
        ("" if row.at_ms is None else seconds(row.at_ms), row.who, row.words) for row in story.logs
    ]
    lines = table(("s", "who", "what"), rows)
    return ["## What your code logged", "", *lines] if rows else []


def _parting(story: Story) -> list[str]:
    found = story.comparison
    if found is None:
        return []
    here = found.here[0].words if found.here else "the run is over"
    passing = found.passing[0].words if found.passing else "the run is over"
    return [
        f"## First difference from the nearest passing run, at {seconds(found.at_ms)} s",
        "",
        f"- here: {escape(here)}",
        f"- passing: {escape(passing)}",
    ]


def _again(found: Counterexample, file: str) -> list[str]:
    lines = ["## Reproduce", "", *fenced(replay_command(found, file), "sh")]
    if has_target(found):
        lines += ["", f"or run the test in `{test_name(found)}.py`."]
    return lines


__all__ = ["columns", "escape", "fenced", "mermaid", "table", "to_markdown"]
