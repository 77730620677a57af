"""Protobuf messages, by the library protobuf: classes that protoc made, as they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import attrs
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, EncodeError, Message

from chaosharness.schemas.schema import UnreadableEvent

_F: Final = FieldDescriptor
_GROUPS: Final = (
    (_F.TYPE_INT32, _F.TYPE_INT64, _F.TYPE_UINT32, _F.TYPE_UINT64, _F.TYPE_BOOL, _F.TYPE_ENUM),
    (_F.TYPE_SINT32, _F.TYPE_SINT64),
    (_F.TYPE_STRING, _F.TYPE_BYTES),
    (_F.TYPE_FIXED32, _F.TYPE_SFIXED32),
    (_F.TYPE_FIXED64, _F.TYPE_SFIXED64),
)
_GROUP: Final = {one: number for number, group in enumerate(_GROUPS) for one in group}
_NAMES: Final = {
    value: name.removeprefix("TYPE_").lower()
    for name, value in vars(FieldDescriptor).items()
    if name.startswith("TYPE_") and isinstance(value, int)
}
_BYTES: Final = (_F.TYPE_STRING, _F.TYPE_BYTES, _F.TYPE_MESSAGE)


@attrs.frozen
class ProtobufSchema:
    """One version of a message. Values are messages of its class.

    A reader keeps fields that it does not know, and its code does not see them.

    *Source*: Protocol Buffers, Language Guide (proto 3), Updating A Message Type; Confluent
    Platform 8.1, `SchemaDiff` of its Protobuf provider: fields are compared by number; a package
    that changes, a required field that comes or goes, a field that leaves a oneof, two fields that
    enter one, another wire type and another label of a number are refused.

    *Not modelled*: messages of the file that the event does not hold; the name of the event's own
    message (Python's pool takes one message of a name, so two versions are `OrderV1` and `OrderV2`
    there; Confluent refuses a file in which a message is gone).
    """

    kind: type[Message]
    format: str = "Protobuf"

    def problems(self, writer: ProtobufSchema) -> list[str]:
        """Return why it cannot read all that another version writes."""
        mine, theirs = self.kind.DESCRIPTOR, writer.kind.DESCRIPTOR
        found = [*_compare(mine, theirs, "", set())]
        if mine.file.package != theirs.file.package:
            found.insert(0, f"the package {theirs.file.package!r} is now {mine.file.package!r}")
        return list(dict.fromkeys(found))

    def write(self, value: Any) -> bytes:
        """Return a message, or a dict of its fields, as bytes.

        Raises:
            ValueError: It is no message of this class.
        """
        if isinstance(value, dict):
            try:
                value = json_format.ParseDict(value, self.kind())
            except json_format.ParseError as error:
                raise ValueError(f"{self._name} cannot be written: {error}") from None
        if not isinstance(value, self.kind):
            raise ValueError(f"{type(value).__name__} is no {self._name}")
        try:
            return value.SerializeToString(deterministic=True)
        except EncodeError as error:
            raise ValueError(f"{self._name} cannot be written: {error}") from None

    def read(self, body: bytes, writer: ProtobufSchema) -> Any:
        """Return a message of its class."""
        try:
            return self.kind.FromString(body)
        except DecodeError as error:
            raise UnreadableEvent(f"{self._name} cannot be read: {error}") from None

    def recast(self, body: bytes, writer: ProtobufSchema) -> bytes:
        """Return what a producer with this version would have written."""
        value = self.read(body, writer)
        value.DiscardUnknownFields()
        return self.write(value)

    def plain(self, value: Any) -> Any:
        """Return a message as its fields that are set, numbers as numbers."""
        return _plain(value)

    def defaults(self) -> dict[str, Any]:
        """Return nothing: what is not set is not there."""
        return {}

    @property
    def _name(self) -> str:
        return str(self.kind.DESCRIPTOR.name)


def schema(kind: type[Message]) -> ProtobufSchema:
    """Return a message class as a version."""
    return ProtobufSchema(kind)


def _plain(message: Any) -> dict[str, Any]:
    return {field.name: _value(field, value) for field, value in message.ListFields()}


def _value(field: Any, value: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        is_message = field.message_type.fields_by_name["value"].message_type is not None
        return {str(key): _plain(one) if is_message else one for key, one in value.items()}
    if field.is_repeated:
        return [_one(field, item) for item in value]
    return _one(field, value)


def _one(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return _plain(value)
    if field.type == _F.TYPE_BYTES:
        return value.decode("utf-8", "backslashreplace")
    return value


def _compare(reader: Any, writer: Any, path: str, seen: set[tuple[str, str]]) -> Iterator[str]:
    pair = (reader.full_name, writer.full_name)
    if pair in seen:
        return
    seen.add(pair)
    theirs, mine = writer.fields_by_number, reader.fields_by_number
    for number, field in mine.items():
        where = f"{path}.{field.name}" if path else field.name
        old = theirs.get(number)
        if old is None:
            if field.is_required:
                yield f"the field {where!r} is required, and is new"
        else:
            yield from _field(field, old, where, seen)
    for number, field in theirs.items():
        where = f"{path}.{field.name}" if path else field.name
        if number in mine:
            continue
        if field.is_required:
            yield f"the field {where!r} was required, and is gone"
        elif _oneof(field) in reader.oneofs_by_name:
            yield f"the field {where!r} has left the oneof {_oneof(field)!r}"
    for name, oneof in reader.oneofs_by_name.items():
        if name not in writer.oneofs_by_name or not _real(writer.oneofs_by_name[name]):
            came = [one.name for one in oneof.fields if one.number in theirs]
            if len(came) > 1:
                yield f"the fields {', '.join(map(repr, came))} are now a oneof, {name!r}"
        else:
            known = {one.number for one in writer.oneofs_by_name[name].fields}
            came = [
                one.name for one in oneof.fields if one.number in theirs and one.number not in known
            ]
            for one in came:
                yield f"the field {one!r} has come into the oneof {name!r}"


def _field(field: Any, old: Any, where: str, seen: set[tuple[str, str]]) -> Iterator[str]:
    if old.type != field.type and (
        old.type not in _GROUP or _GROUP[old.type] != _GROUP.get(field.type)
    ):
        yield f"the field {where!r} is {_NAMES[old.type]}, and is read as {_NAMES[field.type]}"
        return
    if old.is_repeated != field.is_repeated and field.type not in _BYTES:
        yield f"the field {where!r} is repeated in one version and not in the other"
    if field.is_required and not old.is_required:
        yield f"the field {where!r} is required, and is not always written"
    stays = field.containing_type.oneofs_by_name
    if _oneof(old) in stays and _oneof(field) != _oneof(old):
        yield f"the field {where!r} has left the oneof {_oneof(old)!r}"
    if field.message_type is not None and old.message_type is not None:
        if field.message_type.name != old.message_type.name:
            names = (old.message_type.name, field.message_type.name)
            yield f"the field {where!r} is {names[0]}, and is read as {names[1]}"
        else:
            yield from _compare(field.message_type, old.message_type, where, seen)


def _real(oneof: Any) -> bool:
    """Say whether a oneof is written as one: proto3's `optional` makes one of its own."""
    return not (len(oneof.fields) == 1 and oneof.name == f"_{oneof.fields[0].name}")


def _oneof(field: Any) -> str | None:
    found = field.containing_oneof
    return str(found.name) if found is not None and _real(found) else None
