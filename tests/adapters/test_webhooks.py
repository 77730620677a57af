"""Webhooks: at least once, late and in any order; what a receiver must do, and what it may not."""

import hashlib
import hmac

import httpx
import pytest
from fastapi import FastAPI, Header, HTTPException

from chaosharness import (
    Crash,
    Delay,
    Duplicate,
    Gateway,
    KeyValue,
    LostReply,
    LostRequest,
    Schedule,
    Site,
    System,
    Web,
    Webhooks,
    explore,
    smallest,
)
from chaosharness.errors import InvalidDefinition

DELIVER = "bank-events.webhook/deliver to payments.on_event"


def system(receive, **options):
    """Return a shop whose bank tells of each charge; `receive(store, event)` takes it."""
    shop = System("shop")
    db = shop.add(KeyValue("db"))
    bank = shop.add(Gateway("bank"))
    shop.add(Web("bank.example", bank, routes={"POST /charges": "charge"}))
    site = shop.add(Web("shop.example"))
    shop.add(Webhooks("bank-events", bank, to="https://shop.example/webhooks", **options))

    @shop.service("payments")
    def payments(env):
        app, store = FastAPI(), env.connect(db)

        @app.post("/orders")
        async def create(order: dict):
            async with httpx.AsyncClient() as client:
                key = {"Idempotency-Key": order["order"]}
                answer = await client.post("https://bank.example/charges", json=order, headers=key)
                answer.raise_for_status()

        @app.post("/webhooks")
        async def on_event(event: dict, x_signature: str = Header("")):
            await receive(store, event, x_signature)

        env.app(site, app)

    @shop.entry(examples=[{"order": "o1", "cents": 5}])
    def place(env, order):
        for _ in range(5):
            try:
                httpx.post("https://shop.example/orders", json=order).raise_for_status()
                return
            except httpx.HTTPError:
                env.sleep(1)

    return shop


async def remember(store, event, signature):
    await store.put(f"paid {event['id']}", event["data"]["cents"])


async def count(store, event, signature):
    await store.put("paid", (await store.get("paid") or 0) + event["data"]["cents"])


def times(run):
    return [one.at_ms for one in run.history if one.kind == "deliver"]


def test_an_effect_is_told_once_in_calm():
    run = system(remember).run()
    assert times(run) == [61]
    kinds = [one.kind for one in run.history if one.actor == "bank-events"]
    assert kinds == ["publish", "deliver", "ack"]
    [state] = [one.data for one in run.history if one.kind == "state"]
    assert state["items"] == {"paid evt_1": 5}


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (LostReply(Site(DELIVER, "after")), [61, 61 + 10_000 + 5_000]),
        (LostRequest(Site(DELIVER)), [61, 61 + 10_000 + 5_000]),
        (Crash(Site("payments.on_event/db.put", "after"), down=1), [61, 62 + 1 + 5_000]),
        (Duplicate(Site(DELIVER)), [61, 61]),
        (Delay(Site(DELIVER), lasting=2_000), [2_061]),
    ],
)
def test_it_comes_again_late_or_twice(fault, told):
    assert times(system(remember).run(None, Schedule([fault]))) == told


def test_it_is_given_up_in_calm_only_and_that_is_told():
    async def refuse(store, event, signature):
        raise HTTPException(409)

    run = system(refuse, retries_s=[1, 2]).run()
    [dead] = [one for one in run.history if one.kind == "dead"]
    assert dead.data["reason"] == "409 Conflict"
    assert len(times(run)) == 6  # three while there might be trouble, three in calm
    down = Crash(Site("payments.on_event/db.put", "before"), down="long")
    run = system(remember, retries_s=[1]).run(None, Schedule([down]))
    assert [one.kind for one in run.history if one.actor == "bank-events"][-1] == "ack"


def test_a_receiver_that_counts_is_caught_by_one_fault_and_nothing_claimed():
    found = smallest(system(count))
    assert found is not None
    assert len(found.schedule.faults) == 1
    assert "db" in found.findings[0].summary


def test_a_receiver_that_remembers_stays_silent_over_all_single_faults():
    campaign = explore(system(remember), faults_max=1, runs_max=600)
    assert (campaign.result, campaign.counterexamples) == ("holds", ())
    assert campaign.spoken == "spoke: httpx 2 operations; not seen: none"


def test_events_are_signed_and_chosen_by_the_user():
    heard = []

    async def check(store, event, signature):
        heard.append((event, signature))

    def signed(body):
        return {"X-Signature": hmac.new(b"secret", body, hashlib.sha256).hexdigest()}

    system(check, event=lambda entry: {"paid": entry["order"]}, headers=signed).run()
    digest = hmac.new(b"secret", b'{"paid":"o1"}', hashlib.sha256).hexdigest()
    assert heard == [({"paid": "o1"}, digest)]
    heard.clear()
    system(check, event=lambda entry: None).run()
    assert heard == []


def test_what_cannot_be_is_told():
    with pytest.raises(InvalidDefinition, match=r"Webhooks: to must be an address: .* not 'shop'"):
        Webhooks("hooks", Gateway("bank"), to="shop")
    shop = System("shop")
    shop.add(Webhooks("hooks", Gateway("bank"), to="https://shop.example/"))
    shop.entry(examples=[1])(lambda env, item: None)
    with pytest.raises(InvalidDefinition, match=r"no third party of this system"):
        shop.run()
