"""What another party was asked, and did not tell: who goes on without it, and says so."""

import asyncio

import pytest
import requests

from chaosharness import (
    SQS,
    Crash,
    ErrorReply,
    External,
    Kafka,
    KeyValue,
    LostReply,
    LostRequest,
    Schedule,
    Site,
    System,
    Web,
    explore,
    idempotent,
)
from chaosharness.faults import EVERY_KIND, Poison

ORDERS = [{"id": "o1", "cents": 500}, {"id": "o2", "cents": 700}]
KINDS = [kind for kind in EVERY_KIND if kind is not Poison]


class Risk:
    def __init__(self, usual):
        self.usual = usual

    def of(self, order):
        return {"risk": self.usual}


class Bank:
    """Knows a charge by its key, whatever else is said of it."""

    def __init__(self):
        self.charges = {}

    def charge(self, order, cents, risk=None, key=None):
        return self.charges.setdefault(key, {"order": order, "cents": cents, "risk": risk})


class Careless(Bank):
    """Knows nothing again."""

    def charge(self, order, cents, risk=None, key=None):
        return super().charge(order, cents, risk, f"{key}-{len(self.charges)}")


def asked(order):
    url = "https://api.risk.example/of"
    answer = requests.get(url, params={"order": order["id"]}, timeout=2)
    answer.raise_for_status()
    return answer.json()["risk"]


def charge(order, risk, key, cents):
    body = {"order": order["id"], "cents": cents, "risk": risk}
    headers = {"Idempotency-Key": key} if key else {}
    url = "https://api.bank.example/charges"
    requests.post(url, json=body, headers=headers, timeout=10).raise_for_status()


def plain(order, risk, known):
    charge(order, risk, order["id"], order["cents"])


def dearer(order, risk, known):
    charge(order, risk, order["id"], order["cents"] + (0 if known else 50))


def nameless(order, risk, known):
    charge(order, risk, order["id"] if known else None, order["cents"])


def once_more(order, risk, known):
    plain(order, risk, known)
    if not known:
        charge(order, "manual", f"{order['id']}-again", order["cents"])


def till(pay=plain, *, usual=80, unknown=None, bank=Bank):
    system = System("till", arrival_ms=1)
    bus = system.add(Kafka("bus", {"orders": 1}))
    party = system.add(External("bank", bank))
    risk = system.add(External("risk", lambda: Risk(usual), reads=["of"]))
    system.add(Web("api.bank.example", party, routes={"POST /charges": "charge"}))
    system.add(Web("api.risk.example", risk, routes={"GET /of": "of"}))

    @system.service("till")
    def service(env):
        def on_order(order: dict):
            try:
                told, known = asked(order), True
            except requests.RequestException:
                told, known = unknown, False
            pay(order, told, known)

        env.consume(bus, "orders", on_order, on_error="retry")

    @system.entry(examples=ORDERS)
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    system.claim(idempotent())
    return system


UNTOLD = [("low", "unknown"), ("low", ""), (True, False), ({"of": 80}, None)]
REFUSED = Schedule([ErrorReply(Site("till.on_order/risk.of"))])


def test_who_says_that_it_was_not_told_holds_under_every_single_fault():
    campaign = explore(till(), faults_max=1, kinds=KINDS, runs_max=10_000)
    assert campaign.result == "holds", campaign.sentences()


@pytest.mark.parametrize(("usual", "unknown"), UNTOLD)
def test_and_has_done_nothing_more_in_whatever_words(usual, unknown):
    run = till(usual=usual, unknown=unknown).run(None, REFUSED)
    assert unknown in [event.data["risk"] for event in run.history.of("effect")]
    run.check()


@pytest.mark.parametrize("pay", [dearer, nameless, once_more])
def test_other_money_another_name_and_a_second_charge_are_told(pay):
    with pytest.raises(AssertionError, match=r"bank\.charge|bank did charge"):
        till(pay).run(None, REFUSED).check()


BOTH = Schedule(
    [
        ErrorReply(Site("till.on_order/risk.of")),
        LostReply(Site("till.on_order/bank.charge", "after")),
    ]
)
"""The first charge says that the risk is not known, and has no answer; the second says it."""


def test_a_charge_that_is_known_by_its_key_is_no_second_one_whatever_else_it_says():
    run = till().run(None, BOTH)
    assert [event.data["risk"] for event in run.history.of("effect") if event.entity == 1] == [None]
    run.check()


def test_and_where_nobody_knows_it_there_are_two():
    run = till(bank=Careless).run(None, BOTH)
    assert len([event for event in run.history.of("effect") if event.entity == 1]) == 2
    with pytest.raises(AssertionError, match="twice"):
        run.check()


def test_another_number_may_be_money_and_is_told():
    with pytest.raises(AssertionError, match=r"bank\.charge"):
        till(unknown=0).run(None, REFUSED).check()


def hurried():
    """The risk is asked with a deadline of its own, and kept before anybody is charged."""
    system = System("hurried", arrival_ms=1)
    bus = system.add(SQS("bus", ["orders"]))
    party = system.add(External("bank", Bank))
    risk = system.add(External("risk", lambda: Risk(80), reads=["of"]))
    risks = system.add(KeyValue("risks"))

    @system.service("till", runtime="asyncio")
    def service(env):
        kept, money, ask = env.connect(risks), env.client(party), env.client(risk)

        async def on_order(order: dict):
            if await kept.get(order["id"]) is None:
                try:
                    told = (await asyncio.wait_for(ask.of(order["id"]), 2))["risk"]
                except OSError:  # TimeoutError is one
                    told = None
                await kept.put_if_absent(order["id"], {"risk": told})
            told = (await kept.get(order["id"]))["risk"]
            await money.charge(order["id"], order["cents"], told, key=order["id"])

        env.consume(bus, "orders", on_order)

    @system.entry(examples=ORDERS)
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    system.claim(idempotent())
    return system


def test_who_gave_up_waiting_and_died_behind_what_it_kept_had_decided():
    lost = LostRequest(Site("till.on_order/risk.of"))
    died = Crash(Site("till.on_order/risks.put_if_absent", "after"), down="timeout")
    run = hurried().run(None, Schedule([lost, died]))
    assert not run.unused
    assert [event.data["risk"] for event in run.history.of("effect") if event.entity == 1] == [None]
    run.check()
