"""The story of a counterexample: what a person must know, in the order it happened.

Text, Markdown and HTML are three ways to print the same story.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from chaosharness.counterexample import Counterexample
from chaosharness.kernel.history import History
from chaosharness.reporting.story.accounts import Ledger, State, differences, ledgers, states
from chaosharness.reporting.story.causes import CURES, Case, Cause, Cure, cause_of
from chaosharness.reporting.story.code import Place, places
from chaosharness.reporting.story.compare import Comparison, compare
from chaosharness.reporting.story.decisive import extra
from chaosharness.reporting.story.executions import Execution, executions
from chaosharness.reporting.story.lanes import Cast, Lane
from chaosharness.reporting.story.legible import clip, count, listed, name_of_item
from chaosharness.reporting.story.logs import LogRow, logs
from chaosharness.reporting.story.merge import merge
from chaosharness.reporting.story.narrator import Narrator
from chaosharness.reporting.story.select import ASIDE, STEPS_MAX, finding_of, focus, kept, ranked
from chaosharness.reporting.story.sentences import fault_in_words
from chaosharness.reporting.story.step import Step
from chaosharness.reporting.story.why import why, written_again

SUMMARY_MAX: Final = 400
NAME_MAX: Final = 160
_BEGINNING: Final = frozenset({"start", "rebalance"})
_BEHIND_THE_SCENES: Final = frozenset({"start", "rebalance", "phase", "state", "tables", "end"})


@attrs.frozen
class Gap:
    """Events that a story leaves out between two of its steps.

    Attributes:
        events: Their indexes.
        words: How many, and whose.
    """

    events: tuple[int, ...]
    words: str


@attrs.frozen
class NeededFault:
    """A fault of the schedule, as a sentence.

    Attributes:
        number: From 1, as the story refers to it.
        words: What it is.
        needed: Whether it was checked that without it, all is well.
        struck: Whether it is in the history at all.
    """

    number: int
    words: str
    needed: bool
    struck: bool


@attrs.frozen(kw_only=True)
class Story:
    """What there is to tell about a counterexample.

    Attributes:
        headline: The property.
        system: The system.
        summary: What was found, in the words of the finding.
        also: Further findings of the same run.
        cause: What it came from, in words; None where the history shows no known pattern.
        why: How it came about, as sentences.
        why_steps: The step that each of them is about; 0 where it is about none.
        assumption: What the property took for granted, where nobody said so.
        profiles: Whose defaults brokers went by, where a client is named.
        faults: The schedule, as sentences.
        lanes: Who takes part, from left to right.
        parts: Steps and gaps, oldest first; none if the history is not at hand.
        code: The user's own lines behind the decisive steps.
        ledgers: What third parties did.
        states: What was held at the end.
        executions: What orchestrators wrote down, as their users know it.
        logs: What the user's own code logged and printed.
        comparison: The nearest run that passes, beside this one.
        history: What happened.
        narrator: Tells any other event of it.
    """

    headline: str
    system: str
    summary: str
    also: tuple[str, ...]
    cause: Cause | None
    why: tuple[str, ...]
    why_steps: tuple[int, ...]
    assumption: str
    profiles: tuple[str, ...]
    faults: tuple[NeededFault, ...]
    lanes: tuple[Lane, ...]
    parts: tuple[Step | Gap, ...]
    code: tuple[Place, ...]
    ledgers: tuple[Ledger, ...]
    states: tuple[State, ...]
    executions: tuple[Execution, ...]
    logs: tuple[LogRow, ...]
    comparison: Comparison | None
    history: History
    narrator: Narrator

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps without the gaps."""
        return tuple(part for part in self.parts if isinstance(part, Step))

    @property
    def cure(self) -> Cure | None:
        """What usually prevents a mistake of this kind."""
        return None if self.cause is None else CURES[self.cause.kind]

    def step_of(self, event: int) -> int:
        """Return the number of the step that tells an event; 0 if none does."""
        return step_of(self.steps, event)

    def lane_names(self) -> tuple[str, ...]:
        """Return what the lanes are called, from left to right."""
        return tuple(lane.name for lane in self.lanes)


class Items:
    """What the items of a workload are called."""

    def __init__(self, items: Sequence[object]) -> None:
        self.names = [name_of_item(item) for item in items]

    def __call__(self, entity: int) -> str:
        """Name an item: `item 1 (o1)`; nothing for none."""
        if entity < 1:
            return ""
        name = self.names[entity - 1] if entity <= len(self.names) else ""
        return f"item {entity} ({name})" if name else f"item {entity}"

    def short(self, entity: int) -> str:
        """Name an item in one word, if it has one: `o1`."""
        named = 1 <= entity <= len(self.names) and self.names[entity - 1]
        return named or (f"item {entity}" if entity > 0 else "")


