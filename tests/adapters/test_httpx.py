"""httpx, as it is: its own exceptions, its own retries, in virtual time, at the sites of ports."""

import asyncio
import re
import subprocess
import sys
from contextlib import suppress

import httpx
import pytest

from chaosharness import (
    Answer,
    Crash,
    Declined,
    Delay,
    ErrorReply,
    External,
    Gateway,
    LostReply,
    LostRequest,
    NetworkPartition,
    Schedule,
    Site,
    System,
    Web,
)
from chaosharness.errors import InvalidDefinition

CALL = "client_of_bank.pay/bank.charge"
ROUTES = {"POST /charges": "charge", "GET /charges/{order}": "find"}


class Bank:
    def __init__(self):
        self.charges = []

    def charge(self, order: str, cents: int, idempotency_key: str = ""):
        if cents > 1_000:
            raise Declined(order)
        self.charges.append((order, cents, idempotency_key))
        return {"id": len(self.charges)}

    def find(self, order: str):
        return [list(one) for one in self.charges if one[0] == order]

    def page(self):
        return Answer(201, "made", {"X-Page": "1"})


def system(pay, *, server=Bank, routes=ROUTES, **options):
    """Return a system whose one service pays in its main loop."""
    shop = System("shop")
    bank = shop.add(External("bank", server, reads=[], latency_ms=20))
    shop.add(Web("api.bank.example", bank, routes=routes, **options))

    @shop.service("client_of_bank")
    def client_of_bank(env):
        env.main(pay)

    @shop.entry(examples=[1])
    def place(env, item):
        """Nothing comes in."""

    return shop


def heard(send, *faults, **options):
    """Return what `send(client)` ended in, and the virtual time it took, in both colours."""
    found = []

    def pay():
        with httpx.Client(base_url="https://api.bank.example") as client:
            began = env_now()
            try:
                outcome = send(client)
            except httpx.HTTPError as error:
                outcome = type(error).__name__
            found.append((outcome, env_now() - began))

    async def pay_later():
        async with httpx.AsyncClient(base_url="https://api.bank.example") as client:
            began = env_now()
            try:
                outcome = await send(client)
            except httpx.HTTPError as error:
                outcome = type(error).__name__
            found.append((outcome, env_now() - began))

    pay_later.__name__ = "pay"
    for one in (pay, pay_later):
        system(one, **options).run([1], Schedule(faults))
    assert found[0][1] == found[1][1]
    return found


def env_now():
    import time

    return round(time.monotonic() * 1000)


def charged(client):
    return client.post("/charges", json={"order": "o1", "cents": 5})


def at(phase):
    return Site(CALL, phase, entity=0)


def test_an_answer_comes_back_in_virtual_time():
    for response, took in heard(charged):
        assert (response.status_code, response.json(), took) == (200, {"id": 1}, 20)
        assert response.headers["content-type"] == "application/json"
        assert response.http_version == "HTTP/1.1"


def test_a_proxy_of_this_machine_is_none_of_a_run(monkeypatch):
    plain = [response.json() for response, _ in heard(charged)]
    monkeypatch.setenv("HTTPS_PROXY", "socks5://proxy.example:1080")  # needs a package of its own
    assert [response.json() for response, _ in heard(charged)] == plain
    with pytest.raises(ImportError):
        httpx.Client()  # outside of a run it is as ever


@pytest.mark.parametrize(
    ("fault", "error", "took"),
    [
        (LostRequest(at("before")), "ReadTimeout", 5_000),
        (LostReply(at("after")), "ReadTimeout", 5_000),
        (Delay(at("before"), lasting="timeout"), "ReadTimeout", 5_000),
        (NetworkPartition(at("before"), way="both", lasting="long"), "ConnectTimeout", 5_000),
    ],
)
def test_trouble_is_told_as_httpx_tells_it(fault, error, took):
    assert heard(charged, fault) == [(error, took)] * 2


def test_the_time_out_is_the_client_s_own():
    def impatient(client):
        return client.post("/charges", json={"order": "o1", "cents": 5}, timeout=0.3)

    def patient(client):
        return client.post("/charges", json={"order": "o1", "cents": 5}, timeout=None)

    lost = LostRequest(at("before"))
    assert heard(impatient, lost) == [("ReadTimeout", 300)] * 2
    assert heard(patient, lost) == [("ReadError", 924_600)] * 2


