"""requests, urllib3 and stripe as they are: their own exceptions and their own retries."""

import time

import pytest
import requests
import stripe
import urllib3
from requests.adapters import HTTPAdapter

from chaosharness import (
    Declined,
    ErrorReply,
    External,
    LostReply,
    LostRequest,
    NetworkPartition,
    RabbitMQ,
    Schedule,
    Site,
    System,
    Web,
)

CALL = "payments.pay/bank.charge"
ADDRESS = "https://api.bank.example/charges"
ORDER = {"order": "o1", "cents": 5}


class Bank:
    def __init__(self):
        self.charges = []

    def charge(self, order: str, cents: int, idempotency_key: str = ""):
        if cents > 1_000:
            raise Declined(order)
        self.charges.append(order)
        return {"id": len(self.charges)}

    def count(self):
        return len(self.charges)


def outcome_of(send, *faults, **options):
    """Return what `send()` ended in, the virtual time it took, and how often money was taken."""
    found = []

    def pay():
        began = time.monotonic()
        try:
            outcome = send()
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            outcome = type(error).__name__
        found.append((outcome, round(1000 * (time.monotonic() - began))))

    shop = System("shop")
    bank = shop.add(External("bank", Bank, reads=["count"]))
    routes = {"POST /charges": "charge", "GET /charges": "count"}
    shop.add(Web("api.bank.example", bank, routes=routes, errors={Declined: 402}, **options))
    shop.service("payments")(lambda env: env.main(pay))
    shop.entry(examples=[1])(lambda env, item: None)
    run = shop.run([1], Schedule(faults))
    [(outcome, took)] = found
    return outcome, took, sum(one.kind == "effect" for one in run.history)


def at(phase, attempt=1):
    return Site(CALL, phase, entity=0, attempt=attempt)


def charged():
    return requests.post(ADDRESS, json=ORDER, timeout=3)


def streamed():
    response = requests.get(ADDRESS, stream=True)
    return response.raw.read()


def test_an_answer_comes_back():
    response, took, effects = outcome_of(charged)
    assert (response.status_code, response.json(), took, effects) == (200, {"id": 1}, 20, 1)
    assert response.reason == "OK"
    dear = outcome_of(lambda: requests.post(ADDRESS, data={"order": "o1", "cents": 5_000}))
    assert (dear[0].status_code, dear[0].json(), dear[2]) == (402, {"error": "o1"}, 0)
    assert outcome_of(lambda: requests.get(ADDRESS).json())[0] == 0
    assert outcome_of(streamed)[0] == b"0"


@pytest.mark.parametrize(
    ("fault", "error", "took", "effects"),
    [
        (LostRequest(at("before")), "ReadTimeout", 3_000, 0),
        (LostReply(at("after")), "ReadTimeout", 3_000, 1),
        (NetworkPartition(at("before"), way="out", lasting="long"), "ConnectTimeout", 3_000, 0),
    ],
)
def test_trouble_is_told_as_requests_tells_it(fault, error, took, effects):
    assert outcome_of(charged, fault) == (error, took, effects)


def test_a_refusal():
    response, _, _ = outcome_of(charged, ErrorReply(at("before")))
    assert response.status_code == 503
    found = outcome_of(charged, ErrorReply(at("before")), refused="connection")
    assert found[0] == "ConnectionError"


def test_without_a_time_out_it_waits_until_tcp_gives_up():
    def patient():
        return requests.post(ADDRESS, json=ORDER)

    assert outcome_of(patient, LostRequest(at("before"))) == ("ReadTimeout", 924_600, 0)


def test_the_retries_of_urllib3_are_its_own():
    retry = urllib3.Retry(total=3, status_forcelist=[503], allowed_methods=None, backoff_factor=0.5)

    def again():
        with requests.Session() as session:
            session.mount("https://", HTTPAdapter(max_retries=retry))
            return session.post(ADDRESS, json=ORDER, timeout=3).status_code

    def pooled():
        pool = urllib3.PoolManager(retries=retry, timeout=3.0)
        return pool.request("POST", ADDRESS, json=ORDER).status

    refused = [ErrorReply(at("before")), ErrorReply(at("before", 2))]
    assert outcome_of(again, *refused) == (200, 20 + 0 + 20 + 1_000 + 20, 1)
    assert outcome_of(pooled, *refused)[0] == 200
    assert outcome_of(again, LostReply(at("after"))) == (200, 3_000 + 20, 2)  # charged twice


class Stripe:
    """The part of Stripe's API that the test needs, with its idempotency keys."""

    def __init__(self):
        self.intents = {}

    def create(self, amount: int, currency: str, idempotency_key: str, metadata: dict):
        made = {"id": f"pi_{len(self.intents) + 1}", "object": "payment_intent", "amount": amount}
        return (
            External.unchanged(known)
            if (known := self.intents.get(idempotency_key))
            else (self.intents.setdefault(idempotency_key, made | {"metadata": metadata}))
        )


def paid_with_stripe(*faults, refused=503):
    found = []

    def pay():
        client = stripe.StripeClient("sk_test_1", max_network_retries=2)
        services = getattr(client, "v1", client)  # where they were before 12.5
        try:
            intent = services.payment_intents.create(
                {"amount": 500, "currency": "eur", "metadata": {"order": "o1"}}
            )
            found.append((intent.id, intent.amount, intent.metadata["order"]))
        except stripe.StripeError as error:
            found.append(type(error).__name__)

    shop = System("shop")
    bank = shop.add(External("stripe", Stripe))
    routes = {"POST /v1/payment_intents": "create"}
    shop.add(Web("api.stripe.com", bank, routes=routes, refused=refused))
    shop.service("payments")(lambda env: env.main(pay))
    shop.entry(examples=[1])(lambda env, item: None)
    run = shop.run([1], Schedule(faults))
    assert (run.spoken.keys(), run.unspoken) == ({"stripe"}, ())
    return found, sum(one.kind == "effect" for one in run.history)


def test_stripe_asks_again_by_itself_with_the_same_key():
    call = "payments.pay/stripe.create"
    paid = [("pi_1", 500, "o1")]
    assert paid_with_stripe() == (paid, 1)
    lost = [LostReply(Site(call, "after", entity=0, attempt=one)) for one in (1, 2, 3)]
    assert paid_with_stripe(lost[0]) == (paid, 1)
    assert paid_with_stripe(*lost) == (["APIConnectionError"], 1)
    assert paid_with_stripe(ErrorReply(Site(call, entity=0)), refused="connection") == (paid, 1)


def test_what_nobody_catches_is_told_without_an_address_in_memory():
    def pay(order):
        requests.post(ADDRESS, json=order, timeout=5)

    system = System("shop")
    bank = system.add(External("bank", Bank))
    system.add(Web("api.bank.example", bank, routes={"POST /charges": "charge"}))
    bus = system.add(RabbitMQ("bus", queues=["orders"]))
    system.service("payments")(lambda env: env.consume(bus, "orders", pay))
    system.entry(examples=[ORDER])(lambda env, order: env.publisher(bus)("orders", order))
    cut = Schedule([NetworkPartition(Site(CALL))])
    first, second = system.run(None, cut), system.run(None, cut)
    raised = [event.data["error"] for event in first.history if event.kind == "raised"]
    assert raised and all("0x" not in words for words in raised)
    assert first.digest() == second.digest()
