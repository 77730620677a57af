"""Messages, and how their payload becomes bytes: once, at the producer."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from functools import partial
from types import FunctionType, MethodType
from typing import Any, Final

import attrs
import msgspec

from chaosharness.errors import InvalidDefinition, UnserialisablePayload

POISON: Final = {
    "garbage": b"\x00\xff not what you expect",
    "unknown-schema": b'{"schema_version":999,"type":"FromTheFuture"}',
}

POISON_BODIES: Final = frozenset(POISON.values())

NO_HEADERS: Final[Mapping[str, Any]] = {}


class Message(msgspec.Struct, eq=False, gc=False):
    """What a broker stores. Immutable once stored; consumers get a `Delivery` of it."""

    topic: str
    key: str | None
    headers: Mapping[str, Any]
    body: bytes
    entity: int = 0
    hops: int = 0
    published: int = -1
    partition: int = 0
    offset: int = 0
    deliveries: dict[str, int] | None = None
    redelivered: bool = False

    def delivered_to(self, whom: str) -> int:
        """Count one more delivery to a group or queue; return how many there were."""
        counts = self.deliveries
        if counts is None:
            counts = self.deliveries = {}
        counts[whom] = count = counts.get(whom, 0) + 1
        return count


@attrs.frozen
class Delivery:
    """A message as a handler sees it, where it asks for more than the payload.

    Attributes:
        value: The decoded payload.
        topic: Topic, or routing key.
        key: Message key, or None.
        headers: As the producer set them.
        partition: Log partition (Kafka), else 0.
        offset: Position in its log partition (Kafka), or in its queue's life.
        redelivered: What the broker says about it. Kafka never says so.
        receipt: What settling it takes, where the broker gives one. Not for reading.
    """

    value: Any
    topic: str
    key: str | None
    headers: Mapping[str, Any]
    partition: int
    offset: int
    redelivered: bool
    message: Message = attrs.field(repr=False, eq=False)
    receipt: Any = attrs.field(default=None, repr=False, eq=False)


def _encode_unknown(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)  # pydantic, which msgspec does not know
    if dump is not None:
        return dump(mode="json")
    raise TypeError(f"{type(value).__qualname__} has no JSON form")


_encoder: Final = msgspec.json.Encoder(enc_hook=_encode_unknown)


def encode(value: Any, topic: str) -> bytes:
    """Write a payload as bytes: bytes and str as they are, all else as JSON.

    Raises:
        UnserialisablePayload: The value has no JSON form; the message names the topic.
    """
    if isinstance(value, bytes):
        return value
    try:
        return _encoder.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise UnserialisablePayload(
            f"a message for {topic!r} cannot be written as JSON: {error}. Publish a dict, an "
            "attrs or dataclass instance, a msgspec Struct, a pydantic model, or bytes."
        ) from None


@attrs.frozen
class Reader:
    """How a handler wants its messages: `read(message)` gives the arguments to call it with."""

    read: Callable[[Message], tuple[Any, ...]]


def delivery(decode: Callable[[bytes], Any], message: Message, receipt: Any = None) -> Delivery:
    """Return the message as a handler sees it."""
    return Delivery(
        decode(message.body),
        message.topic,
        message.key,
        message.headers,
        message.partition,
        message.offset,
        message.redelivered,
        message,
        receipt,
    )


def _reader_of_value(decode: Callable[[bytes], Any]) -> Reader:
    return Reader(lambda message: (decode(message.body),))


def _reader_of_delivery(decode: Callable[[bytes], Any]) -> Reader:
    return Reader(lambda message: (delivery(decode, message),))


def _reader_of_both(decode: Callable[[bytes], Any]) -> Reader:
    def read(message: Message) -> tuple[Any, ...]:
        seen = delivery(decode, message)
        return (seen.value, seen)

    return Reader(read)


def decoder_for(wanted: Any) -> Callable[[bytes], Any]:
    """Return what turns a payload into the wanted type; None or Any means plain JSON.

    A function is taken to be the deserialiser itself.
    """
    if wanted in (None, Any, inspect.Parameter.empty):
        return msgspec.json.Decoder().decode
    if wanted is bytes:
        return bytes
    if inspect.isroutine(wanted) or isinstance(wanted, partial):
        return wanted
    validate = getattr(wanted, "model_validate_json", None)  # pydantic
    if validate is not None:
        return validate  # type: ignore[no-any-return]
    try:
        return msgspec.json.Decoder(wanted).decode
    except TypeError as error:
        raise InvalidDefinition(f"messages cannot be read as {wanted!r}: {error}") from None


_readers: dict[tuple[int, bool], tuple[FunctionType, tuple[Any, Any], Reader]] = {}
"""By the identity of a handler's code, which the function beside it keeps from being reused;
then by what tells handlers apart that one `def` made: annotations, and the wanted type."""

READERS_MAX: Final = 4_096


def reader_for(handler: Callable[..., Any], wanted: Any = None) -> Reader:
    """Return how to call this handler, from its signature and annotations.

    One parameter gets the payload, decoded as the annotation says; annotated `Delivery` it
    gets the whole delivery; a second required parameter gets the delivery beside it. `*args`
    alone, the mark of a decorator without `functools.wraps`, gets the payload as it is.
    """
    function = _plain_function(handler)
    if function is None:  # a partial, a callable object: read anew each time
        return _read_signature(handler, wanted)
    key = (id(function.__code__), type(handler) is FunctionType)
    types = (function.__annotations__, wanted)
    found = _readers.get(key)
    if found is not None and found[1] == types:
        return found[2]
    reader = _read_signature(handler, wanted)
    if len(_readers) >= READERS_MAX:
        _readers.clear()
    _readers[key] = (function, types, reader)
    return reader


def _plain_function(handler: Any) -> FunctionType | None:
    """Return the function whose signature and annotations are the handler's, if there is one."""
    function = handler
    if type(handler) is MethodType:
        function = handler.__func__
    while type(function) is FunctionType:
        inner = getattr(function, "__wrapped__", None)
        if inner is None:
            return function
        function = inner
    return None


