"""What a claim may return, when it is judged, and what is refused when it is made."""

import pytest

from chaosharness import (
    Gateway,
    Kafka,
    System,
    always,
    announced,
    compensation_complete,
    compensation_in_reverse,
    eventually,
    every_saga_settles,
    explore,
    joins_complete,
    never_stuck,
    never_twice,
    no_event_cycle,
    poison_blocks_nobody,
    sometimes,
    unhandled_exceptions_block_nobody,
)
from chaosharness.errors import InvalidDefinition
from chaosharness.faults import ErrorReply
from chaosharness.kernel.budget import FOR_EVER
from tests.checkers.tales import Tale, is_tested, judge

QUIET = Tale().end()


def said(answer):
    return [one.summary for one in judge(eventually("paid", lambda history: answer), QUIET)]


@pytest.mark.parametrize("answer", [True, "", "  ", [], (), iter(())])
def test_nothing_is_missing(answer):
    assert said(answer) == []


@pytest.mark.parametrize(
    ("answer", "summaries"),
    [
        (False, ["paid: not so when the run was over"]),
        ("o1 never was", ["paid: o1 never was"]),
        (["o1 never was", "o2 twice"], ["paid: o1 never was", "paid: o2 twice"]),
        ((f"o{n} never was" for n in (1, 2)), ["paid: o1 never was", "paid: o2 never was"]),
    ],
)
def test_a_sentence_says_what_is_missing(answer, summaries):
    assert said(answer) == summaries


@pytest.mark.parametrize("answer", [None, 0, 3, {}, {"o1": 1}, [1], [None], b"o1", object()])
def test_what_says_neither_is_refused(answer):
    with pytest.raises(InvalidDefinition, match=r"'paid' returned .*: return True or False"):
        said(answer)


@pytest.mark.parametrize("answers", [(True, []), ([], True), (False, "")])
def test_an_empty_list_beside_true_and_false_is_a_slip(answers):
    given = iter(answers)
    one = eventually("paid", lambda history: next(given))
    judge(one, QUIET)
    with pytest.raises(InvalidDefinition, match="write 'bool"):
        judge(one, QUIET)


def test_true_or_a_sentence_is_no_slip():
    answers = iter([True, ["o1 never was"], False])
    one = eventually("paid", lambda history: next(answers))
    assert [len(judge(one, QUIET)) for _ in range(3)] == [0, 1, 1]


def two_items():
    tale = Tale()
    for entity in (1, 2):
        tale.add("arrive", "client", entity=entity, item={"id": f"o{entity}"})
    return tale


def test_a_sentence_that_names_one_item_is_about_it():
    sentences = ["o2 was never paid", "o1 and o2 differ", "o22 is unknown"]
    found = judge(eventually("paid", lambda history: sentences), two_items().end())
    assert [one.entity for one in found] == [2, 0, 0]


@pytest.mark.parametrize("verdict", ["budget", "stuck", "spinning"])
def test_a_run_that_did_not_end_is_not_judged(verdict):
    tale = Tale()
    tale.end(verdict, "for ever")
    one = eventually("paid", lambda history: False)
    assert judge(one, tale) == []
    assert not is_tested(one, tale)
    assert is_tested(one, QUIET)
    assert len(judge(never_stuck(), tale)) == 1


def test_a_run_in_which_all_wait_for_ever_has_ended():
    tale = Tale()
    tale.end("stuck", f"worker.main {FOR_EVER}")
    one = eventually("paid", lambda history: False)
    assert len(judge(one, tale)) == 1
    assert is_tested(one, tale)


def test_always_is_judged_wherever_the_run_ended():
    tale = Tale()
    tale.charge(cents=-1)
    tale.end("budget", "for ever")
    one = always("positive", lambda event: event.data["cents"] > 0, kinds="effect")
    assert len(judge(one, tale)) == 1
    assert is_tested(one, tale)


def test_always_may_say_what_is_wrong():
    tale = Tale()
    tale.charge(cents=-1)
    tale.charge(cents=5)

    def negative(event):
        return [] if event.data["cents"] > 0 else [f"{event.data['cents']} cents"]

    [found] = judge(always("positive", negative, kinds=["effect"]), tale)
    assert found.summary.startswith("positive: -1 cents, at e0 ")


@pytest.mark.parametrize("kinds", [["efect"], "efect", ["effect", "efect"]])
def test_a_kind_that_there_is_not_is_refused_at_once(kinds):
    with pytest.raises(
        InvalidDefinition, match=r"no kind of event 'efect'.*; the kinds are: arrive"
    ):
        always("positive", lambda event: True, kinds=kinds)


