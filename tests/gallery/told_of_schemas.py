"""What the reports of broken twins must say: events with versions."""

from chaosharness import NewEvent, OldEvent, Redeploy, Site, no_money_dropped
from tests.gallery.told import Told

TOLD = {
    "schemas.currencies:none_is_no_currency": Told(
        "every event is readable",
        "this event was written with version 1: it takes the default for currency",
        [OldEvent(Site("client.place/schemas.write orders"))],
        items=(0,),
    ),
    "schemas.discounts:discount_of_its_own": Told(
        "no money dropped",
        "this event was written with version 2: it never sees discount_cents",
        [Redeploy(Site("payments/start", entity=0))],
        items=(0,),
    ),
    "schemas.discounts:reads_and_writes": Told(
        "no money dropped",
        "pricing.on_order has version 1 of orders, and this event was written with version 2",
        [Redeploy(Site("pricing.on_order/handle"))],
        items=(0,),
    ),
    "schemas.discounts:never_upgraded": Told(
        no_money_dropped(fields=["discount_cents"]),
        "payments.on_order has version 1 of orders, and this event was written with version 2",
        [],
        items=(0,),
    ),
    "schemas.renames:default_for_a_rename": Told(
        "no money dropped",
        "it never sees cents, and it takes the default for amount_cents",
        [Redeploy(Site("desk/start", entity=0))],
        items=(0,),
    ),
    "schemas.renames:widened": Told(
        "every event is readable",
        "this event was written with version 2: it cannot read it at all",
        [NewEvent(Site("client.place/schemas.write orders"))],
        items=(0,),
    ),
}
