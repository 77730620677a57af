"""What stands beside money that was taken back: it came late, after what should have undone it.

No clean run ends so, and what is lacking is not what is wrong: that was done, and taken back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from chaosharness.checkers.outcomes.clean import Clean
from chaosharness.checkers.outcomes.differences import Difference, moves
from chaosharness.checkers.outcomes.outcome import Outcome, spelled_place
from chaosharness.checkers.outcomes.sanity import can_be_undone
from chaosharness.checkers.outcomes.values import spelled


def left_beside(
    clean: Clean, seen: Outcome, differences: Iterable[Difference]
) -> Iterator[Difference]:
    """Yield what stands for items that lack money or goods since these were taken back.

    Args:
        clean: The clean runs.
        seen: What came out.
        differences: From the nearest clean run.
    """
    ledgers, calm = clean.ledgers, clean.calm
    for item in sorted({one.item for one in differences if one.kind == "effect lost" and one.item}):
        full, net = ledgers.net(calm, item), ledgers.net(seen, item)
        usual = {one for one, _ in ledgers.undone(calm, item)}
        back = [(one, by) for one, by in ledgers.undone(seen, item) if one not in usual]
        lost = full - net
        by = sorted({spelled_place(by) for one, by in back if one in lost and moves(one)})
        if not by or not {*lost} <= {one for one, _ in back}:
            continue
        for entry in net & full:
            if can_be_undone(clean, entry):
                place = spelled_place(entry[0])
                words = f"was taken back by {', '.join(by)}, and yet {place}{spelled(entry[1])}"
                source = entry[0][1]
                yield Difference("half done", item, place, f"{words} stands", source=source)
