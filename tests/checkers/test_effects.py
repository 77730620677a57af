"""Charges and other effects: histories by hand, and the exact findings."""

from types import SimpleNamespace

import pytest

from chaosharness import External, System
from chaosharness.checkers import Finding, never_charged_twice, never_twice
from chaosharness.errors import InvalidDefinition
from tests.checkers.tales import Tale, is_tested, judge


def test_two_charges_of_one_order_are_found():
    tale = Tale()
    tale.charge("o1", 500)
    tale.charge("o2", 700, entity=2)
    tale.charge("o1", 500)
    assert judge(never_charged_twice(), tale) == [
        Finding(
            "order o1 was charged 2 times for 500 cents each; promised: once",
            (0, 2),
            1,
            {"charges": 2, "cents": [500, 500], "order": "o1", "keys": [None, None]},
        )
    ]


def test_amounts_that_differ_are_listed():
    tale = Tale()
    tale.charge("o1", 500)
    tale.charge("o1", 300)
    tale.charge("o1", 20)
    [finding] = judge(never_charged_twice(), tale)
    assert finding.summary == "order o1 was charged 3 times, for 500, 300, 20 cents; promised: once"
    assert finding.events == (0, 1, 2)


@pytest.mark.parametrize("refunds", [[500], [200, 300]])
def test_a_charge_after_a_whole_refund_is_legal(refunds):
    tale = Tale()
    tale.charge("o1", 500)
    for cents in refunds:
        tale.refund("o1", cents)
    tale.charge("o1", 500)
    assert judge(never_charged_twice(), tale) == []


def test_a_charge_after_part_of_a_refund_is_not():
    tale = Tale()
    tale.charge("o1", 500)
    tale.refund("o1", 200)
    tale.charge("o1", 500)
    assert len(judge(never_charged_twice(), tale)) == 1


def test_a_refund_afterwards_does_not_heal_it():
    tale = Tale()
    tale.charge("o1", 500)
    tale.charge("o1", 500)
    tale.refund("o1", 1000)
    [finding] = judge(never_charged_twice(), tale)
    assert finding.events == (0, 1)


def test_gateways_are_taken_one_by_one_unless_they_are_named_together():
    tale = Tale()
    tale.charge("o1", bank="stripe")
    tale.charge("o1", bank="adyen")
    assert judge(never_charged_twice(), tale) == []
    assert judge(never_charged_twice("stripe"), tale) == []
    assert len(judge(never_charged_twice(["stripe", "adyen"]), tale)) == 1


def test_an_idempotency_key_charged_twice_is_found_even_after_a_refund():
    tale = Tale()
    tale.charge("o1", key="k1")
    tale.refund("o1")
    tale.charge("o1", key="k1")
    [finding] = judge(never_charged_twice(), tale)
    assert finding.summary.startswith("idempotency key k1 was charged 2 times")


def test_one_double_charge_is_one_finding_though_its_key_was_used_twice_too():
    tale = Tale()
    tale.charge("o1", key="k1")
    tale.charge("o1", key="k1")
    [finding] = judge(never_charged_twice(), tale)
    assert finding.summary.startswith("order o1")


def test_instalments_are_legal_per_key():
    tale = Tale()
    tale.charge("o1", 500, key="first")
    tale.charge("o1", 500, key="second")
    assert judge(never_charged_twice(per="key"), tale) == []
    assert len(judge(never_charged_twice(), tale)) == 1


def test_a_charge_puts_it_to_the_test_and_a_refund_does_not():
    tale = Tale()
    tale.refund("o1")
    assert not is_tested(never_charged_twice(), tale)
    tale.charge("o1", bank="other")
    assert is_tested(never_charged_twice(), tale)
    assert not is_tested(never_charged_twice("bank"), tale)


# ---- any effect


def test_the_same_effect_twice_is_found():
    tale = Tale()
    tale.effect("mailer", "send", to="ada", text="paid")
    tale.effect("mailer", "send", to="bob", text="paid")
    tale.effect("mailer", "send", to="ada", text="paid")
    assert judge(never_twice("mailer", "send"), tale) == [
        Finding(
            "mailer did send(to='ada', text='paid') 2 times; promised: once",
            (0, 2),
            1,
            {"external": "mailer", "method": "send", "times": 2, "allowed": 1},
        )
    ]


