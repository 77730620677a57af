"""A counterexample as a pytest file that fails on its own, with nothing else from the run."""

from __future__ import annotations

from typing import Final

from chaosharness.checkers.property import in_words
from chaosharness.counterexample import Counterexample
from chaosharness.errors import InvalidDefinition
from chaosharness.reporting.formats.literals import literal, text
from chaosharness.reporting.formats.redact import Redact, masked
from chaosharness.reporting.formats.snippets import schedule_code, test_name
from chaosharness.reporting.story.legible import clip, visible, wrap
from chaosharness.reporting.story.select import finding_of
from chaosharness.reporting.story.sentences import fault_in_words
from chaosharness.reporting.story.tell import SUMMARY_MAX, Items

WIDTH: Final = 88

_TEMPLATE: Final = '''\
"""{title}

{story}
"""

from chaosharness import {names}
from chaosharness.counterexample import claimed, items_for
from chaosharness.search.target import load_target

TARGET = {target}
PROPERTY = {property}
WORKLOAD = {workload}
{types}SCHEDULE = {schedule}


def {test_name}() -> None:
    system = load_target(TARGET)
    run = system.run(items_for(system, WORKLOAD{of_types}), SCHEDULE)
{struck}    run.check(claimed(system, PROPERTY))
'''

_STRUCK: Final = """\
    assert len(run.unused) < len(SCHEDULE), (
        "No fault found its site: this proves nothing any more. Find the operation's new name "
        f"with: chaosharness sites {TARGET}"
    )
"""


def to_pytest(found: Counterexample, *, redact: Redact = ()) -> str:
    """Write a test that fails while the bug is there, and passes when it is fixed.

    Args:
        found: The counterexample.
        redact: Fields to mask: see `masked`. The workload of the test then has stand-ins of
            the same type; where the bug depends on the real values, put them back.

    Raises:
        InvalidDefinition: The counterexample does not say where its system is found.
    """
    found = masked(found, redact)
    if not has_target(found):
        raise InvalidDefinition(
            f"no test can be written: nobody said where system {found.system!r} is found, as "
            f"module:attribute ({found.target!r}). Put it into a module, at the top level."
        )
    faults = {type(fault).__name__ for fault in found.schedule}
    return _TEMPLATE.format(
        title=_documented(in_words(found.property, finding_of(found.findings).summary)),
        story="\n".join(_story(found)),
        names=", ".join(sorted(faults | {"Schedule"} | ({"Site"} if faults else set()))),
        target=text(found.target),
        property=text(found.property),
        workload=literal(list(found.items), width=WIDTH),
        types=f"TYPES = {literal(list(found.types), width=WIDTH)}\n" if found.types else "",
        of_types=", TYPES" if found.types else "",
        schedule=schedule_code(found.schedule, WIDTH),
        test_name=test_name(found),
        struck=_STRUCK if faults else "",
    )


def has_target(found: Counterexample) -> bool:
    """Say whether a counterexample tells where its system is found, as `module:attribute`."""
    parts = found.target.replace(":", ".", 1).split(".")
    return ":" in found.target and all(part.isidentifier() for part in parts)


def _documented(words: str) -> str:
    """Make text fit for one line of a docstring."""
    return clip(words, SUMMARY_MAX).replace("\\", "\\\\").replace('"""', "'''").rstrip('"')


def _story(found: Counterexample) -> list[str]:
    """Say what the test is, and what to do with it."""
    items = Items(found.items)
    lines = [f"Found in the system {found.system!r}. It takes:", ""]
    for number, fault in enumerate(found.schedule, 1):
        lines.append(f"{number}. {fault_in_words(fault, items(fault.site.entity))}")
    if not found.schedule.faults:
        lines[0] = f"Found in the system {found.system!r}. It takes no fault at all."
        lines.pop()
    lines += ["", "Fails while the bug is there. Keep it when it is fixed: it then passes."]
    if not found.digest:
        lines += ["The workload is masked: where the bug depends on a value, put it back."]
    return [_documented(row) for line in lines for row in (wrap(visible(line), WIDTH) or [""])]
