"""Undoing: under one key for all attempts, and of what nobody knows whether it happened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chaosharness import (
    Command,
    ErrorReply,
    External,
    Fallback,
    Gateway,
    LostReply,
    LostRequest,
    Orchestrator,
    Retry,
    Saga,
    SagaStore,
    Schedule,
    Site,
    Step,
    System,
    assumed,
    explore,
)
from chaosharness.faults import Crash, Delay, Fault

PATIENT = Retry(times=100)


class CannotDeliver(Exception):
    """The courier takes no such parcel, ever."""


class Bank:
    """Keeps the rule: what was undone under a key is not done under it any more."""

    def __init__(self) -> None:
        self.charged: set[str] = set()
        self.undone: set[str] = set()

    def charge(self, order: str, cents: int) -> Any:
        if order in self.charged | self.undone:
            return External.unchanged("known")
        self.charged.add(order)
        return "charged"

    def refund(self, order: str, cents: int) -> Any:
        if order in self.undone:
            return External.unchanged("known")
        self.undone.add(order)
        return "paid back" if order in self.charged else External.unchanged("nothing to do")


class PaysBackAnyway(Bank):
    """Gives back what it never took."""

    def refund(self, order: str, cents: int) -> Any:
        if order in self.undone:
            return External.unchanged("known")
        self.undone.add(order)
        return "paid back"


class ChargesLate(Bank):
    """Does what it is asked for late, after it was undone."""

    def charge(self, order: str, cents: int) -> Any:
        if order in self.charged:
            return External.unchanged("known")
        self.charged.add(order)
        return "charged"

    def refund(self, order: str, cents: int) -> Any:
        if order not in self.charged or order in self.undone:
            return External.unchanged("nothing to do")
        self.undone.add(order)
        return "paid back"


def shop(saga: Saga, bank_is: External | Gateway, calls: Callable[[Any], dict[str, Any]]) -> System:
    system = System("shop")
    store, bank = system.add(SagaStore("sagas")), system.add(bank_is)

    @system.service("orders")
    def orders(env: Any) -> None:
        def sagas() -> Orchestrator:
            return Orchestrator(
                saga,
                env.connect(store),
                now_ms=env.now_ms,
                sleep=env.sleep,
                calls=calls(env.client(bank)),
                refusals=(CannotDeliver,),
                not_happened=(ConnectionError,),
            )

        def order(id: str) -> None:
            sagas().start(id)

        env.serve("order", order)
        env.main(sagas().run)

    @system.entry(examples=["o1"])
    def place(env: Any, id: str) -> None:
        env.call("orders", "order", id)

    return system


def unknown_is_undone(bank: type[Bank]) -> System:
    charge = Step("charge", undo="refund", retry=Retry(times=1), unknown="undo")

    def calls(money: Any) -> dict[str, Any]:
        return {
            "charge": lambda c: money.charge(c.saga, 500),
            "refund": lambda c: money.refund(c.saga, 500),
        }

    return shop(Saga("order", charge), External("bank", bank), calls)


def test_what_nobody_knows_is_undone_and_silent_where_the_bank_keeps_the_rule() -> None:
    system = unknown_is_undone(Bank)
    lost = Schedule([LostReply(Site("orders.order/bank.charge", "after"))])
    [*_, state] = system.run(None, lost).history.of("state")
    assert state.data["tables"]["sagas"][0]["status"] == "compensated"
    campaign = explore(system, properties=assumed(system), faults_max=1, runs_max=120)
    assert not campaign.counterexamples


@pytest.mark.parametrize(
    ("bank", "kinds", "place", "strikes"),
    [
        (PaysBackAnyway, [LostRequest], "bank.refund", "half done"),
        (ChargesLate, [Delay], "sagas.sagas.status", "row differs"),  # undone, and money is gone
    ],
)
def test_what_nobody_knows_is_undone_and_the_bank_breaks_the_rule(
    bank: type[Bank], kinds: list[type[Fault]], place: str, strikes: str
) -> None:
    system = unknown_is_undone(bank)
    campaign = explore(
        system, properties=assumed(system), faults_max=1, kinds=kinds, stop_at_first=True
    )
    [found] = campaign.counterexamples
    assert (found.findings[0].kind, found.findings[0].place) == (strikes, place)
    assert len(found.schedule) == 1


class Stock:
    """Reserves and releases, each under a key of its own, and no amount is named."""

    def __init__(self) -> None:
        self.known: set[str] = set()

    def reserve(self, order: str, key: str) -> Any:
        return self._once(key)

    def release(self, order: str, key: str) -> Any:
        return self._once(key)

    def _once(self, key: str) -> Any:
        if key in self.known:
            return External.unchanged("known")
        self.known.add(key)
        return "done"


@pytest.mark.parametrize(("swallowed", "found"), [(True, ["half done"]), (False, [])])
def test_what_is_undone_under_a_key_of_its_own_is_undone(swallowed: bool, found: list[str]) -> None:
    """A release that is tried once, for the best, leaves the goods reserved for ever."""
    saga = Saga(
        "order", Step("reserve", undo="release", retry=PATIENT), Step("ship", retry=PATIENT)
    )

    def calls(stock: Any) -> dict[str, Any]:
        def release(command: Command) -> None:
            try:
                stock.release(command.saga, command.key)
            except (ConnectionError, TimeoutError):
                if not swallowed:
                    raise

        def ship(command: Command) -> None:
            raise CannotDeliver

        return {
            "reserve": lambda c: stock.reserve(c.saga, c.key),
            "release": release,
            "ship": ship,
        }

    system = shop(saga, External("stock", Stock), calls)
    campaign = explore(
        system, properties=assumed(system), faults_max=1, kinds=[ErrorReply, LostRequest]
    )
    told = [one.findings[0] for one in campaign.counterexamples]
    assert [one.kind for one in told] == found
    assert all("stock.reserve" in one.place for one in told)


def refunded(key_of: Callable[[Command], str | None]) -> System:
    """A saga that is undone without any fault: nobody ships it."""
    saga = Saga("order", Step("charge", undo="refund", retry=PATIENT), Step("ship", retry=PATIENT))

    def calls(money: Any) -> dict[str, Any]:
        def charge(command: Command) -> None:
            money.charge(command.saga, 500, key=command.key)

        def refund(command: Command) -> None:
            money.refund(command.saga, 500, key=key_of(command))

        def ship(command: Command) -> None:
            raise CannotDeliver

        return {"charge": charge, "refund": refund, "ship": ship}

    return shop(saga, Gateway("bank"), calls)


@pytest.mark.parametrize(
    "key_of", [lambda command: f"{command.key} {command.attempt}", lambda command: None]
)
@pytest.mark.parametrize("fault", [Crash, LostReply])
def test_a_refund_that_is_made_twice_is_an_effect_twice_whatever_struck(
    key_of: Callable[[Command], str | None], fault: type[Fault]
) -> None:
    """Under a lost reply, too, where it may be refused for good: then it is not `half done`."""
    system = refunded(key_of)
    struck = Schedule([fault(Site("orders.order/bank.refund", "after"))])
    evidence = system.run(None, struck).evidence()
    findings = [one for claim in assumed(system) for one in claim.findings(evidence)]
    assert [(one.kind, one.place) for one in findings] == [("effect twice", "bank.refund")]
    assert "bank did refund(cents=500, order=o1) twice" in findings[0].summary


def test_a_keyless_charge_before_another_provider_is_an_effect_twice() -> None:
    """And where the other provider takes the money, the first is known not to have it."""
    pay = Step("pay", undo="back", retry=Retry(times=2), fallback=Fallback("cash", undo="back"))

    def charged(key_of: Callable[[Command], str | None]) -> System:
        def calls(money: Any) -> dict[str, Any]:
            def take(command: Command) -> None:
                money.charge(command.saga, 500, key=key_of(command))

            def back(command: Command) -> None:
                money.refund(command.saga, 500, key=command.key)

            return {"pay": take, "cash": lambda command: None, "back": back}

        return shop(Saga("order", pay), Gateway("bank"), calls)

    kinds = [LostReply, LostRequest, Crash]
    keyless: Callable[[Command], str | None] = lambda command: None  # noqa: E731
    keyed: Callable[[Command], str | None] = lambda command: command.key  # noqa: E731
    for key_of, found in ((keyless, ["bank.charge"]), (keyed, list[str]())):
        system = charged(key_of)
        campaign = explore(system, properties=assumed(system), faults_max=1, kinds=kinds)
        told = [one.findings[0] for one in campaign.counterexamples]
        assert [(one.kind, one.place) for one in told] == [
            ("effect twice", place) for place in found
        ]


def test_a_refund_under_one_key_is_made_once_whatever_struck() -> None:
    system = refunded(lambda command: command.key)
    campaign = explore(system, properties=assumed(system), faults_max=1, runs_max=120)
    assert not campaign.counterexamples
