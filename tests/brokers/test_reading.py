"""How a handler gets its messages: by its signature and its annotations, as it is written."""

import dataclasses
import functools
from unittest.mock import Mock

import attrs
import msgspec
import pytest

from chaosharness import Delivery, Kafka, System
from chaosharness.errors import InvalidDefinition


@dataclasses.dataclass
class Placed:
    order: str


@attrs.frozen
class Paid:
    cents: int


class Sent(msgspec.Struct):
    parcel: str


VALUES = (Placed("o1"), Paid(500), Sent("p1"))


def traced(handler):
    """A decorator as everybody has one: the same wrapper code around every handler."""

    @functools.wraps(handler)
    def wrapper(*arguments, **words):
        return handler(*arguments, **words)

    return wrapper


def given_to(*handlers, values=VALUES, **options):
    """Publish a value to each handler's own topic; return what the handlers were called with."""
    system = System("reading")
    topics = {f"t{number}": 1 for number, _ in enumerate(handlers)}
    bus = system.add(Kafka("bus", topics))

    @system.service("reader")
    def reader(env):
        for topic, handler in zip(topics, handlers, strict=True):
            env.consume(bus, topic, handler, on_error="skip", **options)

    @system.entry(examples=[None])
    def enter(env, _):
        publish = env.publisher(bus)
        for topic, value in zip(topics, values, strict=False):
            publish(topic, value)

    run = system.run()
    assert not list(run.history.of("raised"))


def test_an_annotation_says_what_a_payload_becomes():
    seen = []

    def on_placed(value: Placed):
        seen.append(value)

    def on_paid(value: Paid):
        seen.append(value)

    def on_sent(value: Sent):
        seen.append(value)

    given_to(on_placed, on_paid, on_sent)
    assert sorted(map(repr, seen)) == sorted(map(repr, VALUES))


def test_handlers_in_the_same_decorator_keep_their_own_types():
    seen = []

    @traced
    def on_placed(value: Placed):
        seen.append(value)

    @traced
    def on_paid(value: Paid):
        seen.append(value)

    given_to(on_placed, on_paid)
    assert sorted(map(repr, seen)) == ["Paid(cents=500)", "Placed(order='o1')"]


def test_handlers_in_the_same_decorator_keep_their_own_number_of_parameters():
    seen = []

    @traced
    def on_placed(value):
        seen.append(value)

    @traced
    def on_paid(value, delivery):
        seen.append((value, delivery.topic))

    given_to(on_placed, on_paid)
    assert sorted(map(repr, seen)) == ["({'cents': 500}, 't1')", "{'order': 'o1'}"]


def test_handlers_made_by_one_function_keep_their_own_types():
    seen = []

    def made_for(model):
        def handle(value: model):
            seen.append(value)

        return handle

    given_to(made_for(Placed), made_for(Paid))
    assert sorted(map(repr, seen)) == ["Paid(cents=500)", "Placed(order='o1')"]


def test_the_same_handler_is_read_as_two_types():
    seen = []

    def handle(value):
        seen.append(value)

    given_to(handle, values=VALUES[:1], read_as=Placed)
    given_to(handle, values=VALUES[1:2], read_as=Paid)
    assert seen == [Placed("o1"), Paid(500)]


def test_methods_partials_and_callable_objects_are_read_as_they_are():
    seen = []

    class Desk:
        def on_placed(self, value: Placed):
            seen.append(value)

    class Handler:
        def __init__(self, name):
            self.name = name

        def __call__(self, value: Paid):
            seen.append(value)

    def on_sent(where, value: Sent):
        seen.append((where, value))

    given_to(Desk().on_placed, Handler("till"), functools.partial(on_sent, "here"))
    assert sorted(map(repr, seen)) == sorted(map(repr, [VALUES[0], VALUES[1], ("here", VALUES[2])]))


def test_a_function_and_a_method_with_the_same_code():
    seen = []

    def handle(first, value=None):
        seen.append((first, value))

    class Desk:
        on_placed = handle

    desk = Desk()
    given_to(handle, desk.on_placed, values=VALUES[:1] * 2)
    assert (desk, {"order": "o1"}) in seen
    assert ({"order": "o1"}, None) in seen


def test_a_delivery_is_given_where_it_is_asked_for():
    seen = []

    def alone(delivery: Delivery):
        seen.append((delivery.topic, delivery.value))

    def beside(value: Paid, delivery: Delivery):
        seen.append((delivery.topic, value))

    given_to(alone, beside)
    assert sorted(seen) == [("t0", {"order": "o1"}), ("t1", Paid(500))]


def test_a_decorator_that_hides_the_signature_passes_the_payload_on():
    seen = []

    def bare(handler):
        def wrapper(*arguments, **words):
            return handler(*arguments, **words)

        return wrapper

    class Desk:
        @bare
        def on_placed(self, value):
            seen.append(value)

    given_to(Desk().on_placed, bare(seen.append))
    assert sorted(map(repr, seen)) == ["{'cents': 500}", "{'order': 'o1'}"]


def test_what_has_a_default_is_left_alone():
    seen = []

    def handle(value, log=seen.append, *, retry=False, **words):
        log((value, retry, words))

    given_to(handle)
    assert seen == [({"order": "o1"}, False, {})]


def test_a_mock_is_a_handler():
    handler = Mock()
    given_to(handler)
    handler.assert_called_once_with({"order": "o1"})


@pytest.mark.parametrize("handler", [lambda: None, lambda a, b, c: None])
def test_a_handler_with_the_wrong_number_of_parameters_is_refused(handler):
    with pytest.raises(InvalidDefinition, match="must take the message"):
        given_to(handler)
