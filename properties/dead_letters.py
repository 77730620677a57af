"""Dead letters: tried before they are put aside, few, and harmless when somebody puts them back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chaosharness import (
    FailedCommit,
    LostReply,
    Redeliver,
    Schedule,
    Site,
    System,
    dead_letters_at_most,
    dead_letters_overwrite_nothing_newer,
    dead_letters_were_tried,
    idempotent,
)
from chaosharness.faults import Fault
from models.aws import till
from models.dead_letters import board
from properties import broken_by, kept_by

OVERWRITE = dead_letters_overwrite_nothing_newer()
FIRST_WORD = "1 of desk.on_order/bus.publish words"
CAUGHT: list[tuple[Callable[[], System], Fault]] = [
    (
        board.replayed_over_newer_on_sqs,
        LostReply(Site("bus.words.fifo/deliver to board", "after", message=f"{FIRST_WORD}.fifo")),
    ),
    (
        board.replayed_over_newer_on_rabbitmq,
        Redeliver(Site("bus.words/deliver to board", "after", message=FIRST_WORD)),
    ),
    (
        board.replayed_over_newer_on_kafka,
        FailedCommit(Site("board.on_word/shown.put", message=FIRST_WORD)),
    ),
    (
        board.replayed_over_newer_on_nats,
        FailedCommit(Site("board.on_word/shown.put", message=FIRST_WORD)),
    ),
]
RIGHT = [
    board.numbered_on_sqs,
    board.numbered_on_rabbitmq,
    board.numbered_on_kafka,
    board.numbered_on_nats,
    board.numbered_on_redis,
]


@pytest.mark.parametrize(("twin", "fault"), CAUGHT)
def test_what_is_put_back_overwrites_what_is_newer(
    twin: Callable[[], System], fault: Fault
) -> None:
    assert broken_by(twin(), OVERWRITE) == Schedule([fault])


@pytest.mark.parametrize("right", RIGHT)
@pytest.mark.parametrize("claim", [OVERWRITE, idempotent()])
def test_with_numbers_it_changes_nothing(right: Callable[[], System], claim: object) -> None:
    assert kept_by(right(), claim)  # type: ignore[arg-type]


def test_what_is_throttled_is_put_aside_and_nobody_has_seen_it() -> None:
    assert broken_by(till.throttled(), dead_letters_were_tried()) == Schedule()
    assert kept_by(till.bounded(), dead_letters_were_tried())


def test_an_alert_goes_off_at_the_first_dead_letter_or_at_the_second() -> None:
    twin = board.numbered_on_sqs()
    at_once = broken_by(twin, dead_letters_at_most(0, place="dead.fifo"))
    assert [type(one) for one in at_once] == [LostReply]
    assert broken_by(twin, dead_letters_at_most(1, place="dead.fifo")) != at_once


def test_an_alert_on_age_goes_off_before_somebody_looks() -> None:
    twin = board.numbered_on_sqs()
    day_s = 86_400.0
    old = broken_by(twin, dead_letters_at_most(99, age_s_max=day_s))
    assert len(old) == 1
    assert kept_by(twin, dead_letters_at_most(99, age_s_max=3 * day_s))
