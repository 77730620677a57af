"""What a workload item is called by: its id, wherever that stands."""

from types import SimpleNamespace

import pytest

from chaosharness.checkers.outcomes.words import name_of_item
from chaosharness.checkers.payload import ids_in


@pytest.mark.parametrize(
    ("item", "ids"),
    [
        ({"topic": "requested", "id": "r1"}, ("r1",)),
        ({"kind": "new", "rideId": "r1", "order": 7}, ("7", "r1")),
        ({"customer_id": "ann", "id": True}, ("ann",)),
        ({"topic": "requested"}, ()),
        ("o1", ()),
        (None, ()),
    ],
)
def test_fields_of_ids_name_an_item(item, ids):
    assert ids_in(item) == ids


def test_a_finding_calls_an_item_by_its_id_as_the_report_does():
    owners = SimpleNamespace(
        texts=[["requested", "r1"], ["shared"]], unique={"requested": 1, "r1": 1, "shared": 0}
    )
    entered = [{"topic": "requested", "id": "r1"}, {"id": "shared"}]
    clean = SimpleNamespace(entered=entered, reader=SimpleNamespace(owners=owners))
    assert name_of_item(clean, 1) == "item 1 (r1)"
    assert name_of_item(clean, 2) == "item 2", "an id that others have, too, names nobody"
    entered[0] = {"topic": "requested"}
    assert name_of_item(clean, 1) == "item 1 (requested)"
