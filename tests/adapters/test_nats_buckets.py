"""Buckets and ordered consumers by nats-py, unmodified, in virtual time."""

from functools import partial

import pytest

pytest.importorskip("nats")

from benchmarks import nats_buckets as programs
from benchmarks import nats_server
from chaosharness import NATS, KeyValue, LostReply, Schedule, Site, System, check, smallest
from chaosharness.machines.nats.stream import Stream
from tests.adapters import nats_buckets as code

ORDERS = [{"id": "o1"}, {"id": "o2"}]


def shop(main, *, replicas=1, orders=ORDERS, also=None):
    """A service that keeps books; nothing is claimed."""
    system = System("shop")
    system.add(NATS("bus", {}))
    seen = system.add(KeyValue("seen"))

    def serve(env, what):
        store = env.connect(seen)

        async def put(key, value):
            await store.put(key, str(value))

        async def run():
            await what(put)

        env.main(run)

    system.service("stock", replicas=replicas)(lambda env: serve(env, main))
    if also is not None:
        system.service("board")(lambda env: serve(env, also))

    @system.entry(examples=orders)
    async def place(env, order):
        await code.place(order)

    return system


def keeping(handle):
    async def main(put):
        await code.handled(handle)

    return main


def held(run):
    return {one.actor: one.data["items"] for one in run.history.of("state")}


def test_a_bucket_is_a_store():
    run = shop(keeping(code.mark_each), also=code.shown).run()
    assert run.ending.verdict == "quiet" and not run.ending.ran_on
    marks = {"o1": "sold", "o2": "sold"}
    assert held(run) == {"bus.stock": marks, "seen": marks}
    shown = [one for one in run.history.of("commit") if one.actor.startswith("board")]
    assert [one.entity for one in shown] == [1, 2]  # what is watched is of an item


@pytest.mark.parametrize(("handle", "replicas"), [(code.count_by_revision, 2), (code.mark_each, 1)])
def test_what_goes_by_revisions_is_right(handle, replicas):
    check(shop(keeping(handle), replicas=replicas), faults_max=1)


def test_a_count_that_is_put_blindly_is_found():
    found = smallest(shop(keeping(code.count_blindly)), faults_max=1)
    assert len(found.schedule) == 1
    assert "bus.stock has" in found.findings[0].summary and "sold" in found.findings[0].summary


def test_who_watches_sees_all_that_becomes_of_a_bucket():
    check(shop(keeping(code.mark_each), also=code.shown), faults_max=1)


def test_an_ordered_consumer_is_made_anew_where_something_is_missing():
    system = shop(code.listed)
    lost = Schedule([LostReply(Site("bus.orders.placed/deliver to stock", "after"))])
    run = system.run(None, lost)
    assert not run.unused
    assert held(run)["seen"] == {"o1": "1", "o2": "2"}
    check(system, faults_max=1)
    assert len(smallest(shop(partial(code.listed, tries=1)), faults_max=1).schedule) == 1


def test_files_are_in_a_store_of_their_own():
    system = shop(code.filed)
    run = system.run()
    assert held(run)["seen"] == {"o1": "500", "o2": "500"}
    assert [one["size"] for one in held(run)["bus.files"].values()] == [500, 500]
    check(system, faults_max=1)


# ---- beside a running server


def test_programs_hear_what_a_running_server_says():
    if (lacks := nats_server.missing()) is not None:
        pytest.skip(lacks)
    with nats_server.running() as port:
        found = programs.compared(port, 12, seed=5)
    assert not found.differences, "\n".join(found.differences)
    assert not programs.missed([*found.verbs])


def test_a_server_that_keeps_what_was_rolled_up_is_told_apart(monkeypatch):
    if (lacks := nats_server.missing()) is not None:
        pytest.skip(lacks)
    monkeypatch.setattr(Stream, "rolled_up", lambda *given: [])
    steps = (programs.Step("put", 0, 1), programs.Step("purge", 0), programs.Step("history", 0))
    program = programs.Program("key-value", {"history": 5}, steps)
    with nats_server.running() as port:
        found = programs.difference(program, port)
    assert found is not None and "purge" in found[1]