@pytest.mark.parametrize("key", ["to", ("to",), lambda data: data["to"]])
def test_a_key_says_what_makes_effects_the_same(key):
    tale = Tale()
    tale.effect("mailer", "send", to="ada", text="paid")
    tale.effect("mailer", "send", to="ada", text="sent")
    assert judge(never_twice("mailer", "send"), tale) == []
    assert len(judge(never_twice("mailer", "send", key=key), tale)) == 1


def test_what_was_undone_may_be_done_again():
    tale = Tale()
    tale.effect("hotel", "book", order="o1", nights=2)
    tale.effect("hotel", "cancel", order="o1")
    tale.effect("hotel", "book", order="o1", nights=2)
    assert len(judge(never_twice("hotel", "book"), tale)) == 1
    assert judge(never_twice("hotel", "book", undone_by="cancel"), tale) == []
    assert judge(never_twice("hotel", undone_by=None), tale) == []


def test_third_parties_named_together_stand_in_for_each_other():
    tale = Tale()
    tale.effect("ups", "book", order="o1")
    tale.effect("dhl", "book", order="o1")
    assert judge(never_twice("ups", "book"), tale) == []
    [finding] = judge(never_twice(["ups", "dhl"], "book"), tale)
    assert finding.summary == "dhl/ups did book(order='o1') 2 times; promised: once"


def test_undoing_somebody_elses_does_not_count():
    tale = Tale()
    tale.effect("hotel", "book", order="o1")
    tale.effect("hotel", "cancel", order="o2", entity=2)
    tale.effect("hotel", "book", order="o1")
    assert len(judge(never_twice("hotel", "book", undone_by="cancel"), tale)) == 1
    assert len(judge(never_twice("hotel", undone_by=None), tale)) == 1


def test_what_the_calm_run_does_twice_may_be_done_twice():
    calm = Tale()
    calm.effect("hotel", "book", room=1)
    calm.effect("hotel", "book", room=1)
    tale = Tale()
    for _ in range(3):
        tale.effect("hotel", "book", room=1)
    one = never_twice("hotel", as_in_calm=True)
    assert judge(one, calm, calm) == []
    [finding] = judge(one, tale, calm)
    assert finding.summary == "hotel did book(room=1) 3 times; in the calm run: 2 times"


def test_two_items_may_ask_for_the_same():
    tale = Tale()
    tale.effect("hotel", "book", room=1, entity=1)
    tale.effect("hotel", "book", room=1, entity=2)
    assert judge(never_twice("hotel", as_in_calm=True), tale, Tale()) == []
    assert len(judge(never_twice("hotel"), tale)) == 1


def test_any_effect_of_that_method_puts_it_to_the_test():
    tale = Tale()
    tale.effect("hotel", "book", room=1)
    assert is_tested(never_twice("hotel"), tale)
    assert is_tested(never_twice("hotel", "book"), tale)
    assert not is_tested(never_twice("hotel", "cancel"), tale)
    assert not is_tested(never_twice("bank"), tale)


def test_a_key_that_no_request_has_is_a_mistake():
    system = System("mails")
    mail = system.add(External("mail", lambda: SimpleNamespace(send=lambda to: None)))

    @system.service("w")
    def w(env):
        client = env.client(mail)
        env.main(lambda: [client.send("a"), client.send("b")])

    @system.entry(examples=[1])
    def nothing(env, item): ...

    run = system.run()
    for claim in (
        never_twice(mail, "send", key="who"),
        never_twice(mail, "send", key=["to", "who"]),
    ):
        with pytest.raises(InvalidDefinition, match="has no argument 'who'; it has: "):
            run.check(claim)
    run.check(never_twice(mail, "send", key="to"), never_twice(mail, "other", key="who"))


def test_a_business_key_that_no_charge_has_puts_nothing_to_the_test():
    tale = Tale()
    tale.charge("o1")
    assert is_tested(never_charged_twice("bank"), tale)
    assert not is_tested(never_charged_twice("bank", per="odrer"), tale)


@pytest.mark.parametrize("per", [None, 5, "", ("order",)])
def test_a_business_key_is_the_name_of_an_argument(per):
    with pytest.raises(InvalidDefinition, match="per must be the name of an argument of charge"):
        never_charged_twice("bank", per=per)