def _read_signature(handler: Callable[..., Any], wanted: Any) -> Reader:
    try:
        parameters = [
            one
            for one in inspect.signature(handler).parameters.values()
            if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD, one.VAR_POSITIONAL)
        ]
    except (TypeError, ValueError) as error:
        raise InvalidDefinition(f"{handler!r} is not a handler: {error}") from None
    required = [
        one for one in parameters if one.default is one.empty and one.kind is not one.VAR_POSITIONAL
    ]
    if not parameters or len(required) > 2:
        raise InvalidDefinition(
            f"handler {getattr(handler, '__qualname__', handler)!r} must take the message, or "
            f"the message and its delivery; it takes {len(required)} arguments"
        )
    hint = _hint(handler, parameters[0].name)
    whole = hint is Delivery
    if len(required) == 2:
        _check_second(handler, required, whole)
    try:
        decode = decoder_for(hint if wanted is None and not whole else wanted)
    except InvalidDefinition as error:
        name = getattr(handler, "__qualname__", handler)
        raise InvalidDefinition(f"handler {name!r}: {error}") from None
    if whole:
        return _reader_of_delivery(decode)
    return _reader_of_both(decode) if len(required) == 2 else _reader_of_value(decode)


def _check_second(
    handler: Callable[..., Any], required: list[inspect.Parameter], whole: bool
) -> None:
    """Refuse a second parameter that is not for the delivery.

    Raises:
        InvalidDefinition: Its annotation says so; or the first one is for it.
    """
    first, second = (one.name for one in required)
    hint = _annotation(handler, second)
    if not whole and (hint in (None, Any, object, Delivery) or Delivery in typing.get_args(hint)):
        return
    name = getattr(handler, "__qualname__", handler)
    kind = getattr(hint, "__name__", hint)
    said = f"; {second!r} is annotated {kind}, which is no Delivery" if not whole else ""
    raise InvalidDefinition(
        f"handler {name!r} takes two values, {first!r} and {second!r}, but a message is one, and "
        f"a second parameter gets its Delivery{said}. Take the message as one value, for example "
        "a dict or a dataclass with both."
    )


def _hint(handler: Callable[..., Any], name: str) -> Any:
    hint = _annotation(handler, name)
    if hint is None or hint in (dict, object) or isinstance(hint, TypeVarLike):
        return None
    return hint


def _annotation(handler: Callable[..., Any], name: str) -> Any:
    """Return what a parameter is annotated with, or None."""
    while isinstance(handler, partial):
        handler = handler.func
    target = getattr(handler, "__func__", handler)
    if not inspect.isroutine(target):
        target = type(target).__call__
    try:
        return typing.get_type_hints(target).get(name)
    except (NameError, TypeError):
        return None  # an annotation that cannot be resolved here says nothing


TypeVarLike: Final = (typing.TypeVar, typing.ParamSpec)
