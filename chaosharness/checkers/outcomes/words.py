"""Findings in words: plain sentences that name the nearest clean run and what is not so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from chaosharness.checkers.harm import rank
from chaosharness.checkers.outcomes.calm import AT_ONCE, BY_TIMING, IGNORED
from chaosharness.checkers.outcomes.clean import Clean
from chaosharness.checkers.outcomes.clients import ORDER
from chaosharness.checkers.outcomes.dealt import ANEW
from chaosharness.checkers.outcomes.differences import AMONG, STANDS, Difference
from chaosharness.checkers.outcomes.notes import LOGGED, MARK
from chaosharness.checkers.outcomes.outcome import REMEMBERED
from chaosharness.checkers.outcomes.timers import TIMER
from chaosharness.checkers.outcomes.verdict import QUESTIONS as OF_A_RUN
from chaosharness.checkers.payload import ids_in
from chaosharness.checkers.property import Finding
from chaosharness.kernel.history import History

QUESTIONS: Final = OF_A_RUN | {ANEW, IGNORED}
CALM_WORDS: Final = "already without faults"
BARE: Final = "()"
"""A row of which nothing is compared but that it is there: all that it holds is drawn."""

TOPIC_KINDS: Final = frozenset({"message lost", "message new", "put aside", "swallowed"})


def findings(
    clean: Clean,
    differences: Iterable[Difference],
    history: History,
    *,
    nearest: str = "without faults",
    calm: bool = False,
) -> list[Finding]:
    """Return one finding for each kind and place, the worst first."""
    found: dict[tuple[str, str], Finding] = {}
    for one in differences:
        key = (one.kind, one.place)
        if key in found or _is_unwanted(clean, one):
            continue
        sentence = _sentence(clean, one, nearest)
        if calm:
            sentence = f"{CALM_WORDS}: {sentence}"
        found[key] = Finding(
            sentence,
            one.events or _shown_by(history, one),
            one.item,
            _data(clean, one, nearest),
            kind=one.kind,
            place=one.place,
            question=one.kind in QUESTIONS,
        )
    return sorted(found.values(), key=lambda one: (rank(one), not one.entity))  # somebody's first


def _sentence(clean: Clean, one: Difference, nearest: str) -> str:
    """Return what is said of a difference, wherever in a history it is shown."""
    key = (one.kind, one.item, one.place, one.what, one.instead, one.count, one.usual, nearest)
    said = clean.sentences.get(key)
    if said is None:
        if len(clean.sentences) >= REMEMBERED:
            clean.sentences.clear()
        said = clean.sentences[key] = " ".join(_said(clean, one, nearest).split())
    return said


def _is_unwanted(clean: Clean, one: Difference) -> bool:
    unwanted = clean.options.without
    return one.kind in unwanted or f"{one.kind}: {one.place}" in unwanted


def _data(clean: Clean, one: Difference, nearest: str) -> dict[str, Any]:
    data: dict[str, Any] = {"what": one.what, "nearest": nearest}
    if one.instead and one.instead != AMONG:
        data["instead"] = one.instead
    if clean.family.failed:
        data["not compared with"] = list(clean.family.failed)
    left_out = clean.places_not_compared
    if left_out:
        data["left out by name"] = list(left_out)
    return data


def _shown_by(history: History, one: Difference) -> tuple[int, ...]:
    """Return an event that shows it: what the store held in the end, or the end itself."""
    last = [
        event.index
        for event in history.of("state", "end")
        if event.kind == "end" or event.actor == one.source
    ]
    return tuple(last[-1:])


def name_of_item(clean: Clean, item: int) -> str:
    """Return what an item is called: a text that only it has, best an id of it; or its number."""
    if not item:
        return "nobody's"
    texts = clean.reader.owners.texts
    own = [
        text
        for text in (texts[item - 1] if item <= len(texts) else ())
        if clean.reader.owners.unique.get(text) == item
    ]
    ids = ids_in(clean.entered[item - 1]) if item <= len(clean.entered) else ()
    own.sort(key=lambda text: text not in ids)
    return f"item {item} ({own[0]})" if own else f"item {item}"


def _said(clean: Clean, one: Difference, nearest: str) -> str:
    whose = name_of_item(clean, one.item) if one.item else ""
    if one.kind in TOPIC_KINDS:
        return _of_a_message(one, whose, nearest)
    if one.kind in QUESTIONS:
        return _question(one, whose)
    return "".join(_of_rows_and_effects(one, whose, nearest))


def _times(count: int) -> str:
    return "once" if count == 1 else "twice" if count == 2 else f"{count} times"


def _of_rows_and_effects(one: Difference, whose: str, nearest: str) -> Iterator[str]:
    party, _, method = one.place.partition(".")
    owner = f" for {whose}" if whose else ""
    match one.kind:
        case "effect twice":
            usual = "once at most" if one.usual == 1 else f"{one.usual} times at most"
            often = _times(max(one.count, 2))
            if one.instead == AMONG:
                yield f"{party} did {method} {often}{owner}, {method}{one.what} among them; "
                yield f"{_in(nearest)} {usual}"
                return
            yield f"{party} did {method}{one.what} {often}{owner}; {_in(nearest)} {usual}"
        case "effect left" if one.instead:
            yield f"{whose} ends as {one.instead!r}, and yet {one.place}{one.what} stands"
        case "effect left":
            yield f"{whose} ends as if it had never come, and yet {one.place}{one.what} stands"
        case "effect lost" if one.instead and one.instead != BY_TIMING:
            yield f"{party} did {method}{one.instead}{owner}; {_in(nearest)} {method}{one.what}"
        case "effect lost":
            often = f"only {_times(one.count)}" if one.count else "never"
            yield f"{party} did {method}{one.what} {often}{owner}; {_in(nearest)} "
            yield _times(one.usual)
        case "effect new":
            yield f"{party} did {method}{one.what}{owner}, which it never does {nearest}"
        case "lost update":
            yield f"two read {one.place}, waited, and both wrote {one.what}: "
            yield "the second over the first"
        case "key reused":
            yield f"{party} refused {method}{owner}, for its idempotency key is another request's: "
            yield one.what
        case "half done":
            yield f"{whose} {_verb(one.what)}"
        case "forgotten":
            yield f"nothing came of {whose}, and nobody was told: no row, no effect, no message, "
            yield "no dead letter, no error to its client"
        case "torn apart":
            yield f"a generated value that is one in {one.place} and {one.what} {nearest} is "
            yield f"two for {whose or 'all'}"
        case "same number":
            yield f"{one.place} is {one.what}{owner}, and for {one.instead} as well: when they "
            yield "come one after another, no two have the same"
        case "row missing" | "row too many" if one.what == BARE and one.instead != AT_ONCE:
            more = "less" if one.kind == "row missing" else "more"
            yield f"{one.place} has a row {more}{owner} than {nearest}"
        case "row missing":
            yield f"{one.place} lacks the row {one.what}{owner}, which is there {nearest}"
        case "row too many" if one.instead == AT_ONCE:
            yield f"when items come at once, {one.what} is in {one.place} {_times(one.count)}; "
            yield f"one after another {f'at most {_times(one.usual)}' if one.usual else 'never'}"
        case "row too many":
            yield f"{one.place} has the row {one.what}{owner}, which is not there {nearest}"
        case _:
            where = one.place.rpartition(".")[0]
            timing = one.instead == BY_TIMING
            instead = ", or something else" if timing else f"; {_in(nearest)} {one.instead}"
            yield f"{where} has {one.what}{instead}"
    if one.instead == BY_TIMING:
        yield ": it depends on how long calls take"


def _in(nearest: str) -> str:
    return f"{nearest},"


def _verb(what: str) -> str:
    return what if what.split(" ", 1)[0] in ("ends", "was") else f"ends as usual, {what}"


def _of_a_message(one: Difference, whose: str, nearest: str) -> str:
    owner = f" for {whose}" if whose else ""
    bare = one.what == BARE  # all that it holds is made anew in each run: a generated id, a time
    match one.kind:
        case "message lost":
            what = "anything" if bare else one.what
            return (
                f"{one.place} was never told {what}{owner}; {_in(nearest)} it is, and a repeat "
                "may not change that"
            )
        case "message new":
            what = "something" if bare else one.what
            return f"{one.place} was told {what}{owner}, which nobody says {nearest}"
        case "swallowed":
            return (
                f"{one.what} took the message of {one.place}{owner} and did nothing; without "
                "faults something comes of it"
            )
        case _:
            return (
                f"a message of {one.place}{owner} that can be read was put aside for good, "
                "although nothing was failing when it was handled last"
            )


def _question(one: Difference, whose: str) -> str:
    if one.kind == TIMER and one.instead:
        where, _, name = one.place.rpartition(".")
        return (
            f"{whose} has {name}={one.what} in {where} where it came late, and {one.instead} "
            f"otherwise: is the time meant to decide? If so: ignore=[{one.place!r}]"
        )
    if one.kind == TIMER:
        return (
            f"{whose} ends with {one.what!r} in {one.place}, which no run without faults says: is "
            f"a timer meant to decide? If so: may_end=[({one.place!r}, {one.what!r})]"
        )
    if one.kind == STANDS:
        return (
            f"{whose} ends as {one.what!r}, and {one.instead} stands: may it, as somebody sees to "
            f"it? If so: may_end=[({one.place!r}, {one.what!r})]"
        )
    if one.kind == ANEW:
        return (
            f"{whose} has {one.place}={one.what}, and {one.instead} as well, since a restart "
            f"begins to count again: may two have the same? If so: ignore=[{one.place!r}]"
        )
    if one.kind == ORDER:
        where = ".".join(one.place.split(".")[:2])
        what = f"{where} has {one.what}" if one.what else f"{where} differs"
        return (
            f"{whose} came before another of its subject, and {what}: may the order in which they "
            "come decide? If so, each is a subject of its own: "
            "idempotent(subject=lambda item: ...)"
        )
    if one.kind == IGNORED:
        return (
            f"nothing comes of {whose}, and nobody is told; by itself it leads to {one.place}"
            f"{one.what}: is it a repeat of another item, or out of date? If so, they go by one "
            "name: idempotent(item_id=lambda item: ...)"
        )
    if one.kind == LOGGED:
        return (
            f"{whose} has the row {one.what} more often in {one.place} than without faults, and "
            "all else is as usual: has each try a row of its own there? "
            f"If so: ignore=[{one.place!r}]"
        )
    if one.kind == MARK:
        return (
            f"{whose} leaves the row {one.what} in {one.place}, which no run without faults has, "
            f"and all else is as usual: may it stay? If so: ignore=[{one.place!r}]"
        )
    return (
        f"{whose} goes on {one.what}, which was refused: may it be missing? "
        f"If so: optional=[{one.place!r}]"
    )
