import json
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from uuid import UUID

import attrs
import msgspec
import pytest

from chaosharness import History
from chaosharness.kernel.history import plain


def chain():
    return History(
        [
            (0, "arrive", "client", "", 1, 0, -1, {"item": "o1"}),
            (0, "publish", "client", "client.place/bus.publish orders", 1, 1, 0, {"value": b"{}"}),
            (0, "publish", "client", "client.place/bus.publish orders", 2, 1, -1, None),
            (1, "deliver", "bus", "bus.orders/deliver to payments", 1, 1, 1, {"message": 1}),
            (1, "effect", "bank", "payments.on_order/bank.charge", 1, 1, 3, {"cents": 500}),
        ]
    )


def test_causes_lead_back_to_the_root():
    assert [event.index for event in chain().causes(4)] == [4, 3, 1, 0]


def test_happened_before_is_exact():
    history = chain()
    assert history.happened_before(0, 4)
    assert history.happened_before(3, 4)
    assert not history.happened_before(2, 4)
    assert not history.happened_before(4, 3)


def test_events_of_a_kind():
    assert [event.index for event in chain().of("publish", "effect")] == [1, 2, 4]
    with pytest.raises(ValueError, match="no such kind of event: \\['publsh'\\]"):
        list(chain().of("publsh"))


def test_it_survives_json():
    history = chain()
    copy = History.from_json(json.loads(json.dumps(history.to_json())))
    assert copy.digest() == history.digest()
    assert copy[1].data["value"] == "{}"


def test_the_digest_sees_every_field():
    raw = list(chain().raw)
    digests = {History(raw).digest()}
    for index in range(8):
        changed = list(raw[1])
        changed[index] = {"x": 1} if index == 7 else "x" if index in (1, 2, 3) else 7
        digests.add(History([raw[0], tuple(changed), *raw[2:]]).digest())
    assert len(digests) == 9


def test_plain_values_never_show_an_address():
    assert plain(object()) == "<builtins.object>"
    assert plain({"b": {2, 1}, 3: (b"\xff", None)}) == {"b": [1, 2], "3": ["\\xff", None]}


def test_slices_and_negative_indexes():
    history = chain()
    assert history[-1].kind == "effect"
    assert [event.index for event in history[1:3]] == [1, 2]
    assert str(history[4]) == "e4 0.001s effect payments.on_order/bank.charge cents=500"


class Colour(Enum):
    RED = "red"


@dataclass
class Paint:
    colour: Colour
    litres: Decimal


@attrs.frozen
class Wall:
    paint: Paint
    since: date


class Room(msgspec.Struct):
    wall: Wall
    id: UUID


def test_records_are_plain_as_their_fields():
    wall = Wall(Paint(Colour.RED, Decimal("2.50")), date(2030, 1, 2))
    shown = {"paint": {"colour": "red", "litres": "2.50"}, "since": "2030-01-02"}
    assert plain(Room(wall, UUID(int=7))) == {
        "wall": shown,
        "id": "00000000-0000-0000-0000-000000000007",
    }


def test_where_the_events_of_some_kinds_are_is_known_in_their_order_while_a_history_goes_on():
    def event(kind):
        return (0, kind, "a", "", 0, 0, -1, None)

    history = History([event(kind) for kind in ("ack", "call", "ack", "reply", "call")])
    assert history.places_of("ack") == [0, 2]
    assert history.places_of("call", "ack") == [0, 1, 2, 4]
    assert history.places_of("ack", "ack", "dead") == [0, 2]
    assert history.places_of("dead") == history.places_of() == []
    history.raw.append(event("dead"))
    assert history.places_of("dead") == [5]
    assert history.places_of("reply", "dead", "ack") == [0, 2, 3, 5]


def test_events_of_a_kind_are_false_where_there_are_none():
    history = History([(0, "ack", "a", "", 0, 0, -1, None)])
    assert not history.of("crash")
    found = history.of("ack")
    assert found
    assert [event.kind for event in found] == ["ack"]
    assert not found  # it has been handed out
