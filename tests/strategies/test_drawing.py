"""Five numbers a fault, read and written."""

from random import Random

import pytest

from chaosharness import Crash, Delay, ErrorReply, LostReply, Schedule, Site
from chaosharness.errors import InvalidDefinition
from chaosharness.strategies.drawing import Deck, deck_for
from chaosharness.strategies.places import places
from tests.strategies.shops import CHARGE, shop

SHOP = shop()


@pytest.fixture(scope="module")
def deck():
    return deck_for(SHOP, faults_max=3)


def picks(numbers):
    left = iter(numbers)
    return lambda top: next(left)


def chance(seed):
    return Random(seed).randint


def draw(deck, seed):
    random = Random(seed)
    return deck.read(lambda top: random.randint(0, top))


def test_zero_is_calm(deck):
    assert deck.read(lambda top: 0) == Schedule()


def test_what_is_drawn_can_be_written_and_read_again(deck):
    for seed in range(500):
        schedule = draw(deck, seed)
        numbers = deck.write(schedule)
        assert numbers is not None
        assert deck.read(picks(numbers)) == schedule


def test_a_fault_costs_five_numbers_and_the_end_one(deck):
    for seed in range(200):
        schedule = draw(deck, seed)
        assert len(deck.write(schedule)) == 5 * len(schedule) + 1


def test_any_five_numbers_in_a_row_can_be_deleted(deck):
    """The full schedule too ends with a stop: else no fault of it could be deleted."""
    schedule = next(one for one in (draw(deck, seed) for seed in range(500)) if len(one) == 3)
    numbers = deck.write(schedule)
    for start in range(0, 15, 5):
        fewer = deck.read(picks(numbers[:start] + numbers[start + 5 :]))
        assert len(fewer) == 2
        assert set(fewer) < set(schedule)


def test_another_kind_keeps_its_place_where_that_is_legal(deck):
    fault = LostReply(Site(CHARGE, "after", entity=2, attempt=2))
    kind, *rest = deck.choices(fault)
    harder = kind + deck.kinds.index(Crash) - deck.kinds.index(LostReply)
    assert deck.fault((harder, *rest)).site == fault.site


def test_every_drawn_fault_is_legal_where_it_strikes(deck):
    for seed in range(300):
        schedule = draw(deck, seed)
        SHOP.run(None, schedule)  # an illegal fault would be refused


@pytest.mark.parametrize(
    "fault",
    [
        Crash(Site("nobody.knows/this", "after")),
        Crash(Site(CHARGE, "after"), down=1234),
        Crash(Site(CHARGE, "after", entity=9)),
        Crash(Site(CHARGE, "after", attempt=99)),
        Crash(Site(CHARGE, "before")),
    ],
    ids=["operation", "duration of one's own", "item", "attempt", "equal to another"],
)
def test_what_the_deck_does_not_hold_cannot_be_written(deck, fault):
    assert deck.choices(fault) is None
    assert deck.write(Schedule([fault])) is None


def test_too_many_faults_cannot_be_written(deck):
    faults = [ErrorReply(Site(CHARGE, entity=entity)) for entity in range(1, 5)]
    assert deck.write(Schedule(faults)) is None


def test_only_the_wanted_kinds_are_drawn():
    deck = deck_for(SHOP, faults_max=3, kinds=[Crash])
    kinds = {type(fault) for seed in range(100) for fault in draw(deck, seed)}
    assert kinds == {Crash}


def test_faults_strike_no_items_beyond_the_last():
    deck = Deck(places(SHOP), faults_max=3, items_max=2)
    entities = {fault.site.entity for seed in range(200) for fault in draw(deck, seed)}
    assert entities == {0, 1, 2}


def test_first_items_and_attempts_come_up_most(deck):
    sites = [fault.site for seed in range(500) for fault in draw(deck, seed)]
    first = [site for site in sites if site.entity == 1 and site.attempt == 1]
    assert len(first) > len(sites) / 5  # evenly, it would be one in 32


def test_kinds_that_cannot_strike_are_refused():
    from chaosharness import Redeliver

    with pytest.raises(InvalidDefinition, match=r"\(Redeliver\) can strike system 'shop'.*Delay"):
        deck_for(SHOP, faults_max=1, kinds=[Redeliver])


def test_the_order_of_kinds_does_not_matter():
    one = deck_for(SHOP, faults_max=1, kinds=[Crash, Delay])
    other = deck_for(SHOP, faults_max=1, kinds=[Delay, Crash])
    assert one.kinds == other.kinds == (Delay, Crash)