def test_so_is_no_kind_at_all():
    with pytest.raises(InvalidDefinition, match="no kind of event to look at; the kinds are"):
        always("positive", lambda event: True, kinds=[])


def test_so_is_what_cannot_be_called():
    with pytest.raises(InvalidDefinition, match="'paid' needs a function"):
        eventually("paid", True)
    with pytest.raises(InvalidDefinition, match="'paid' needs a function"):
        always("paid", "x", kinds=["note"])


# ---- or put aside


def shop(*, tries):
    """Orders that are charged; after some tries they are put aside."""
    system = System("shop")
    bus = system.add(Kafka("bus", topics={"orders": 1}))
    bank = system.add(Gateway("bank"))

    @system.service("payments")
    def payments(env):
        client = env.client(bank)

        def on_order(order: dict):
            if order["cents"]:
                client.charge(order["id"], order["cents"], key=order["id"])

        env.consume(bus, "orders", on_order, on_error="dead-letter", retries_max=tries)

    @system.entry(examples=[{"id": "o1", "cents": 5}, {"id": "o2", "cents": 5}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def unpaid(history):
    paid = {event.data["order"] for event in history.of("effect")}
    return [f"{order} was never paid" for order in ("o1", "o2") if order not in paid]


def all_paid(history):
    return unpaid(history) == []


@pytest.mark.parametrize("holds", [unpaid, all_paid])
def test_what_was_put_aside_is_excused_where_the_claim_says_so(holds):
    for or_put_aside, result in ((False, "violated"), (True, "holds")):
        one = eventually("every order is paid", holds, or_put_aside=or_put_aside)
        campaign = explore(shop(tries=1), properties=[one], kinds=[ErrorReply], faults_max=1)
        assert campaign.result == result


def test_what_was_not_put_aside_is_not_excused():
    one = eventually("every order is paid", unpaid, or_put_aside=True)
    run = shop(tries=20).run([{"id": "o1", "cents": 0}])
    assert len(one.findings(run.evidence())) == 2


def test_a_sentence_about_another_item_still_counts():
    tale = two_items()
    message = tale.publish("orders", "o1")
    tale.then("dead", tale.deliver(message, "shop"), message=message, to="orders.DLT")
    sentences = ["o1 was never paid", "o2 was never paid", "nobody was paid"]
    one = eventually("paid", lambda history: sentences, or_put_aside=True)
    assert [found.summary for found in judge(one, tale.end())] == ["paid: o2 was never paid"]


def test_poison_that_was_put_aside_excuses_nothing():
    tale = Tale()
    message = tale.publish("orders", None, value=b"\x00\xff not what you expect", entity=0)
    tale.then("dead", tale.deliver(message, "shop"), message=message, to="orders.DLT")
    one = eventually("paid", lambda history: False, or_put_aside=True)
    assert len(judge(one, tale.end())) == 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: never_twice(3, "send"), "3 is no part of a system"),
        (lambda: never_twice([4], "send"), "4 is no part of a system"),
        (lambda: announced(None, "orders", "placed"), "None is no part of a system"),
        (lambda: compensation_complete(3), "which step is undone by which.*not 3"),
        (lambda: compensation_in_reverse(["charge"]), r"undone by which.*not \['charge'\]"),
        (lambda: joins_complete("paid", "confirmed"), "which topics are joined.*not 'paid'"),
        (lambda: joins_complete(3, "confirmed"), "which topics are joined.*not 3"),
    ],
)
def test_what_a_property_is_about_is_checked_when_it_is_made(make, words):
    with pytest.raises(InvalidDefinition, match=f"(?s){words}.*test_property.py:"):
        make()


def test_the_name_of_a_claim_in_words_is_told_once():
    claim = eventually("each order ends", lambda history: ["order o1 waits for ever"])
    tale = Tale()
    tale.end("quiet")
    found = judge(claim, tale)
    told = str(claim.violation(found)).splitlines()[0]
    assert told == "each order ends: order o1 waits for ever"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: no_event_cycle(turns_max=None), "turns_max must be a whole number from 0, not No"),
        (lambda: no_event_cycle(turns_max="3"), "turns_max must be a whole number from 0, not '3'"),
        (lambda: poison_blocks_nobody(tries_max=-1), "tries_max must be a whole number from 0"),
        (lambda: unhandled_exceptions_block_nobody(tries_max="x"), "tries_max must be a whole"),
        (lambda: every_saga_settles(by=5), "5 is neither a name nor several .*write 'order'"),
        (lambda: sometimes("reached", None), "'reached' needs a function that says whether"),
    ],
)
def test_what_a_claim_is_given_is_checked_where_it_is_given(make, words):
    with pytest.raises(InvalidDefinition, match=words):
        make()
