"""Dead letters: how many, how old, whether anybody tried, and what they overwrite."""

import pytest

from chaosharness import (
    SQS,
    FailedCommit,
    KeyValue,
    LostReply,
    Poison,
    Schedule,
    Site,
    SQLite,
    SQSQueue,
    System,
    dead_letters_at_most,
    dead_letters_overwrite_nothing_newer,
    dead_letters_were_tried,
    idempotent,
)
from chaosharness.checkers.replays import put_back
from chaosharness.errors import InvalidDefinition

DAY_S = 86_400.0
LOST = LostReply(Site("bus.words.fifo/deliver to board", "after"))


def shop(work, *, replay=True, receives_max=1, later_s=3_600.0, store=None):
    """Two words under one key, and somebody who looks at dead letters an hour later."""
    system = System("shop")
    letters = SQSQueue(retention_ms=1_209_600_000)
    words = SQSQueue(dead_letter="dead.fifo", receives_max=receives_max)
    bus = system.add(SQS("bus", {"words.fifo": words, "dead.fifo": letters}))
    kept = system.add(store or KeyValue("kept"))

    @system.service("board")
    def board(env):
        connection = env.connect(kept)

        def on_word(word: dict):
            work(connection, word)

        env.consume(bus, "words.fifo", on_word)

    @system.service("operator")
    def operator(env):
        def look():
            env.sleep(later_s)
            if replay:
                env.consumer(bus, "dead.fifo").redrive()

        env.main(look)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        for number in (1, 2):
            word = {"id": order["id"], "n": number}
            env.publisher(bus)("words.fifo", word, key="o1", deduplication=str(number))

    return system


def last_wins(store, word):
    store.put(word["id"], word["n"])


def newest_wins(store, word):
    if store.get(word["id"], 0) < word["n"]:
        store.put(word["id"], word["n"])


def counted(store, word):
    store.put(word["id"], store.get(word["id"], 0) + 1)


def apart(store, word):
    store.put(f"{word['id']}-{word['n']}", word["n"])


OVERWRITE = dead_letters_overwrite_nothing_newer()


def judged(claim, run):
    return claim.judge(run.evidence())


def found(system, claim, *faults):
    run = system.run(None, Schedule(faults))
    assert not run.unused
    return judged(claim, run)


# ---- put back


@pytest.mark.parametrize(
    ("work", "by_claim", "by_outcome"),
    [
        (last_wins, 1, 1),
        (newest_wins, 0, 0),
        (apart, 0, 0),
        (counted, 1, 0),  # the claim says that it writes there; nothing is wrong in the end
    ],
)
def test_what_a_dead_letter_writes_over(work, by_claim, by_outcome):
    system = shop(work)
    assert len(found(system, OVERWRITE, LOST)) == by_claim
    assert len(found(system, idempotent(), LOST)) == by_outcome


def test_rows_of_a_table_are_told_by_their_item():
    def upsert(connection, word):
        connection.execute(
            "INSERT INTO last VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET n = excluded.n",
            (word["id"], word["n"]),
        )
        connection.commit()

    store = SQLite("kept", schema="CREATE TABLE last (id TEXT PRIMARY KEY, n INTEGER)")
    [one] = found(shop(upsert, store=store), OVERWRITE, LOST)
    assert one.data["key"] == "o1"
    assert "put back from the dead letters" in one.summary
    assert len(found(shop(upsert, store=store), idempotent(), LOST)) == 1


def test_a_letter_that_nobody_puts_back_overwrites_nothing():
    system = shop(last_wins, replay=False)
    run = system.run(None, Schedule([LOST]))
    assert put_back(run.history) == ()
    assert not judged(OVERWRITE, run)


def test_both_put_back_in_their_order_is_no_harm():
    down = [
        FailedCommit(
            Site("board.on_word/kept.put", message=f"{n} of client.place/bus.publish words.fifo")
        )
        for n in (1, 2)
    ]
    assert found(shop(last_wins), OVERWRITE, *down) == []


# ---- how many, how old


def test_one_letter_is_one_too_many_or_just_enough():
    system = shop(last_wins)
    [one] = found(system, dead_letters_at_most(0), LOST)
    assert one.data == {"place": "dead.fifo", "letters": 1, "most": 0}
    assert found(system, dead_letters_at_most(1), LOST) == []
    assert found(system, dead_letters_at_most(0, place="elsewhere"), LOST) == []
    assert found(system, dead_letters_at_most(0)) == []


def test_how_long_it_lay_there():
    system = shop(last_wins)
    assert found(system, dead_letters_at_most(9, age_s_max=3_700), LOST) == []
    [one] = found(system, dead_letters_at_most(9, age_s_max=3_500), LOST)
    assert "lies in dead.fifo for 3,571 s" in one.summary
    [one] = found(shop(last_wins, replay=False), dead_letters_at_most(9, age_s_max=DAY_S), LOST)
    assert "nobody takes it away" in one.summary


def test_poison_belongs_among_the_dead_letters():
    poison = Poison(Site("client.place/bus.publish words.fifo"))
    run = shop(last_wins).run(None, Schedule([poison]))
    assert [*run.history.of("dead")]
    for claim in (dead_letters_at_most(0), dead_letters_were_tried()):
        assert judged(claim, run) == []


@pytest.mark.parametrize("most", [-1, True, "3", 1.5])
def test_a_number_that_is_none_is_refused(most):
    with pytest.raises(InvalidDefinition, match="whole number from 0"):
        dead_letters_at_most(most)
    with pytest.raises(InvalidDefinition, match="more than 0"):
        dead_letters_at_most(1, age_s_max=0)


# ---- tried


def test_what_was_lost_on_its_way_was_tried_by_nobody():
    [one] = found(shop(last_wins), dead_letters_were_tried(), LOST)
    assert "handed out once and tried by nobody" in one.summary


def test_a_handler_that_raised_has_tried():
    refused = FailedCommit(Site("board.on_word/kept.put"))
    system = shop(last_wins)
    run = system.run(None, Schedule([refused]))
    assert [*run.history.of("dead")]
    assert judged(dead_letters_were_tried(), run) == []