def tell(found: Counterexample, *, steps_max: int = STEPS_MAX, rank_max: int = ASIDE - 1) -> Story:
    """Make the story of a counterexample: a pure function of it.

    Args:
        found: The counterexample.
        steps_max: How many events to tell at most.
        rank_max: How unimportant an event may be that is still told: see `ranked`.
    """
    history = found.history
    finding = finding_of(found.findings)
    cast = Cast(history) if found.passing is None else Cast(history, found.passing)
    faults = found.schedule.faults
    items = Items(found.items)
    narrator = Narrator(history, cast, faults, items.short)
    more = extra(history, found.passing)
    told = kept(ranked(history, finding, extra=more), steps_max, rank_max)
    steps = merge([narrator.step(index) for index in told], history)
    anchors = frozenset(finding.events)
    steps = [
        attrs.evolve(
            step,
            found=not anchors.isdisjoint(step.events),
            extra=not more.deeds.isdisjoint(step.events),
        )
        for step in steps
    ]
    about = focus(history, finding)
    books = ledgers(found, about, steps)
    held = states(found)
    cause = cause_of(Case(history, finding, narrator, more, found.passing))
    at = {0: -1} | {step.number: step.event for step in steps}
    told_otherwise = [
        *written_again(narrator, finding, more),
        *((at[number], words) for number, words in differences(books, held)),
    ]
    told_why = why(
        history,
        finding,
        narrator,
        items,
        told_otherwise,
        needed=found.minimal,
        repeats_told=cause is not None and cause.repeats,
    )
    struck = {str(event.data.get("fault")) for event in history.of("fault")}
    return Story(
        headline=clip(found.property, NAME_MAX),
        system=clip(found.system, NAME_MAX),
        summary=clip(finding.summary, SUMMARY_MAX) or "It does not hold.",
        also=tuple(clip(one.summary, SUMMARY_MAX) for one in found.findings[1:4]),
        assumption=clip(found.assumption, SUMMARY_MAX),
        profiles=tuple(clip(one, SUMMARY_MAX) for one in found.profiles),
        cause=cause,
        why=tuple(words for _, words in told_why),
        why_steps=tuple(step_of(steps, event) for event, _ in told_why),
        faults=tuple(
            NeededFault(
                number,
                fault_in_words(fault, items(fault.site.entity)),
                found.minimal,
                str(fault) in struck or not len(history),
            )
            for number, fault in enumerate(faults, 1)
        ),
        lanes=cast.in_order(_taking_part(steps), first=found.lifelines),
        parts=_with_gaps(steps, history, items),
        code=places(steps, found),
        ledgers=books,
        states=held,
        executions=executions(found, about),
        logs=logs(found, narrator),
        comparison=compare(found, narrator),
        history=history,
        narrator=narrator,
    )


def step_of(steps: Iterable[Step], event: int) -> int:
    """Return the number of the step that tells an event; 0 if none does."""
    return next((step.number for step in steps if event in step.events), 0)


def _taking_part(steps: Iterable[Step]) -> list[str]:
    return [lane for step in steps for lane in (step.source, step.target) if lane != "world"]


def _with_gaps(steps: Sequence[Step], history: History, items: Items) -> tuple[Step | Gap, ...]:
    """Put what is left out between the steps, where it is worth a line."""
    told = {index for step in steps for index in step.events}
    parts: list[Step | Gap] = []
    since = 0
    for step in steps:
        parts += _gap(range(since, step.event), told, history, items)
        parts.append(step)
        since = max(since, max(step.events) + 1)
    if steps:
        parts += _gap(range(since, len(history)), told, history, items)
    return tuple(parts)


def _gap(
    between: Iterable[int], told: set[int], history: History, items: Items
) -> list[Step | Gap]:
    missing = [index for index in between if index not in told]
    if all(history[index].kind in _BEHIND_THE_SCENES for index in missing):
        return []
    counts: dict[int, int] = {}
    for index in missing:
        entity = history[index].entity
        counts[entity] = counts.get(entity, 0) + 1
    total = count(len(missing), "event")
    named = [entity for entity in sorted(counts) if entity]
    if len(counts) == 1 and named:
        words = f"{total} of {items(named[0])}"
    elif named and len(named) <= 3:
        words = f"{total}: {listed([f'{counts[one]:,} of {items(one)}' for one in named])}"
    else:
        words = total
    return [Gap(tuple(missing), f"{words}{_over_and_over(missing, history)}")]


def _over_and_over(missing: Iterable[int], history: History) -> str:
    """Say that a message was handed out again and again, where it was."""
    times: dict[int, int] = {}
    for index in missing:
        event = history[index]
        if event.kind == "deliver":
            message = event.data.get("message", -1)
            times[message] = times.get(message, 0) + 1
    most = max(times.values(), default=0)
    return f", with {most:,} deliveries of one message" if most > 2 else ""


__all__ = ["Gap", "Items", "NeededFault", "Story", "tell"]
