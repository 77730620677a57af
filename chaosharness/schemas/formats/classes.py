"""attrs classes, dataclasses and msgspec Structs as schemas of JSON."""

from __future__ import annotations

from typing import Any

import attrs
import msgspec

from chaosharness.errors import InvalidDefinition
from chaosharness.kernel.places import asked_at
from chaosharness.schemas.closing import closed
from chaosharness.schemas.containment import contained
from chaosharness.schemas.schema import UnreadableEvent
from chaosharness.schemas.shape import defaults_of


@attrs.frozen
class ClassSchema:
    """What instances of one class look like as JSON.

    A writer writes all fields of its class. A reader ignores those it does not know (unless it
    is a Struct that forbids them) and takes the default for what is missing.

    *Source*: msgspec, Supported Types, attrs, dataclasses, Struct; Schema Evolution.
    """

    kind: type
    reads: Any = attrs.field(repr=False, eq=False)
    writes: Any = attrs.field(repr=False, eq=False)
    format: str = "class"

    def problems(self, writer: ClassSchema) -> list[str]:
        """Return why it cannot read all that another class writes."""
        return contained(self.reads, writer.writes)

    def write(self, value: Any) -> bytes:
        """Return an instance, or a dict of its fields, as JSON."""
        if not isinstance(value, self.kind):
            value = self._made(msgspec.to_builtins(value))
        return msgspec.json.encode(value)

    def read(self, body: bytes, writer: ClassSchema) -> Any:
        """Return an instance of the class."""
        try:
            return msgspec.json.decode(body, type=self.kind)
        except msgspec.DecodeError as error:
            raise UnreadableEvent(f"{self.kind.__name__} cannot be read: {error}") from None

    def recast(self, body: bytes, writer: ClassSchema) -> bytes:
        """Return what an instance of this class would have been written as."""
        return msgspec.json.encode(self.read(body, writer))

    def plain(self, value: Any) -> Any:
        """Return a value as JSON has it."""
        return msgspec.to_builtins(value)

    def defaults(self) -> dict[str, Any]:
        """Return the defaults of its fields, as far as they are plain."""
        return defaults_of(self.reads)

    def _made(self, fields: Any) -> Any:
        try:
            return msgspec.convert(fields, self.kind)
        except msgspec.ValidationError as error:
            raise ValueError(f"{self.kind.__name__} cannot be written: {error}") from None


def schema(kind: type) -> ClassSchema:
    """Return a class as a schema.

    Raises:
        InvalidDefinition: Its fields have no JSON form.
    """
    try:
        found = msgspec.json.schema(kind)
    except (TypeError, NameError) as error:
        raise InvalidDefinition(f"{kind.__name__} is no schema: {error}{asked_at()}") from None
    config = getattr(kind, "__struct_config__", None)
    whole = not getattr(config, "omit_defaults", False)
    return ClassSchema(kind, found, closed(found, whole=whole))