def test_a_refusal_is_a_503_or_a_refused_connection():
    refusal = ErrorReply(at("before"))
    assert [one.status_code for one, _ in heard(charged, refusal)] == [503, 503]
    assert [one for one, _ in heard(charged, refusal, refused="connection")] == ["ConnectError"] * 2


def test_retries_of_a_transport_are_for_connections():
    outcomes = []

    def pay():
        transport = httpx.HTTPTransport(retries=2)
        with httpx.Client(transport=transport, base_url="https://api.bank.example") as client:
            try:
                outcomes.append(charged(client).status_code)
            except httpx.ReadTimeout:
                outcomes.append("timeout")

    refusals = [ErrorReply(at("before")), ErrorReply(Site(CALL, entity=0, attempt=2))]
    system(pay, refused="connection").run([1], Schedule(refusals))
    system(pay).run([1], Schedule([LostReply(at("after"))]))
    assert outcomes == [200, "timeout"]


def test_what_was_sent_gets_to_the_model_by_name():
    def keyed(client):
        key = {"Idempotency-Key": "k1"}
        return client.post("/charges", data={"order": "o 1", "cents": "7"}, headers=key)

    def found(client):
        return client.get("/charges/o%201")

    assert [one.json() for one, _ in heard(keyed)] == [{"id": 1}] * 2
    assert [one.json() for one, _ in heard(found)] == [[], []]


def test_errors_and_answers_have_their_status():
    def dear(client):
        return client.post("/charges", json={"order": "o1", "cents": 5_000})

    def empty(client):
        return client.post("/charges", json={"order": "o1"})

    def wrong(client):
        return client.post("/charges", json={"order": "o1", "cents": "many"})

    def paged(client):
        return client.get("/page")

    declined = heard(dear, errors={Declined: 402})
    assert [one.status_code for one, _ in declined] == [402, 402]
    assert [(one.status_code, one.json()) for one, _ in heard(empty)] == [
        (422, {"error": "cents is missing"})
    ] * 2
    assert [one.status_code for one, _ in heard(wrong)] == [422, 422]
    [(page, _), _] = heard(paged, routes={"GET /page": "page"})
    assert (page.status_code, page.text, page.headers["x-page"]) == (201, "made", "1")


def test_an_effect_is_in_the_ledger_and_a_refusal_is_none():
    def pay():
        httpx.post("https://api.bank.example/charges", json={"order": "o1", "cents": 5})
        httpx.post("https://api.bank.example/charges", json={"order": "o2", "cents": 5_000})

    run = system(pay, errors={Declined: 402}).run([1])
    effects = [one.data for one in run.history if one.kind == "effect"]
    assert effects == [{"method": "charge", "order": "o1", "cents": 5}]
    replies = [one.data for one in run.history if one.kind == "reply"]
    assert [one["outcome"] for one in replies] == ["ok", "failed"]


def test_a_gateway_speaks_http_as_it_does_by_ports():
    outcomes = []

    def pay():
        for _ in range(2):
            answer = httpx.post(
                "https://api.bank.example/charges",
                json={"order": "o1", "cents": 5},
                headers={"Idempotency-Key": "o1"},
            )
            outcomes.append(answer.json())

    shop = System("shop")
    bank = shop.add(Gateway("bank"))
    shop.add(Web("api.bank.example", bank, routes=ROUTES))
    shop.service("payments")(lambda env: env.main(pay))
    shop.entry(examples=[1])(lambda env, item: None)
    run = shop.run()
    assert outcomes == [{"id": 1, "method": "charge", "order": "o1", "cents": 5}] * 2
    assert sum(one.kind == "effect" for one in run.history) == 1


@pytest.mark.parametrize(
    ("send", "words"),
    [
        (
            lambda: httpx.get("https://api.mail.example/v1/inbox?all=1"),
            r"client_of_bank.<lambda> asks GET https://api.mail.example/v1/inbox \(at "
            r"tests/adapters/test_httpx.py:\d+\), and nobody answers for 'api.mail.example'",
        ),
        (
            lambda: httpx.delete("https://api.bank.example/charges/o1"),
            r"DELETE https://api.bank.example/charges/o1 .* is no route of .*: POST /charges, GET",
        ),
        (
            lambda: httpx.post("https://api.bank.example/charges", json={"currency": "eur"}),
            r"sends 'currency', which bank.charge does not take: it takes order, cents",
        ),
        (
            lambda: httpx.post("https://api.bank.example/charges", json=dict(order="", cents=9999)),
            r"raised Declined: .*nothing says how HTTP tells that: .*errors=\{Declined: 400\}",
        ),
    ],
)
def test_what_was_not_modelled_ends_the_run_with_one_sentence(send, words):
    with pytest.raises(InvalidDefinition, match=words):
        system(send).run([1])


