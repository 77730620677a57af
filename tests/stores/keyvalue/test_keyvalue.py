"""The key-value store: durable by itself, atomic, and nobody's object but its own."""

import pytest

from chaosharness import Crash, FailedCommit, KeyValue, LostWrites, Pause, StoreOutage, System
from chaosharness.errors import InvalidDefinition, UnserialisablePayload
from tests.stores.shops import ORDERS, final, memory, only, told

PUT = "payments.on_order/kv.put"


def put(kv, order):
    kv.put(order["id"], order)


def items(run):
    return final(run, "kv")["items"]


def test_values_are_put_found_and_deleted():
    seen = []

    def handle(kv, order):
        seen.append(kv.get("a"))
        seen.append(kv.get("a", 7))
        seen.append(kv.put("b", [1, "two", None]))
        seen.append(kv.put_if_absent("a", {"n": 1}))
        seen.append(kv.put_if_absent("a", {"n": 2}))
        seen.append(kv.get("a"))
        seen.append(("a" in kv, "c" in kv))
        seen.append(kv.items())
        seen.append((kv.delete("b"), kv.delete("b")))

    run = memory(handle).run(ORDERS[:1])
    assert seen == [
        None,
        7,
        None,
        True,
        False,
        {"n": 1},
        (True, False),
        [("a", {"n": 1}), ("b", [1, "two", None])],
        (True, False),
    ]
    assert items(run) == {"a": {"n": 1}}
    assert told(run, "commit") == ["commit kv.put", "commit kv.put_if_absent", "commit kv.delete"]
    assert [event.data["value"] for event in run.history.of("commit")] == [
        b'[1,"two",null]',
        b'{"n":1}',
        None,
    ]


@pytest.mark.parametrize("runtime", ["ports", "asyncio", "trio"])
def test_in_async_code_each_method_is_awaited(runtime):
    seen = []

    async def handle(kv, order):
        await kv.put("a", 1)
        seen.append(await kv.get("a"))
        seen.append(await kv.put_if_absent("a", 2))
        seen.append("a" in kv)
        seen.append(await kv.items())
        seen.append(await kv.delete("a"))

    run = memory(handle, runtime=runtime).run(ORDERS[:1])
    assert seen == [1, False, True, [("a", 1)], True]
    assert items(run) == {}


def test_nobody_shares_an_object_with_the_store():
    def handle(kv, order):
        value = {"list": []}
        kv.put("a", value)
        value["list"].append("mine")
        kv.get("a")["list"].append("also mine")

    assert items(memory(handle).run()) == {"a": {"list": []}}


def test_a_write_survives_a_crash_right_after_it():
    run = memory(put).run(ORDERS, only(Crash, PUT, "after"))
    assert items(run) == {"o1": ORDERS[0], "o2": ORDERS[1]}
    run = memory(put).run(ORDERS, only(Crash, PUT, "before"))
    assert items(run) == {"o2": ORDERS[1]}


def test_writes_are_searched_like_commits_and_reads_are_not():
    def handle(kv, order):
        kv.get("a")
        kv.put("a", 1)

    surfaces = memory(handle).run().surfaces
    assert surfaces[PUT].searched_before == (FailedCommit, StoreOutage)
    assert surfaces[PUT].searched_after == (Pause, Crash)
    assert surfaces["payments.on_order/kv.get"].searched_after == (Pause,)


@pytest.mark.parametrize(
    ("outcome", "error", "kept"),
    [("rolled-back", ConnectionError, {}), ("committed", TimeoutError, {"o1": ORDERS[0]})],
)
def test_a_write_may_fail_or_seem_to(outcome, error, kept):
    def handle(kv, order):
        with pytest.raises(error, match=r"kv\.put"):
            put(kv, order)

    run = memory(handle).run(ORDERS[:1], only(FailedCommit, PUT, outcome=outcome))
    assert items(run) == kept
    assert run.unused == ()


def test_an_outage_refuses_everything_until_it_is_over():
    def handle(kv, order):
        kv.get("a")
        put(kv, order)

    orders = [{"id": f"o{number}"} for number in (1, 2, 3)]
    run = memory(handle, items=orders).run(schedule=only(StoreOutage, PUT, lasting=15))
    assert told(run, "read", "commit") == [
        "read kv.get",
        "commit kv.put error=ConnectionError: kv.put: out of order",
        "read kv.get error=ConnectionError: kv.get: out of order",
        "read kv.get",
        "commit kv.put",
    ]
    assert list(items(run)) == ["o3"]


def test_a_power_failure_takes_what_was_not_synced():
    def handle(kv, order):
        if order["id"] == "o3":
            kv.delete("o1")
            kv.put("o2", "changed")
        put(kv, order)

    orders = [{"id": f"o{number}"} for number in (1, 2, 3)]
    store = KeyValue("kv", synced=False, unsynced_ms=1_000)
    system = memory(handle, items=orders, kv=store, arrival_ms=700)
    run = system.run(schedule=only(LostWrites, PUT, "after", entity=3, attempt=2))
    assert items(run) == {"o1": {"id": "o1"}}
    assert told(run, "rollback") == ["rollback why=power failure commits=4"]


def test_what_json_cannot_hold_is_refused_with_its_key():
    def handle(kv, order):
        kv.put("a", {"function": print})

    with pytest.raises(UnserialisablePayload, match="the value of 'a' cannot be stored in 'kv'"):
        memory(handle).run()
    with pytest.raises(InvalidDefinition, match="a key of 'kv' must be text, not 7"):
        memory(lambda kv, order: kv.put(7, 1)).run()


def test_putting_the_same_again_changes_nothing():
    """Or a service that says every second that it is alive would keep a system from quiet."""
    system = System("beat")
    kv = system.add(KeyValue("kv"))

    @system.service("heart")
    def heart(env):
        store = env.connect(kv)

        def beat():
            while True:
                store.put("alive", True)
                env.sleep(1)

        env.main(beat)

    @system.entry(examples=[1])
    def enter(env, item): ...

    run = system.run()
    assert run.ending.verdict == "quiet"
    assert run.history[-1].at_ms < 10_000


def test_a_connection_is_for_the_incarnation_it_was_made_for():
    kept = []

    def handle(kv, order):
        kept.append(kv)
        kept[0].get("a")

    with pytest.raises(InvalidDefinition, match=r"shipping#1 uses .* made for payments#1"):
        memory(handle, services=("payments", "shipping")).run()
    with pytest.raises(InvalidDefinition, match="made for an earlier run"):
        memory(handle).run()
