"""How an item says that it was given up, and what was done for it and still stands then.

In its rows, or in what its engine notes of its workflow: that it failed, that it was compensated,
that it returned `failed`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Final

from chaosharness.checkers.masking import words_in
from chaosharness.checkers.outcomes.clean import Clean
from chaosharness.checkers.outcomes.differences import STANDS, Difference, moves
from chaosharness.checkers.outcomes.outcome import Entry, Outcome, spelled_place
from chaosharness.checkers.outcomes.timers import GIVEN_UP
from chaosharness.checkers.outcomes.values import spelled

ENDED_SO: Final = re.compile(
    r"(workflow|execution|dag run|saga) "
    r"(failed|timed[ _]out|aborted|cancell?ed|terminated|compensated)"
)
"""What engines note of a workflow that did not come to its end."""

HOLDING: Final = frozenset(
    (
        *("allocate", "authorise", "authorize", "block", "book", "capture", "charge", "debit"),
        *("hold", "lock", "reserve"),
    )
)
"""Words in the names of methods that take something for a while, until it is given back."""

UNDONE: Final = GIVEN_UP | {"compensated"}
"""Words of rows that say that their item came to nothing: also where nothing was left to undo."""


def says_given_up(out: Outcome, item: int, usual: Outcome | None = None) -> str:
    """Return in which word an item says that it was given up; empty if it does not say so.

    Args:
        out: What came out.
        item: The item.
        usual: What comes out without faults: what is said there as well is nothing new.
    """
    said = out.words(item) - (usual.words(item) if usual is not None else frozenset())
    words = sorted(text for _, text in said if words_in(text) & UNDONE)
    return words[0] if words else noted_given_up(out, item, usual)


def noted_given_up(out: Outcome, item: int, usual: Outcome | None = None) -> str:
    """Return what an engine notes of the workflow of an item that did not come to its end.

    Or what it returned: a workflow that undoes and says so has ended as it should.
    """
    noted = out.noted.get(item, set()) - (usual.noted.get(item, set()) if usual else set())
    return min((one for one in noted if ENDED_SO.fullmatch(one) or _gives_up(one)), default="")


def _gives_up(noted: str) -> bool:
    _, returned, word = noted.partition("returned: ")
    return bool(returned) and bool(words_in(word) & GIVEN_UP)


def stands_for_nothing(
    clean: Clean, out: Outcome, item: int, lacking: Collection[Entry]
) -> Iterator[Difference]:
    """Yield money and goods that stand for an item which says that it was given up: a question.

    Not all is done that they were for, and nothing was taken back. Somebody may see to it; or a
    step has no compensation that needs one.

    Args:
        clean: The clean runs.
        out: What comes out where something is refused to the item for good.
        item: The item.
        lacking: The effects that it has without faults, and has not here.
    """
    wanted = any(not clean.options.is_optional(place) for place, _ in lacking)
    word = says_given_up(out, item, clean.calm)
    seen_to = out.dead.get(item) or item in out.parked  # somebody looks at it
    if not word or not wanted or seen_to or clean.ledgers.undone(out, item):
        return
    for entry in clean.ledgers.net(out, item) & clean.ledgers.net(clean.calm, item):
        place, what = spelled_place(entry[0]), spelled(entry[1])
        holds = moves(entry) and words_in(entry[0][2]) & HOLDING
        if holds and (place, word) not in clean.options.may_end:
            yield Difference(STANDS, item, place, word, f"{place}{what}", source=entry[0][1])
