"""Sagas in `async` code: actions that are awaited, on asyncio and trio."""

import asyncio

import pytest
import trio

from chaosharness import (
    AsyncOrchestrator,
    Crash,
    Gateway,
    Orchestrator,
    Refused,
    Saga,
    SagaStore,
    Step,
    System,
    assumed,
    explore,
)
from chaosharness.errors import InvalidDefinition

ORDER = Saga("order", Step("charge", undo="refund"), Step("ship"))


def shop(runtime, key_of, *, ships=True, made=AsyncOrchestrator):
    system = System("shop")
    store = system.add(SagaStore("sagas"))
    bank = system.add(Gateway("bank"))
    rest = {"asyncio": asyncio.sleep, "trio": trio.sleep}[runtime]

    @system.service("orders", runtime=runtime)
    def orders(env):
        client = env.client(bank)

        async def charge(command):
            await rest(0.1)
            await client.charge(command.saga, 500, key=key_of(command))

        async def refund(command):
            await client.refund(command.saga, 500, key=f"back {command.saga}")

        async def ship(command):
            if not ships:
                raise Refused("out of stock")

        calls = {"charge": charge, "refund": refund, "ship": ship}
        sagas = made(ORDER, env.connect(store), now_ms=env.now_ms, sleep=env.sleep, calls=calls)

        async def place(id):
            await sagas.start(id)

        env.serve("place", place)
        env.main(sagas.run)

    @system.entry(examples=["o1"])
    async def order(env, id):
        await env.call("orders", "place", id)

    return system


def of_saga(command):
    return command.saga


def of_attempt(command):
    return f"{command.saga} {command.attempt}"


@pytest.mark.parametrize("runtime", ["asyncio", "trio"])
def test_actions_are_awaited_and_compensated(runtime):
    for ships, wanted in ((True, ["charge"]), (False, ["charge", "refund"])):
        run = shop(runtime, of_saga, ships=ships).run()
        assert run.ending.verdict == "quiet"
        assert [one.data["method"] for one in run.history.of("effect")] == wanted


@pytest.mark.parametrize("runtime", ["asyncio", "trio"])
def test_another_key_at_each_attempt_is_found_and_one_of_the_saga_is_silent(runtime):
    right = shop(runtime, of_saga)
    assert not explore(
        right, properties=assumed(right), faults_max=1, kinds=[Crash]
    ).counterexamples
    broken = shop(runtime, of_attempt)
    found = explore(
        broken, properties=assumed(broken), faults_max=1, kinds=[Crash], stop_at_first=True
    )
    assert found.counterexamples[0].findings[0].kind == "effect twice"


def test_async_actions_of_the_plain_one_are_said():
    class Plain(Orchestrator):
        async def start(self, id, value=None):
            Orchestrator.start(self, id, value)

        async def run(self):
            return None

    with pytest.raises(InvalidDefinition, match="is async: take AsyncOrchestrator"):
        shop("asyncio", of_saga, made=Plain).run()


def test_a_local_action_is_plain():
    async def local(db, command):
        return None

    with pytest.raises(InvalidDefinition, match="runs inside a transaction"):
        AsyncOrchestrator(
            Saga("s", Step("a")),
            None,
            now_ms=int,
            sleep=print,
            local={"a": local},
            journal=object(),
        )
