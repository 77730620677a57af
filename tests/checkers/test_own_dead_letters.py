"""Dead letters that code makes itself, in a topic of its own, as users of Kafka do."""

import pytest

from chaosharness import (
    Budget,
    FailedCommit,
    Kafka,
    KeyValue,
    Schedule,
    Site,
    System,
    dead_letters_at_most,
    dead_letters_overwrite_nothing_newer,
    dead_letters_were_tried,
    idempotent,
)
from chaosharness.checkers.replays import detours, stale

LATER_S = 2 * 86_400.0
FAILS = Schedule([FailedCommit(Site("board.work/shown.put"))])


def board(*, by_number=False, always_round=False):
    """A board that puts aside what it cannot store, and an operator who publishes it again."""
    system = System("board", budget=Budget(calm_ms=4 * 86_400_000))
    bus = system.add(Kafka("bus", {"words": 1, "aside": 1}))
    shown = system.add(KeyValue("shown"))

    @system.service("board")
    def show(env):
        store, publish = env.connect(shown), env.publisher(bus)
        seen = set()

        def work():
            consumer = env.consumer(bus, "words", reset="earliest", on_unreadable="skip")
            while True:
                for one in consumer.poll(timeout_s=5):
                    said = one.value
                    if always_round and said["number"] == 1 and not seen:
                        seen.add(1)
                        publish("aside", said, key=said["order"])
                    else:
                        take(said)
                    consumer.commit()

        def take(said):
            before = store.get(said["order"])
            if by_number and before is not None and before["number"] >= said["number"]:
                return
            try:
                store.put(said["order"], said)
            except OSError:
                publish("aside", said, key=said["order"])

        env.main(work)

    @system.service("operator")
    def operator(env):
        publish = env.publisher(bus)

        def look():
            env.sleep(LATER_S)
            consumer = env.consumer(bus, "aside", reset="earliest", on_unreadable="skip")
            while letters := consumer.poll(timeout_s=60):
                for letter in letters:
                    publish("words", letter.value, key=letter.value["order"])
                consumer.commit()

        env.main(look)

    @system.entry(examples=["o1"])
    def place(env, order):
        publish = env.publisher(bus)
        for number, word in enumerate(("placed", "cancelled"), 1):
            publish("words", {"order": order, "number": number, "word": word}, key=order)

    return system


def found(run, claim):
    evidence = run.evidence()
    assert claim.tested(evidence)
    return [one.summary for one in claim.findings(evidence)]


NEWER = dead_letters_overwrite_nothing_newer()


@pytest.mark.parametrize("claim", [idempotent(), NEWER])
def test_what_code_put_aside_and_somebody_put_back_over_newer_is_found(claim):
    naive, numbered = (board(by_number=one).run(None, FAILS) for one in (False, True))
    assert not naive.unused
    assert not numbered.unused
    assert len(found(naive, claim)) == 1
    assert found(numbered, claim) == []


def test_what_goes_round_without_faults_too_is_no_dead_letter_for_who_claims_nothing():
    run = board(always_round=True).run()
    assert found(run, NEWER) != []
    assert detours(run.history) == {("words", "aside")}
    assert stale(run.history) == {(1, "shown")}
    assert stale(run.history, detours(run.history)) == frozenset()


def test_a_topic_that_code_fills_counts_where_it_is_named():
    run = board().run(None, FAILS)
    assert found(run, dead_letters_at_most(0, place="aside")) == [
        "the 'words' message for o1 lies in aside: 1 dead letters; promised: 0 at most"
    ]
    assert len(found(run, dead_letters_at_most(5, place="aside", age_s_max=3_600))) == 1
    assert not dead_letters_at_most(0).tested(run.evidence())
    assert not dead_letters_were_tried().tested(run.evidence())
