"""A counterexample as text: what a tired person reads in ten seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from chaosharness.counterexample import Counterexample
from chaosharness.reporting.formats.pytest_file import has_target
from chaosharness.reporting.formats.redact import Redact, masked
from chaosharness.reporting.formats.snippets import replay_command, schedule_code, test_name
from chaosharness.reporting.story.accounts import Entry, Ledger, State, Value, unremarkable
from chaosharness.reporting.story.code import steps_in_words
from chaosharness.reporting.story.compare import Comparison
from chaosharness.reporting.story.executions import Execution
from chaosharness.reporting.story.legible import columns, count, fit, listed, pad, seconds, wrap
from chaosharness.reporting.story.step import Step
from chaosharness.reporting.story.tell import Gap, Story, tell

WIDTH_MIN: Final = 60
WIDTH_MAX: Final = 80
TEXT_STEPS_MAX: Final = 24
TEXT_RANK_MAX: Final = 3
GAP_MIN: Final = 3
WHO_SHARE: Final = 0.3
DETAIL_MAX: Final = 60
DETAIL_MIN: Final = 12
TEXT_ROWS_MAX: Final = 24
TEXT_CELL_MAX: Final = 30
LONG_CELL_INDENT: Final = 14

_STYLES: Final = {
    "bold": "1",
    "bad": "1;31",
    "fault": "33",
    "dim": "2",
}
Paint = Callable[[str, str], str]


def _painter(color: bool) -> Paint:
    def paint(text: str, style: str) -> str:
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if color and style and text else text

    return paint


def to_text(
    found: Counterexample,
    *,
    width: int = WIDTH_MAX,
    color: bool = False,
    redact: Redact = (),
    file: str | None = "",
) -> str:
    """Render a counterexample as plain text, in lines of at most `width` columns.

    Only the replay command and the test's name may be longer: they are there to be pasted.

    Args:
        found: The counterexample.
        width: Columns, 60 to 80; a wider terminal does not make wider lines.
        color: Whether to use the colours of a terminal (escape sequences).
        redact: Fields to mask: see `masked`.
        file: Where the counterexample's file is, for the replay command; None if it is not
            written anywhere.
    """
    found = masked(found, redact)
    width = min(max(width, WIDTH_MIN), WIDTH_MAX)
    paint = _painter(color)
    story = tell(found, steps_max=TEXT_STEPS_MAX, rank_max=TEXT_RANK_MAX)
    sections = [
        _headline(story, width, paint),
        _schedule(found, story, width, paint),
        _code(story, width, paint),
        _timeline(story, width, paint),
        _books(story, width, paint),
        *(_execution(one, width, paint) for one in story.executions),
        _logs(story, width, paint),
        _parting(story, width, paint),
        _again(found, width, file),
    ]
    return "\n\n".join("\n".join(section) for section in sections if section) + "\n"


def _headline(story: Story, width: int, paint: Paint) -> list[str]:
    title, place = f"BROKEN: {story.headline}", f"system {story.system}"
    room = width - columns(title) - columns(place)
    if room >= 3:
        lines = [paint(title, "bad") + " " * room + place]
    else:
        lines = [paint(line, "bad") for line in wrap(title, width)] + wrap(place, width)
    lines += ["", *(paint(line, "bold") for line in _indented(story.summary, width))]
    for also in story.also:
        lines += _indented(f"also: {also}", width)
    if story.cause:
        lines += ["", *_indented(story.cause.words, width)]
    if story.why:
        lines += ["", *_indented(" ".join(story.why), width)]
    if story.assumption:
        lines += ["", *_indented(f"Taken for granted: {story.assumption}", width)]
    for profile in story.profiles:
        lines += ["", *_indented(f"Profile: {profile}.", width)]
    if story.cure:
        lines += ["", *_indented(f"Usually prevents it: {story.cure.words}", width)]
        lines += _indented(f"({story.cure.link})", width)
    return lines


def _indented(text: str, width: int, indent: str = "  ", first: str = "") -> list[str]:
    lines = wrap(text, width - len(indent))
    return [f"{(first or indent) if at == 0 else indent}{line}" for at, line in enumerate(lines)]


# ---- schedule


def _schedule(found: Counterexample, story: Story, width: int, paint: Paint) -> list[str]:
    if not story.faults:
        return []
    title = f"Schedule: {_how_small(found, story)}"
    lines = [paint(line, "bold") for line in wrap(title, width)]
    if found.checked:
        lines += _indented(f"Checked: {found.checked}.", width)
    for fault in story.faults:
        words = fault.words if fault.struck else f"{fault.words} It found no site."
        lines += _indented(words, width, "     ", first=f"  {fault.number}. ")
        if fault.needed:
            lines.append(f"     Without fault {fault.number}: passes.")
    lines += ["", *(f"  {line}" for line in schedule_code(found.schedule, width - 2).split("\n"))]
    return lines


def _how_small(found: Counterexample, story: Story) -> str:
    total = len(story.faults)
    words = count(total, "fault")
    if found.minimal:
        words += ", needed" if total == 1 else ", each needed"
    effort = []
    if found.found_after:
        effort.append(f"found after {count(found.found_after, 'run')}")
    if found.shrunk_in:
        effort.append(f"made small in {found.shrunk_in:,} more")
    return f"{words} ({', '.join(effort)})" if effort else words


# ---- the user's lines


def _code(story: Story, width: int, paint: Paint) -> list[str]:
    if not story.code:
        return []
    lines = [paint("In your code", "bold")]
    for place in story.code:
        head = f"{place.line.at} in {place.line.function} ({steps_in_words(place)})"
        lines += _indented(head, width)
        digits = max((len(str(number)) for number, _ in place.source), default=1)
        for number, text in place.source:
            meant = number == place.line.number
            row = fit(f"  {'>' if meant else ' '} {number:>{digits}}  {text}", width)
            lines.append(paint(row, "bold" if meant else "dim"))
    return lines


# ---- timeline


def _timeline(story: Story, width: int, paint: Paint) -> list[str]:
    if not len(story.history):
        return ["The history is not at hand: replay the file to see what happened."]
    who = max((columns(_who(step, story)) for step in story.steps), default=0)
    who = min(who, int(width * WHO_SHARE))
    clock = max((len(seconds(step.at_ms)) for step in story.steps), default=5)
    lines = [paint("What happened", "bold") + " (virtual time in seconds; ✗: what was found)"]
    for part in story.parts:
        if isinstance(part, Gap):
            if len(part.events) < GAP_MIN:
                continue
            indent = " " * (clock + 10)
            rows = _indented(part.words, width, indent, first=f"{indent[:-2]}… ")
            lines += [paint(row, "dim") for row in rows]
        else:
            lines += _step(part, story, clock, who, width, paint)
    return lines


def _who(step: Step, story: Story) -> str:
    source = story.narrator.name(step.source)
    return f"{source} → {story.narrator.name(step.target)}" if step.target else source


def _step(step: Step, story: Story, clock: int, who: int, width: int, paint: Paint) -> list[str]:
    mark = "✗" if step.found else "!" if step.fault or step.tone in ("crash", "lost") else " "
    head = f"{step.number:>4} {mark} {seconds(step.at_ms):>{clock}}  "
    head += pad(fit(_who(step, story), who), who) + "  "
    words = step.words
    room = DETAIL_MAX - columns(words)
    if step.detail and room >= DETAIL_MIN:
        words += f"{' ' if ': ' in words else ': '}{fit(step.detail, room)}"
    if step.extra and not step.found:
        words += "   (not in the passing run)"
    if step.fault:
        words += f"   ← fault {step.fault}"
    body = wrap(words, max(width - columns(head), 20))
    style = "bad" if step.found else "fault" if mark == "!" else ""
    lines = [f"{head}{body[0]}", *(pad("", columns(head)) + line for line in body[1:])]
    return [paint(line, style) if style else line for line in lines]


# ---- ledger and state


def _books(story: Story, width: int, paint: Paint) -> list[str]:
    blocks = [_ledger(ledger, width, paint) for ledger in story.ledgers]
    blocks += [_state(state, width, paint) for state in story.states if state.values]
    blocks += [
        _indented(f"{listed(names)} at the end: {how}", width, "", first="")
        for how, names in unremarkable(story.states)
    ]
    return [line for block in blocks for line in [*block, ""]][:-1]


def _ledger(ledger: Ledger, width: int, paint: Paint) -> list[str]:
    lines = [paint(fit(f"Ledger of {ledger.name}", width), "bold")]
    clock = max((len(seconds(entry.at_ms)) for entry in ledger.entries), default=5)
    for entry in ledger.entries:
        first = f"{entry.number:>4}   {seconds(entry.at_ms):>{clock}}  "
        rows = _indented(f"{entry.words}{_note(entry)}", width, " " * len(first), first)
        lines += [paint(row, "bad") if entry.found else row for row in rows]
    for words in ledger.missing:
        row = f"{words}   (only in the passing run)"
        lines += _indented(row, width, " " * (clock + 9), f"   –   {'':{clock}}  ")
    if ledger.left_out:
        lines.append(f"       … {ledger.left_out:,} more of other items")
    return lines if len(lines) > 1 else [f"{lines[0]}: empty"]


def _note(entry: Entry) -> str:
    if entry.step and entry.found:
        return f"   ← step {entry.step}"
    return "" if entry.expected else "   (not in the passing run)"


def _state(state: State, width: int, paint: Paint) -> list[str]:
    title = fit(f"{state.name} at the end", width - 24)
    lines = [paint(f"{title}{'  ✗' if state.found else ''}", "bad" if state.found else "bold")]
    for value in state.values:
        lines += _indented(_value(value), width, "         ", first="       ")
    if state.left_out:
        lines.append(f"       … {state.left_out:,} more")
    return lines


def _value(value: Value) -> str:
    if not value.differs:
        return f"{value.name}: {value.here}"
    return f"{value.name}: {value.here or 'none'}   (passing run: {value.passing or 'none'})"


# ---- what orchestrators wrote down


def _execution(one: Execution, width: int, paint: Paint) -> list[str]:
    title = fit(f"{one.form.capitalize()} of {one.name}: {one.what}", width)
    shown = one.rows[:TEXT_ROWS_MAX]
    clocks = ["" if row.at_ms is None else seconds(row.at_ms) for row in shown]
    clock = max(map(columns, clocks), default=5)
    lines = [paint(title, "bold")]
    for at, cells, trouble in [
        ("s", one.head, False),
        *((at, row.cells, row.trouble) for at, row in zip(clocks, shown, strict=True)),
    ]:
        rows = _cells(cells, one, f"  {at:>{clock}}  ", width)
        lines += [paint(row, "bad") if trouble else row for row in rows]
    if left := len(one.rows) - len(shown) + one.left_out:
        lines.append(f"       … {left:,} more")
    return lines


def _cells(cells: Sequence[str], one: Execution, head: str, width: int) -> list[str]:
    """Return one line of the table; its last cell has lines of its own where it is long."""
    *narrow, last = one.columns
    for at in narrow:
        words = [one.head[at], *(row.cells[at] for row in one.rows[:TEXT_ROWS_MAX])]
        room = min(max(map(columns, words)), TEXT_CELL_MAX)
        head += pad(fit(cells[at], room), room) + "  "
    if columns(head) + columns(cells[last]) <= width:
        return [f"{head}{cells[last]}".rstrip()]
    indent = " " * LONG_CELL_INDENT
    return [head.rstrip(), *(_indented(cells[last], width, indent) if cells[last] else ())]


# ---- what the user's code logged


def _logs(story: Story, width: int, paint: Paint) -> list[str]:
    if not story.logs:
        return []
    who = min(max(columns(row.who) for row in story.logs), int(width * WHO_SHARE))
    clocks = ["" if row.at_ms is None else seconds(row.at_ms) for row in story.logs]
    clock = max(map(columns, clocks))
    lines = [paint("What your code logged", "bold")]
    for row, at in zip(story.logs, clocks, strict=True):
        head = f"  {at:>{clock}}  {pad(fit(row.who, who), who)}  "
        rows = _indented(row.words, width, " " * columns(head), head)
        lines += [paint(one, "fault") if row.trouble else one for one in rows]
    return lines


# ---- the passing run, and how to go on


def _parting(story: Story, width: int, paint: Paint) -> list[str]:
    found = story.comparison
    if found is None:
        return []
    lines = [
        paint("First difference", "bold")
        + f" from the nearest passing run, at {seconds(found.at_ms)} s"
    ]
    lines += _side("here:    ", found.here, story, width)
    lines += _side("passing: ", found.passing, story, width)
    return lines


def _side(title: str, steps: Iterable[Step], story: Story, width: int) -> list[str]:
    step = next(iter(steps), None)
    words = "the run is over" if step is None else f"{_who(step, story)}  {step.words}"
    return _indented(words, width, "           ", first=f"  {title}")


def _again(found: Counterexample, width: int, file: str | None) -> list[str]:
    if file is None:
        return ["Replay:   by a file, which --report DIR keeps (in pytest: --chaos-report DIR)"]
    lines = _indented(replay_command(found, file), 10_000, "          ", first="Replay:   ")
    if has_target(found):
        lines += _indented(f"{test_name(found)}.py", width, "          ", first="Pytest:   ")
    return lines


__all__ = ["Comparison", "to_text"]
