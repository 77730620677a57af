"""Task queues whose workers are not modelled: one sentence says so, before anything runs."""

import pytest

from chaosharness import System
from chaosharness.errors import InvalidDefinition


def said(main):
    system = System("shop")
    system.service("worker")(lambda env: env.main(main))
    system.entry(examples=[{"id": "o1"}])(lambda env, order: None)
    with pytest.raises(InvalidDefinition) as refused:
        system.run()
    return str(refused.value)


def arq_worker():
    worker = pytest.importorskip("arq.worker")
    settings = pytest.importorskip("arq.connections").RedisSettings(host="redis.example")

    async def charge(context, order):
        pass

    async def main():
        await worker.Worker(functions=[charge], redis_settings=settings).main()

    return main


def dramatiq_worker():
    dramatiq = pytest.importorskip("dramatiq")
    stub = pytest.importorskip("dramatiq.brokers.stub")
    return lambda: dramatiq.Worker(stub.StubBroker()).start()


def huey_worker():
    huey = pytest.importorskip("huey")
    queue = huey.MemoryHuey("shop")
    return lambda: queue.create_consumer().start()


@pytest.mark.parametrize("worker", [arq_worker, dramatiq_worker, huey_worker])
def test_a_worker_of_another_queue_is_refused_by_name_and_line(worker):
    library = worker.__name__.partition("_")[0]
    words = said(worker())
    assert f"begins a worker of {library} (at tests/adapters/test_other_queues.py:" in words
    assert words.endswith("Celery, taskiq (docs/how-to/taskiq.md)")
