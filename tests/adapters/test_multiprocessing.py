"""A pool of threads of multiprocessing runs in virtual time, and ends with its run."""

import subprocess
import sys
import time
from multiprocessing.dummy import Pool
from multiprocessing.pool import ThreadPool

from chaosharness import Crash, Gateway, Kafka, Schedule, Site, System
from tests.adapters.digests import ROOT


def shop(work):
    """Orders that are charged in three parts, by threads."""
    system = System("shop")
    bus, bank = system.add(Kafka("bus", {"orders": 1})), system.add(Gateway("bank"))

    @system.service("till")
    def till(env):
        client = env.client(bank)

        def charge(part):
            time.sleep(1)
            client.charge("o1", part, key=str(part))
            return part

        def on_order(order: dict):
            env.note("charged", parts=work(charge))

        env.consume(bus, "orders", on_order)

    system.entry(examples=[{"id": "o1"}])(
        lambda env, order: env.publisher(bus)("orders", order, key="o1")
    )
    return system


def mapped(charge):
    with ThreadPool(2) as pool:
        return pool.map(charge, [1, 2, 3])


def applied(charge):
    pool = Pool(2)
    found = [pool.apply_async(charge, (part,)) for part in (1, 2, 3)]
    pool.close()
    pool.join()
    return [one.get() for one in found]


def test_a_pool_of_threads_runs_in_virtual_time():
    for work in (mapped, applied):
        run = shop(work).run()
        assert [one.data["parts"] for one in run.history.of("note")] == [[1, 2, 3]]
        at_s = [one.at_ms // 1000 for one in run.history.of("effect")]
        assert at_s == [1, 1, 2]  # two at a time
        assert run.digest() == shop(work).run().digest()


def test_a_crash_takes_the_pool_with_it():
    crash = Schedule([Crash(Site("till.on_order/bank.charge", "after"))])
    run = shop(mapped).run(None, crash)
    assert run.ending.verdict == "quiet" and not run.unused
    assert [one.data["parts"] for one in run.history.of("note")] == [[1, 2, 3]]


def test_pools_that_nobody_closed_are_no_matter_when_the_process_ends():
    program = (
        "from tests.adapters.test_multiprocessing import *\n"
        "shop(lambda charge: Pool(2).map(charge, [1])).run()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
