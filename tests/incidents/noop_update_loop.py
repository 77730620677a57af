"""Two systems keep each other up to date, and an update that changes nothing is an event as well.

Kind: cyclic event storm, without any fault. Source: saleor/saleor issue 14260.
Smallest fault: 0. Expected: `broken` is reported as an event cycle that names both services.
`right` holds: nothing is published where nothing changed.
"""

from chaosharness import Kafka, KeyValue, System, never_stuck, no_event_cycle

FAULTS = 1


def build(name, *, fixed):
    system = System(name)
    bus = system.add(Kafka("bus", topics={"commands": 1, "updated": 1}))
    products = system.add(KeyValue("products"))

    @system.service("shop")
    def shop(env):
        store, publish = env.connect(products), env.publisher(bus)

        async def on_command(product: dict):
            same = await store.get(product["id"]) == product
            if same and fixed:
                return
            await publish("updated", product, key=product["id"])
            await store.put(product["id"], product)

        env.consume(bus, "commands", on_command, on_error="dead-letter", retries_max=20)

    @system.service("importer")
    def importer(env):
        publish = env.publisher(bus)

        async def on_updated(product: dict):
            await publish("commands", {**product, "synced": True}, key=product["id"])

        env.consume(bus, "updated", on_updated, on_error="dead-letter", retries_max=20)

    @system.entry(examples=[{"id": "p1", "name": "cup", "synced": False}])
    def edit(env, product):
        env.publisher(bus)("commands", product, key=product["id"])

    return system


CLAIMS = [no_event_cycle(), never_stuck()]
broken = build("no-op update loop", fixed=False)
right = build("no-op update is silent", fixed=True)
