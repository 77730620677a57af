"""A `stop()` that nobody awaits, on the way out: what a fault leads to is found all the same."""

from __future__ import annotations

import pytest
from aiokafka import AIOKafkaConsumer

from chaosharness import External, Kafka, KafkaServers, System, explore
from chaosharness.errors import NotAwaited


class Stock:
    def __init__(self):
        self.left = 10

    def deduct(self, pieces: int):
        self.left -= pieces


def deducts(system, *, awaits, fails=False):
    bus = system.add(Kafka("bus", {"deductions": 1}))
    system.add(KafkaServers("kafka:9092", bus))
    stock = system.add(External("stock", Stock))

    @system.service("inventory")
    def inventory(env):
        deduct = env.client(stock).deduct

        async def main():
            consumer = AIOKafkaConsumer("deductions", bootstrap_servers="kafka:9092", group_id="g")
            await consumer.start()
            try:
                async for message in consumer:
                    await deduct(len(message.value))
                    if fails:
                        raise ValueError("no such product")
            except Exception as error:
                print(f"critical error: {error}")
            finally:
                if awaits:
                    await consumer.stop()
                else:
                    consumer.stop()

        env.main(main)

    @system.entry(examples=["one", "three"])
    def order(env, one):
        env.publisher(bus)("deductions", one)

    return system


@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
def test_what_a_fault_leads_to_is_found_though_the_code_does_not_await_its_stop():
    campaign = explore(deducts(System("stock"), awaits=False), faults_max=1)
    never = [one for one in campaign.counterexamples if "never" in one.findings[0].summary]
    assert never, "the loop that has ended for good deducts nothing any more"


def test_without_any_fault_it_is_a_mistake_that_names_the_line_of_the_code_only():
    with pytest.raises(NotAwaited, match=r"called stop, which is 'async def', without await at"):
        deducts(System("stock"), awaits=False, fails=True).run()
