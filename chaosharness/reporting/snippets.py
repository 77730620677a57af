"""A schedule as Python code, and the commands that run a counterexample again."""

from __future__ import annotations

import json
import shlex

from chaosharness.counterexample import Counterexample
from chaosharness.faults import Fault
from chaosharness.reporting.legible import columns
from chaosharness.schedule import Schedule, code


def schedule_code(schedule: Schedule, width: int = 88) -> str:
    """Spell a schedule as code that can be pasted, in lines of at most `width` columns.

    A line is longer only where a single name is.
    """
    if not schedule.faults:
        return "Schedule()"
    faults = [fault_code(fault, width - 8) for fault in schedule.faults]
    one_line = f"Schedule([{faults[0][0].rstrip(',')}])"
    if len(faults) == len(faults[0]) == 1 and columns(one_line) <= width:
        return one_line
    lines = ["Schedule(", "    ["]
    lines += [f"        {line}" for spelled in faults for line in spelled]
    return "\n".join([*lines, "    ]", ")"])


def fault_code(fault: Fault, width: int) -> list[str]:
    """Spell one fault as code, in lines of at most `width` columns where that can be."""
    whole = code(fault).replace("'", '"')
    if columns(whole) < width or '"' in str(fault.site.operation):
        return [f"{whole},"]
    head, _, rest = whole.partition("(Site(")
    inside, _, options = rest.partition(")")
    lines = [f"{head}("]
    site = f"    Site({inside}),"
    if columns(site) <= width:
        lines.append(site)
    else:
        lines += _site_code(inside, width)
    lines += [f"    {option}," for option in options.strip("()").split(", ") if option]
    return [*lines, "),"]


def _site_code(inside: str, width: int) -> list[str]:
    """Spell a site over several lines; its operation in pieces if it must be."""
    operation, *words = inside.split(", ")
    pieces = _pieces(json.loads(operation), width - 12)
    return [
        "    Site(",
        *(f"        {piece}" for piece in pieces[:-1]),
        f"        {pieces[-1]},",
        *(f"        {word}," for word in words),
        "    ),",
    ]


def _pieces(text: str, width: int) -> list[str]:
    """Spell a long text as adjacent literals, which Python joins."""
    step = max(width - 2, 16)
    return [
        json.dumps(text[at : at + step], ensure_ascii=False) for at in range(0, len(text), step)
    ]


def replay_command(found: Counterexample, file: str = "") -> str:
    """Return the command that runs a counterexample again from its file."""
    return f"chaosharness replay {shlex.quote(file or f'{found.slug()}.json')}"


def test_name(found: Counterexample) -> str:
    """Return the name of the generated test: `test_shop_never_charged_twice`."""
    words = "".join(char if char.isalnum() else "_" for char in found.slug())
    return f"test_{words}"
