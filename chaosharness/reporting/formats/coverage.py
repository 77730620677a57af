"""A campaign as text: how each claim came out, and what stands behind that.

A green result says what it covered; a promise that was never put to the test is not
reported as kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from chaosharness.campaign import Campaign, Cell, Coverage, Standing
from chaosharness.checkers.property import in_words
from chaosharness.reporting.formats.markdown import escape, table
from chaosharness.reporting.formats.snippets import schedule_code
from chaosharness.reporting.story.legible import clip, columns, count, pad, visible, wrap

WIDTH_MIN: Final = 60
WIDTH_MAX: Final = 80
ROWS_MAX: Final = 40
UPSETS_MAX: Final = 5
NAME_MAX: Final = 44

STRUCK: Final = "✓"
NEVER: Final = "○"
SAME: Final = "="
IMPOSSIBLE: Final = "·"
_LEGEND: Final = (
    f"{STRUCK} struck   {NEVER} possible, never struck   {SAME} same as another fault"
    f"   {IMPOSSIBLE} impossible"
)
_UNBROKEN: Final = "\u00a0"
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"


def summary(campaign: Campaign, *, width: int = WIDTH_MAX, table: bool = True) -> str:
    """Say how a campaign came out, in text of at most `width` columns (60 to 80).

    A pure function of the campaign: the time it took is left out.

    Args:
        campaign: The campaign.
        width: Columns.
        table: Whether to end with the table of operations against kinds of fault.
    """
    width = min(max(width, WIDTH_MIN), WIDTH_MAX)
    sections = [
        _result(campaign, width),
        _standings(campaign, width),
        _broken(campaign, width),
        _troubles(campaign, width),
        _upset(campaign, width),
        _covered(campaign, width),
        coverage_table(campaign.coverage, width=width).splitlines() if table else [],
        _questions(campaign, width),
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def _result(campaign: Campaign, width: int) -> list[str]:
    words = {"holds": "HOLDS", "violated": "BROKEN", "unknown": "UNKNOWN"}[campaign.result]
    plural = "" if campaign.faults_max == 1 else "s"
    lines = wrap(
        f"{words}: system {visible(campaign.system)}, {count(campaign.searched, 'run')} "
        f"({campaign.mode}, up to {campaign.faults_max} fault{plural})",
        width,
    )
    if campaign.spoken:
        lines += _item(clip(campaign.spoken, 400), width)
    if campaign.is_cut_short():
        lines += _cut_short(campaign, width)
    elif campaign.result == "holds" and campaign.coverage.left() is not None:
        lines += _held_so_far(campaign, width)
    for one in _weakened(campaign):
        lines += _item(clip(one, 400), width, "  but:    ")
    lead = "left open:" if campaign.result == "violated" else "unknown, because"
    for reason in _doubts(campaign):
        lines += _item(f"{lead} {clip(reason, 400)}", width)
    return lines


def _weakened(campaign: Campaign) -> tuple[str, ...]:
    """Return what a verdict that nothing is broken says little of: it is told beside it."""
    return () if campaign.result == "violated" else campaign.coverage.idle


def _cut_short(campaign: Campaign, width: int) -> list[str]:
    """Say what is done and what is left of a search that ended early, and how to go on."""
    done, left = campaign.coverage.done(), campaign.coverage.left()
    assert left is not None
    needed = campaign.budget_needed()
    at_least = " or more" if left.more else ""
    why = {
        "quiet": "nothing new was seen for long enough, before all was tried",
        "time": "the time was over before all was tried",
    }.get(campaign.ended, "the budget was spent before all was tried")
    lines = _item(f"nothing is broken so far; {why}", width)
    if done is not None:
        lines += _item(str(done), width, "  done:  ")
    not_run = left if left.total is None else attrs.evolve(left, tried=left.total - left.tried)
    lines += _item(str(not_run), width, "  left:  ")
    go_on = f"--budget {needed}{at_least}" if needed else "a larger --budget"
    if campaign.ended == "quiet":
        go_on += " --all, or --all for the rest of this budget only"
    elif campaign.ended == "time":
        go_on = "a larger --seconds"
    lines += _item(go_on, width, "  go on: ")
    if done is not None and done.faults:
        words = f"--faults {done.faults}, for a result on what is done"
        lines += _item(words, width, "  or:    ")
    return lines


def _held_so_far(campaign: Campaign, width: int) -> list[str]:
    """Say for what it holds, where more was looked at than had to be run to its end."""
    done, left = campaign.coverage.done(), campaign.coverage.left()
    assert left is not None
    lines = _item(str(done), width, "  for:    ") if done is not None else []
    lines += _item(f"{left}; nothing is broken so far", width, "  beyond: ")
    needed = campaign.budget_needed()
    budget = f" --budget {needed}" if needed else ""
    return lines + _item(f"--faults {left.faults}{budget} --all", width, "  go on:  ")


def _doubts(campaign: Campaign) -> list[str]:
    """Return why it is unknown, less what has been said of a budget."""
    left = campaign.coverage.left()
    spent = f"; {left}" if campaign.is_cut_short() else None
    return [reason for reason in campaign.reasons if spent is None or not reason.endswith(spent)]


def _item(text: str, width: int, first: str = "  ") -> list[str]:
    rows = wrap(text, width - len(first))
    space = " " * len(first)
    return [f"{first if at == 0 else space}{row}" for at, row in enumerate(rows)]


# ---- claims


def _standings(campaign: Campaign, width: int) -> list[str]:
    if not campaign.standings:
        return ["Nothing was claimed."]
    names = [clip(one.name, NAME_MAX) for one in campaign.standings]
    room = max(map(columns, names))
    lines = []
    for one, name in zip(campaign.standings, names, strict=True):
        words = outcome(one)
        lines += _item(words, width, f"  {_SIGN[one.result]} {pad(name, room)}  ")
        if one.assumption:
            lines += _item(f"taken for granted: {clip(one.assumption, 400)}", width, "      ")
    return ["Claims", *lines]


_SIGN: Final = {"holds": "✓", "violated": "✗", "unknown": "?"}


def outcome(one: Standing) -> str:
    """Say how a property came out, and on how many runs that rests."""
    runs = count(one.judged, "run")
    if one.result == "violated":
        return f"BROKEN in run {one.broken_in:,}" if one.broken_in else "BROKEN"
    if one.when == "sometimes":
        return (
            f"reached in {one.reached:,} of {runs}" if one.reached else f"NEVER REACHED in {runs}"
        )
    if not one.tested:
        return f"NEVER PUT TO THE TEST in {runs}"
    words = "holds" if one.result == "holds" else "not broken so far"
    return f"{words}, put to the test in {one.tested:,} of {runs}"


def _broken(campaign: Campaign, width: int) -> list[str]:
    lines: list[str] = []
    groups = campaign.groups or (None,) * len(campaign.counterexamples)
    for found, group in zip(campaign.counterexamples, groups, strict=True):
        what = found.findings[0].summary if found.findings else ""
        lines += _item(clip(in_words(found.property, what), 380), width)
        for row in schedule_code(found.schedule, width - 4).split("\n"):
            lines.append(f"    {row}")
        for sentence in () if group is None else group.sentences():
            lines += _item(clip(sentence, 300), width, "    ")
    return ["Counterexamples", *lines] if lines else []


def _questions(campaign: Campaign, width: int) -> list[str]:
    lines: list[str] = []
    for one in campaign.questions:
        lines += _item(f"{clip(one.summary, 300)} (in {count(one.runs, 'run')})", width)
        lines += _item(f"first: {clip(one.schedule, 300)}", width, "    ")
    return ["Is this right? Only you can say; nothing is broken by it", *lines] if lines else []


def _troubles(campaign: Campaign, width: int) -> list[str]:
    lines: list[str] = []
    for one in campaign.troubles:
        words = f"{one.verdict} in {count(one.times, 'run')}: {clip(one.reason, 300)}"
        lines += _item(words, width)
        lines += _item(f"such as {clip(one.schedule, 300)}", width, "    ")
    return ["Runs that did not become quiet", *lines] if lines else []


def _upset(campaign: Campaign, width: int) -> list[str]:
    lines: list[str] = []
    for one in campaign.upset[:UPSETS_MAX]:
        lines += _item(clip(one, 300), width)
    if left := len(campaign.upset) - UPSETS_MAX:
        lines += [f"  … {left:,} more"] if left > 0 else []
    return ["Without any fault, already", *lines] if lines else []


# ---- coverage


def _covered(campaign: Campaign, width: int) -> list[str]:
    coverage = campaign.coverage
    lines: list[str] = []
    beside = _weakened(campaign)
    for sentence in coverage.sentences():
        if sentence not in beside:
            lines += _item(sentence, width)
    never = coverage.never_struck()
    if never:
        shown = ", ".join(_spelled(cell) for cell in never[:3])
        more = f" and {len(never) - 3:,} more" if len(never) > 3 else ""
        lines += _item(f"never struck: {shown}{more}", width)
    for one in campaign.beyond:
        lines += _item(f"beyond what was asked: {clip(one, 400)}", width)
    if campaign.result != "violated" and not campaign.unproved:
        lines += _item(f"That says: {coverage.rules_out(campaign.searched)}", width)
    return ["What was covered", *lines] if lines else []


def _spelled(cell: Cell) -> str:
    phase, operation, kind = cell
    return f"{kind} {phase} {clip(operation, 80)}"


def coverage_table(coverage: Coverage, *, width: int = WIDTH_MAX, rows_max: int = ROWS_MAX) -> str:
    """Draw operations against kinds of fault, as text; nothing if none was reached.

    Where there are more than `rows_max` rows, those with something never struck are kept.
    """
    kinds = coverage.kinds()
    places = coverage.operations()
    if not kinds or not places:
        return ""
    kept = _most_telling(coverage, places, rows_max)
    room = max(width - 2 * len(kinds) - 10, 20)
    names = max(columns(_tail(operation, room)) for _, operation in kept)
    letters = " ".join(_LETTERS[: len(kinds)])
    lines = ["Operations and faults", *_item(_LEGEND, width)]
    named = [f"{letter} {kind}" for letter, kind in zip(_LETTERS, kinds, strict=False)]
    legend = "   ".join(name.replace(" ", _UNBROKEN) for name in named)
    lines += [row.replace(_UNBROKEN, " ") for row in _item(legend, width)]
    lines += ["", f"  {pad('', names)}         {letters}"]
    for phase, operation in kept:
        cells = " ".join(sign(coverage, phase, operation, kind) for kind in kinds)
        lines.append(f"  {pad(_tail(operation, room), names)}  {phase:<6} {cells}")
    if left := len(places) - len(kept):
        lines.append(f"  … {left:,} more rows")
    return "\n".join(lines) + "\n"


def _most_telling(
    coverage: Coverage, places: Sequence[tuple[str, str]], rows_max: int
) -> list[tuple[str, str]]:
    if len(places) <= rows_max:
        return list(places)
    open_places = {(phase, operation) for phase, operation, _ in coverage.never_struck()}
    first = [place for place in places if place in open_places]
    rest = [place for place in places if place not in open_places]
    chosen = set([*first, *rest][:rows_max])
    return [place for place in places if place in chosen]


def _tail(operation: str, room: int) -> str:
    """Cut an operation to size; its end says more than its beginning."""
    text = visible(operation)
    if columns(text) <= room:
        return text
    while columns(text) > room - 1:
        text = text[1:]
    return f"…{text}"


def sign(coverage: Coverage, phase: str, operation: str, kind: str) -> str:
    """Return the sign of a cell: struck, never struck, same as another, impossible."""
    cell = (phase, operation, kind)
    times = coverage.cells.get(cell)
    if times is None:
        return SAME if cell in coverage.equivalent else IMPOSSIBLE
    return STRUCK if times else NEVER


def coverage_markdown(coverage: Coverage) -> str:
    """Write operations against kinds of fault as a Markdown table, with counts."""
    kinds = coverage.kinds()
    rows = []
    for phase, operation in coverage.operations():
        cells = []
        for kind in kinds:
            times = coverage.cells.get((phase, operation, kind))
            found = sign(coverage, phase, operation, kind)
            cells.append(f"{times:,}" if times else found)
        rows.append((phase, clip(operation), *cells))
    if not rows:
        return ""
    return "\n".join([*table(("", "operation", *kinds), rows), "", escape(_LEGEND)]) + "\n"


__all__ = ["coverage_markdown", "coverage_table", "outcome", "sign", "summary"]