def test_the_report_knows_which_library_spoke():
    run = system(lambda: httpx.get("https://api.bank.example/charges/o1")).run([1])
    assert run.spoken == {"httpx": frozenset({"client_of_bank.<lambda>/bank.find"})}


def test_a_crash_after_the_call_leaves_its_effect():
    def pay():
        httpx.post("https://api.bank.example/charges", json={"order": "o1", "cents": 5})

    run = system(pay).run([1], Schedule([Crash(at("after"))]))
    assert sum(one.kind == "effect" for one in run.history) == 2  # once more, after the restart


NO_WEB = """
import httpx
from chaosharness import System

def pay():
    httpx.get("https://api.mail.example/v1/inbox")

async def pay_later():
    async with httpx.AsyncClient() as client:
        await client.get("https://api.mail.example/v1/inbox")

for loop in (pay, pay_later):
    shop = System("shop")
    shop.service("payments")(lambda env: env.main(loop))
    shop.entry(examples=[1])(lambda env, item: None)
    try:
        shop.run()
    except Exception as error:
        print(error)
"""


def test_without_any_web_a_real_host_is_refused_with_its_line_and_what_to_do(tmp_path):
    file = tmp_path / "shop.py"
    file.write_text(NO_WEB)
    text = subprocess.check_output([sys.executable, file], text=True, timeout=60)
    found = re.findall(r"payments.(\w+) called .*getaddrinfo\('(.*)'\) \(at (\S+)\), which", text)
    assert found == [
        ("pay", "api.mail.example", "shop.py:6"),
        ("pay_later", "api.mail.example", "shop.py:10"),
    ]
    assert text.count('Web("') == 2


def test_where_httpx_is_met_already_a_host_of_no_system_is_told_too():
    shop = System("shop")
    shop.service("payments")(lambda env: env.main(lambda: httpx.get("https://api.mail.example/")))
    shop.entry(examples=[1])(lambda env, item: None)
    with pytest.raises(InvalidDefinition, match=r"nobody answers for .* only for: nobody\. Add"):
        shop.run()


def outcomes_with(runtime, pay, *faults):
    shop = System("shop")
    bank = shop.add(External("bank", Bank))
    shop.add(Web("api.bank.example", bank, routes=ROUTES))
    shop.service("client_of_bank", runtime=runtime)(lambda env: env.main(pay))
    shop.entry(examples=[1])(lambda env, item: None)
    return shop.run([1], Schedule(faults))


@pytest.mark.parametrize("runtime", ["asyncio", "trio"])
def test_the_client_runs_on_either_event_loop(runtime):
    found = []

    async def pay():
        async with httpx.AsyncClient(base_url="https://api.bank.example") as client:
            try:
                found.append((await charged(client)).json())
            except httpx.ReadTimeout:
                found.append("late")

    first = outcomes_with(runtime, pay)
    outcomes_with(runtime, pay, LostReply(at("after")))
    assert found == [{"id": 1}, "late"]
    assert first.digest() == outcomes_with(runtime, pay).digest()


def test_a_plain_client_in_async_code_holds_up_its_event_loop():
    seen = []

    async def pay():
        async def beside():
            await asyncio.sleep(0.001)
            seen.append(("beside", env_now() - began))

        began = env_now()
        task = asyncio.create_task(beside())
        await asyncio.sleep(0)
        with httpx.Client(base_url="https://api.bank.example") as client:
            seen.append((charged(client).json(), env_now() - began))
        await task

    outcomes_with("asyncio", pay)
    assert seen == [({"id": 1}, 20), ("beside", 20)]


def test_a_cancelled_request_still_happens():
    async def pay():
        async with httpx.AsyncClient(base_url="https://api.bank.example") as client:
            with suppress(TimeoutError):
                async with asyncio.timeout(0.015):
                    await charged(client)

    run = outcomes_with("asyncio", pay)
    assert [one.kind for one in run.history if one.operation == CALL] == ["call", "effect"]
