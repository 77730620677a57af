"""The text that a person reads, word for word."""

from textwrap import dedent

import attrs
import pytest

from chaosharness.checkers import Finding, never_stuck, sometimes
from chaosharness.counterexample import Counterexample
from chaosharness.faults import Poison
from chaosharness.kernel.history import History
from chaosharness.kernel.site import Site
from chaosharness.reporting import history_from_json, history_to_json, to_text
from tests.reporting.measures import is_narrow
from tests.reporting.shops import double_charge, everything, found, second_mail, small


def test_a_double_charge_reads_like_this():
    assert to_text(double_charge()) == dedent("""\
        BROKEN: never charged twice                                          system shop

          order o1 was charged 2 times for 500 cents each; promised: once

          payments.on_order asks for bank.charge 2 times, and no request carries an
          idempotency key: bank takes each for new.

          payments#1 crashes after bank.charge for item 1 (o1), before it has
          acknowledged o1 from orders. bus delivers o1 from orders again, to payments#2,
          because nobody had acknowledged it. So on_order asks for bank.charge for the
          2nd time, for the same message.

          Usually prevents it: an idempotency key made from what the request is about
          (the order's id), the same at each attempt.
          (docs/explanation/causes.md#one-key-for-one-request)

        Schedule: 1 fault, needed (found after 12 runs, made small in 31 more)
          1. payments crashes after bank.charge for item 1 (o1), and restarts at once.
             Without fault 1: passes.

          Schedule([Crash(Site("payments.on_order/bank.charge", "after"))])

        What happened (virtual time in seconds; ✗: what was found)
           1    0.000  client → bus       publishes o1 to orders: cents=500 id=o1
           2    0.001  bus → payments#1   delivers o1 from orders
           3    0.001  payments#1 → bank  charge order=o1 cents=500
           4 ✗  0.011  bank               ledger 1: charge order=o1 cents=500
           5 !  0.011  payments#1         CRASHES after bank.charge   ← fault 1
           6    0.012  payments#1         restarts (incarnation 2)
                      … 5 events of item 2 (o2)
           7   45.011  bus                rebalances consumer group payments: session
                                          timeout
           8   45.012  bus → payments#2   delivers o1 from orders again, for the 2nd
                                          time
           9   45.012  payments#2 → bank  charge order=o1 cents=500
          10 ✗ 45.022  bank               ledger 3: charge order=o1 cents=500
                      … 6 events: 4 of item 1 (o1)

        Ledger of bank
           1    0.011  charge order=o1 cents=500   ← step 4
           2    0.021  charge order=o2 cents=700
           3   45.022  charge order=o1 cents=500   ← step 10

        First difference from the nearest passing run, at 0.011 s
          here:    payments#1  CRASHES after bank.charge
          passing: bank → payments#1  replies: ok

        Replay:   chaosharness replay shop-never-charged-twice.json
        Pytest:   test_shop_never_charged_twice.py
        """)


def test_what_led_to_the_first_message_of_the_story_is_left_out():
    text = " ".join(to_text(second_mail()).split())
    assert "delivers ada@example.org from shipped again, for the 2nd" in text
    assert "because the handler raised" in text
    assert "delivers ord-7101 from orders" not in text
    assert "ord-7101 comes in" in text, "who asked for it is never left out"


def test_a_poison_message_that_blocks_a_log_partition_is_told_and_not_two_hundred_times():
    system = small()
    site = Site("client.place/bus.publish orders")
    text = to_text(found(system, Poison(site), claim=never_stuck()))
    assert "payments.on_order raises DecodeError" in text
    assert "200 times in all" in text
    assert "deliveries of one message" in text
    assert len(text.splitlines()) < 60


@pytest.mark.parametrize("width", [20, 60, 72, 80, 200])
@pytest.mark.parametrize("make", [double_charge, everything, second_mail])
def test_no_line_is_wider_than_the_width_between_60_and_80(make, width):
    text = to_text(make(), width=width)
    assert is_narrow(text, min(max(width, 60), 80))


def test_colours_change_nothing_but_colours():
    plain, painted = to_text(double_charge()), to_text(double_charge(), color=True)
    assert "\x1b[1;31m" in painted
    for code in ("0", "1", "2", "33", "1;31"):
        painted = painted.replace(f"\x1b[{code}m", "")
    assert painted == plain


def test_the_same_value_gives_the_same_text_and_a_history_read_back_does_too():
    one = double_charge()
    assert to_text(one) == to_text(one) == to_text(double_charge())
    back = history_from_json(history_to_json(one.history, system="shop"))
    assert to_text(attrs.evolve(one, history=back)) == to_text(one)


def test_a_file_without_its_history_says_how_to_get_it():
    text = to_text(Counterexample.decode(double_charge().encode()))
    assert "The history is not at hand: replay the file to see what happened." in text
    assert "order o1 was charged 2 times" in text
    assert "payments crashes after bank.charge for item 1 (o1), and restarts at once." in text


def test_a_finding_that_needs_no_fault_says_so():
    run = small().run()
    calm = attrs.evolve(
        double_charge(),
        schedule=run.schedule,
        history=run.history,
        findings=(Finding("it is broken by itself", (10,), 1),),
        passing=None,
    )
    text = to_text(calm)
    assert "No fault is needed: it happens in calm." in text
    assert "Schedule" not in text


def test_a_case_that_was_never_reached_has_no_events_to_show():
    claim = sometimes("a refund happened", lambda history: False)
    one = Counterexample(claim.name, "shop", small().run().schedule, (), (Finding("no"),), "")
    assert "BROKEN: a refund happened" in to_text(one)
    assert "BROKEN: a refund happened" in to_text(attrs.evolve(one, history=small().run().history))


def test_findings_that_point_nowhere_break_nothing():
    one = attrs.evolve(double_charge(), findings=(Finding("off", (-3, 10_000), 99),))
    assert "BROKEN: never charged twice" in to_text(one)
    assert "BROKEN: never charged twice" in to_text(attrs.evolve(one, history=History()))


def test_further_findings_are_named_too():
    one = double_charge()
    more = tuple(Finding(f"and order o{number} as well") for number in range(2, 9))
    text = to_text(attrs.evolve(one, findings=one.findings + more))
    assert "also: and order o2 as well" in text
    assert "o5 as well" not in text, "the first four say enough"
