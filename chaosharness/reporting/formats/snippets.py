"""A schedule as Python code, and the commands that run a counterexample again."""

from __future__ import annotations

import shlex

import attrs

from chaosharness.counterexample import Counterexample
from chaosharness.faults import Fault
from chaosharness.kernel.site import Site
from chaosharness.reporting.formats.literals import literal, text
from chaosharness.reporting.story.legible import columns
from chaosharness.schedule import Schedule


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
    """Spell one fault as code, in lines of at most `width` columns where that can be.

    What is at its default is left out.
    """
    name = type(fault).__name__
    site = _site_words(fault.site)
    options = [
        f"{field.name}={literal(getattr(fault, field.name))}"
        for field in attrs.fields(type(fault))
        if field.name != "site" and getattr(fault, field.name) != field.default
    ]
    spelled = f"Site({', '.join(site)})"
    whole = f"{name}({', '.join([spelled, *options])}),"
    if columns(whole) <= width:
        return [whole]
    lines = [f"    {spelled},"]
    if columns(lines[0]) > width:
        pieces = _pieces(fault.site.operation, width - 10)
        words = [*pieces[:-1], *(f"{word}," for word in [pieces[-1], *site[1:]])]
        lines = ["    Site(", *(f"        {word}" for word in words), "    ),"]
    return [f"{name}(", *lines, *(f"    {option}," for option in options), "),"]


def _site_words(site: Site) -> list[str]:
    """Return the arguments of a site, as code."""
    words = [text(site.operation)]
    if site.phase != "before":
        words.append(text(site.phase))
    for name, value in (("entity", site.entity), ("attempt", site.attempt)):
        if value != 1:
            words.append(f"{name}={value}")
    if site.message:
        words.append(f"message={text(site.message)}")
    return words


def _pieces(operation: str, width: int) -> list[str]:
    """Spell a long name as adjacent literals, which Python joins."""
    step = max(width - 2, 16)
    return [text(operation[at : at + step]) for at in range(0, len(operation), step)]


def replay_command(found: Counterexample, file: str = "") -> str:
    """Return the command that runs a counterexample again from its file."""
    return f"chaosharness replay {shlex.quote(file or f'{found.slug()}.json')}"


def test_name(found: Counterexample) -> str:
    """Return the name of the generated test: `test_shop_never_charged_twice`."""
    words = "".join(char if f"_{char}".isidentifier() else "_" for char in found.slug())
    return f"test_{words}"
