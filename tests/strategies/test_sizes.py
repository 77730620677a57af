"""How long trouble lasts: chosen from the durations that a system shows, and exact."""

import pytest

from chaosharness import Crash, ErrorReply, NetworkPartition, Pause, Site
from chaosharness.faults import FAULTS
from chaosharness.strategies.sizes import (
    SIZES_MAX,
    Sizes,
    in_words,
    length_of,
    option_of,
    rank,
    severity,
    sizes_of,
    variants,
    ways,
)

SITE = Site("worker.work/a.put", "after")
LONG_MS = 1_200_001
DAY_PART_MS = 7_200_000
SHOWN = ((30_000,), (10, 30_000), (10, 5_000, 10_000, 30_000, 45_000, 300_000), (2, 3, 4, 5))


def sizes(*durations, long_ms=LONG_MS):
    return sizes_of(durations, long_ms=long_ms, most_ms=DAY_PART_MS)


def test_who_shows_no_duration_gets_words_only():
    assert sizes() == Sizes()
    assert variants(Pause, SITE) == tuple(
        Pause(SITE, lasting=w) for w in ("next", "timeout", "long")
    )


def test_just_below_each_duration_is_one():
    assert sizes(10, 5_000, 10_000, 30_000, 45_000, 300_000) == Sizes(
        (4_500, 9_000, 27_000, 40_500, 270_000)
    )


def test_just_past_each_duration_is_one_where_there_is_room_and_then_come_steps():
    assert {11, 27_000, 33_000} < set(sizes(10, 30_000).ms)
    assert {27_000, 33_000} < set(sizes(30_000).ms)
    assert {18_000, 22_000, 81_000, 99_000} < set(sizes(20_000, 90_000).ms)


def test_between_neighbours_without_a_size_there_is_a_gap_and_it_is_named():
    found = sizes(10, 1_000, 5_000, 10_000, 30_000, 60_000, 1_800_000, long_ms=3_600_001)
    assert found.gaps == ((30_000, 60_000),)
    assert not any(30_000 < one < 60_000 for one in found.ms)


def test_a_sleep_that_outlasts_long_has_a_size_beyond_it():
    assert any(one > 3_600_000 for one in sizes(3_600_000).ms)
    assert all(one < DAY_PART_MS for one in sizes(3_600_000).ms)


@pytest.mark.parametrize("shown", SHOWN)
def test_order_and_repetition_do_not_matter(shown):
    assert sizes(*shown) == sizes(*reversed(shown), *shown)


@pytest.mark.parametrize("shown", SHOWN)
@pytest.mark.parametrize("kind", FAULTS)
def test_no_site_has_more_than_eight_lengths_and_all_are_whole_ms(kind, shown):
    found = ways(kind, sizes(*shown))
    lengths = {words[kind.length_name] for words in found if kind.length_name in words}
    assert len(lengths) <= SIZES_MAX
    assert all(isinstance(one, int) or one in ("next", "timeout", "long") for one in lengths)
    assert len({kind(SITE, **words) for words in found}) == len(found)


def test_a_length_in_ms_is_milder_than_long_and_worse_than_the_other_words():
    assert [fault.down for fault in variants(Crash, SITE, Sizes((47, 2_300)))] == [
        "next",
        "timeout",
        47,
        2_300,
        "long",
    ]


def test_a_search_tries_the_words_first():
    found = sorted(variants(Crash, SITE, Sizes((47, 2_300))), key=rank)
    assert [fault.down for fault in found] == ["next", "timeout", "long", 47, 2_300]


def test_a_cut_keeps_its_ways_and_has_lengths_to_both_sides():
    found = variants(NetworkPartition, SITE, Sizes((47,)))
    assert [(one.way, one.lasting) for one in found] == [
        ("both", "timeout"),
        ("out", "timeout"),
        ("back", "timeout"),
        ("both", 47),
        ("both", "long"),
    ]
    assert [option_of(one) for one in found] == [0, 1, 2, 3, 3]


def test_what_has_no_length_has_none():
    assert length_of(ErrorReply(SITE)) == 0
    assert severity(ErrorReply(SITE))[:2] == (0, 0)


@pytest.mark.parametrize(
    ("duration_ms", "words"),
    [(47, "47 ms"), (2_278, "2.3 s"), (27_000, "27 s"), (270_000, "4.5 min"), (5_400_000, "1.5 h")],
)
def test_durations_are_spelled(duration_ms, words):
    assert in_words(duration_ms) == words
