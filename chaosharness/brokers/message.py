"""Messages, and how their payload becomes bytes: once, at the producer."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from functools import partial
from operator import methodcaller
from types import CodeType, FunctionType, MethodType
from typing import Any, Final

import attrs
import msgspec

from chaosharness.errors import InvalidDefinition, RefusedValue, UnserialisablePayload
from chaosharness.handlers.colours import is_async, made_at
from chaosharness.handlers.places import asked_at

POISON: Final = {
    "garbage": b"\x00\xff not what you expect",
    "unknown-schema": b'{"schema_version":999,"type":"FromTheFuture"}',
}

POISON_BODIES: Final = frozenset(POISON.values())

NO_HEADERS: Final[Mapping[str, Any]] = {}


class Message(msgspec.Struct, eq=False, gc=False):
    """What a broker stores. Immutable once stored; consumers get a `Delivery` of it.

    Its `name` is what sites call it: see `kernel.message_names`.
    """

    topic: str
    key: str | bytes | None
    headers: Mapping[str, Any]
    body: bytes | None
    entity: int = 0
    hops: int = 0
    published: int = -1
    partition: int = 0
    offset: int = 0
    deliveries: dict[str, int] | None = None
    redelivered: bool = False
    name: str = ""

    def delivered_to(self, whom: str) -> int:
        """Count one more delivery to a group or queue; return how many there were."""
        counts = self.deliveries
        if counts is None:
            counts = self.deliveries = {}
        counts[whom] = count = counts.get(whom, 0) + 1
        return count


copied: Final[Callable[[Message], Message]] = methodcaller("__copy__")
"""Return a copy of a message: what one consumer sees, or a duplicate. `copy.copy` takes thirty
bytecodes to find the same method."""


@attrs.frozen
class Delivery:
    """A message as a handler sees it, where it asks for more than the payload.

    Attributes:
        value: The decoded payload; None for a record without a value (Kafka's tombstone).
        topic: Topic, or routing key.
        key: Message key as it was published, text or bytes, or None.
        headers: As the producer set them.
        partition: Log partition (Kafka), else 0.
        offset: Position in its log partition (Kafka), or in its queue's life.
        redelivered: What the broker says about it. Kafka never says so.
        receipt: What settling it takes, where the broker gives one. Not for reading.
    """

    value: Any
    topic: str
    key: str | bytes | None
    headers: Mapping[str, Any]
    partition: int
    offset: int
    redelivered: bool
    message: Message = attrs.field(repr=False, eq=False)
    receipt: Any = attrs.field(default=None, repr=False, eq=False)

    @property
    def properties(self) -> Mapping[str, str]:
        """What it carries beside its headers, as it was published: RabbitMQ's `message_id`,
        `correlation_id` and `reply_to`."""
        return getattr(self.message, "properties", NO_HEADERS)


def _encode_unknown(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)  # pydantic, which msgspec does not know
    if dump is not None:
        return dump(mode="json")
    raise TypeError(f"{type(value).__qualname__} has no JSON form")


_encoder: Final = msgspec.json.Encoder(enc_hook=_encode_unknown)


class Text(bytes):
    """The payload of a message that was published as a text: that text, in UTF-8.

    It is what the producer wrote, JSON (`json.dumps(order)`) or not. So whoever wants a text
    gets it as it is, and whoever wants anything else has it read as JSON.
    """

    __slots__ = ()


class Framed(bytes):
    """The payload of an event that a schema wrote, with its frame in front.

    Attributes:
        told: What it says, as JSON: what histories show in its place.
    """

    told: bytes

    @classmethod
    def made(cls, body: bytes, told: bytes) -> Framed:
        """Return a payload that says so."""
        found = cls(body)
        found.told = told
        return found


def key_of(key: Any, topic: str) -> str | None:
    """Return a message key as text, for histories: bytes are the key as well.

    Raises:
        RefusedValue: It is neither; the message names the topic.
    """
    if key is None or isinstance(key, str):
        return key
    if isinstance(key, bytes):
        return key.decode("utf-8", "backslashreplace")
    raise RefusedValue(
        f"a message for {topic!r} cannot have the key {key!r}, of type {type(key).__qualname__}: "
        f"a key is text or bytes. Write key=str(...){asked_at()}."
    )


def encode(value: Any, topic: str) -> bytes:
    """Write a payload as bytes: bytes and str as they are, all else as JSON.

    Raises:
        UnserialisablePayload: The value has no JSON form; the message names the topic.
    """
    if isinstance(value, str):
        return Text(value.encode("utf-8", "surrogatepass"))
    return encode_json(value, topic)


def encode_json(value: Any, topic: str) -> bytes:
    """Write a value as JSON, unless it is bytes.

    Raises:
        UnserialisablePayload: It has no JSON form; the message names the topic.
    """
    if isinstance(value, bytes):
        return value
    try:
        return _encoder.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise UnserialisablePayload(
            f"a message for {topic!r} cannot be written as JSON: {error}. Publish a dict, an "
            "attrs or dataclass instance, a msgspec Struct, a pydantic model, or bytes."
            f"{asked_at()}"
        ) from None


@attrs.frozen
class Reader:
    """How a handler wants its messages: `read(message)` gives the arguments to call it with.

    It is `plain` where the handler is known to be a function that is not `async`.
    """

    read: Callable[[Message], tuple[Any, ...]]
    plain: bool = False


def delivery(decode: Decode, message: Message, receipt: Any = None) -> Delivery:
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


def _reader_of_value(decode: Decode) -> Reader:
    return Reader(lambda message: (decode(message.body),))


def _reader_of_delivery(decode: Decode) -> Reader:
    return Reader(lambda message: (delivery(decode, message),))


def _reader_of_both(decode: Decode) -> Reader:
    def read(message: Message) -> tuple[Any, ...]:
        seen = delivery(decode, message)
        return (seen.value, seen)

    return Reader(read)


Decode = Callable[[bytes | None], Any]
"""Turns a payload into a value; no payload at all is None, whatever is wanted."""


def decoder_for(wanted: Any) -> Decode:
    """Return what turns a payload into the wanted type; None or Any means plain JSON.

    A function is taken to be the deserialiser itself. A payload that was published as a text
    is that text where a text can be wanted; without a type it is read as JSON where it is an
    object or a list. No payload at all (a tombstone) is None: there is nothing to read.
    """
    plain = _decoder_of_bytes(wanted)
    of_text = _decoder_of_text(wanted, plain)

    def decode(body: bytes | None) -> Any:
        if type(body) is bytes:
            return plain(body)
        return None if body is None else of_text(body)

    return decode


def _decoder_of_text(wanted: Any, plain: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Return what reads a payload that was published as a text."""
    if wanted in (None, Any, inspect.Parameter.empty):
        return _text_or_json
    if wanted is dict or wanted is bytes or plain is wanted or hasattr(wanted, "model_fields"):
        return lambda body: plain(bytes(body))

    def decode(body: bytes) -> Any:
        try:
            return msgspec.convert(body.decode(), wanted)
        except (msgspec.ValidationError, UnicodeDecodeError):
            return plain(body)

    return decode


def _text_or_json(body: bytes) -> Any:
    text = body.decode()
    if text.lstrip()[:1] in ("{", "["):
        try:
            return msgspec.json.decode(body)
        except msgspec.DecodeError:
            return text
    return text


def _decoder_of_bytes(wanted: Any) -> Callable[[bytes], Any]:
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


_readers: dict[tuple[int, bool | type], tuple[CodeType, tuple[Any, Any], Reader]] = {}
"""By the identity of a handler's code, which stands beside it and so is not reused (its function
would hold a whole system); then by what tells handlers apart that one `def` made: annotations, and
the wanted type."""

READERS_MAX: Final = 4_096


def reader_for(handler: Callable[..., Any], wanted: Any = None) -> Reader:
    """Return how to call this handler, from its signature and annotations.

    One parameter gets the payload, decoded as the annotation says; annotated `Delivery` it
    gets the whole delivery; a second required parameter gets the delivery beside it. `*args`
    alone, the mark of a decorator without `functools.wraps`, gets the payload as it is.
    """
    function: Any = handler
    if type(handler) is not FunctionType or hasattr(handler, "__wrapped__"):
        function = _plain_function(handler)
    if function is None:  # a partial, a callable object: read anew each time
        return _read_signature(handler, wanted)
    key = (id(function.__code__), handler is function or type(handler))
    types = (function.__annotations__, wanted)
    found = _readers.get(key)
    if found is not None and found[1] == types:
        return found[2]
    reader = _read_signature(handler, wanted)
    if handler is function:
        reader = attrs.evolve(reader, plain=not is_async(handler))
    if len(_readers) >= READERS_MAX:
        _readers.clear()
    _readers[key] = (function.__code__, types, reader)
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


_PIKA: Final = (
    ". If it is a callback of pika, (channel, method, properties, body): give a function of the "
    "body and its delivery that calls it, lambda body, delivery: on_message(channel, ...)"
)


def wanted_by(handler: Callable[..., Any]) -> Any:
    """Return what a handler's first parameter is annotated with; None where that says nothing."""
    try:
        first = next(iter(inspect.signature(handler).parameters), None)
    except (TypeError, ValueError):
        return None
    hint = None if first is None else _hint(handler, first)
    return None if hint is Delivery else hint


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
        given = f"{len(required)} arguments" if parameters else "none"
        name = getattr(handler, "__name__", "on_message")
        write = _PIKA if len(required) == 4 else f". Write def {name}(message): ..."
        raise InvalidDefinition(
            f"handler {getattr(handler, '__qualname__', handler)!r} must take the message, or "
            f"the message and its delivery; it takes {given}{made_at(handler)}{write}"
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
        f"a second parameter gets its Delivery{said}{made_at(handler)}. Take the message as one "
        "value, for example a dict or a dataclass with both."
    )


def _hint(handler: Callable[..., Any], name: str) -> Any:
    hint = _annotation(handler, name)
    if hint is None or hint is object or isinstance(hint, TypeVarLike):
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
