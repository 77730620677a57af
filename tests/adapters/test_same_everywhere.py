"""One schedule, one history: in two processes, under two hash seeds, and when it is run again."""

from tests.adapters.digests import printed_everywhere

SYSTEM = """
import asyncio, sys
import aiohttp, httpx, requests, stripe
from fastapi import FastAPI
from chaosharness import *

class Bank:
    def __init__(self): self.keys = {}
    def charge(self, order: str, idempotency_key: str = ""): return self.keys.setdefault(order, 1)
    def create(self, amount: int, currency: str, idempotency_key: str):
        known = self.keys.setdefault(idempotency_key, f"pi_{len(self.keys)}")
        return {"id": known, "object": "payment_intent"}

app = FastAPI()
URL = "https://bank.example/charges"

@app.post("/async/{order}")
async def create_async(order: str):
    async with aiohttp.ClientSession() as one, httpx.AsyncClient() as other:
        body = {"order": order}
        await asyncio.gather(one.post(URL, json=body), other.post(URL, json=body))

@app.post("/plain/{order}")
def create(order: str):
    requests.post(URL, json={"order": order}, timeout=5)
    stripe.PaymentIntent.create(amount=5, currency="eur", api_key="sk_test")

shop = System("shop")
bank = shop.add(External("bank", Bank))
stripes = shop.add(External("stripe", Bank))
shop.add(Web("bank.example", bank, routes={"POST /charges": "charge"}))
shop.add(Web("api.stripe.com", stripes, routes={"POST /v1/payment_intents": "create"}))
site = shop.add(Web("shop.example"))
shop.add(Webhooks("hooks", bank, to="https://shop.example/plain/hook"))
shop.service("payments", replicas=2)(lambda env: env.app(site, app))

@shop.entry(examples=["o1", "o2", "o3"])
def place(env, order):
    for path in ("async", "plain"):
        httpx.post(f"https://shop.example/{path}/{order}", timeout=60)

faults = [
    LostReply(Site("payments.create/stripe.create", "after")),
    Duplicate(Site("hooks.webhook/deliver to payments.create")),
    Crash(Site("payments.create_async/bank.charge", "after", 2)),
    ErrorReply(Site("payments.create/bank.charge", entity=3)),
]
for number in range(len(faults) + 1):
    for _ in range(2):
        run = shop.run(None, Schedule(faults[:number]))
        assert run.ending.verdict == "quiet" and not run.unused, (run.ending, run.unused)
        print(number, run.digest())
"""


def test_a_history_is_the_same_everywhere():
    first = printed_everywhere(SYSTEM)
    assert len(set(first)) == 5  # each schedule its own, and the same twice
