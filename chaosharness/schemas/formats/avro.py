"""Avro schemas, by the library fastavro."""

from __future__ import annotations

import datetime
from decimal import Decimal
from io import BytesIO
from typing import Any, Final
from uuid import UUID

import attrs
import fastavro
import msgspec

from chaosharness.errors import InvalidDefinition
from chaosharness.kernel.history import plain
from chaosharness.kernel.places import asked_at
from chaosharness.schemas.resolution import unresolved
from chaosharness.schemas.schema import Avro, UnreadableEvent, loaded

NATIVE: Final = (
    *(bytes, Decimal, UUID),
    *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta),
)
"""What Avro's logical types are made from: handed to fastavro as it is."""


@attrs.frozen
class AvroSchema:
    """One version of an Avro schema. Values are dicts.

    A field that its schema does not have is left out when a dict is written, as fastavro and
    Confluent's serializer do.

    *Source*: Apache Avro 1.12, Specification; fastavro, `schemaless_writer`.
    """

    definition: Any = attrs.field(repr=False)
    parsed: Any = attrs.field(repr=False, eq=False)
    format: str = "Avro"
    kind: type | None = None

    def problems(self, writer: AvroSchema) -> list[str]:
        """Return why it cannot read all that another version writes."""
        return unresolved(self.definition, writer.definition)

    def write(self, value: Any) -> bytes:
        """Return a dict, or an instance of a class, in Avro's binary encoding.

        Raises:
            ValueError: It does not fit the schema.
        """
        dump = getattr(value, "model_dump", None)
        fields = msgspec.to_builtins(value, builtin_types=NATIVE) if dump is None else dump()
        out = BytesIO()
        try:
            fastavro.validation.validate(fields, self.parsed)
            fastavro.schemaless_writer(out, self.parsed, fields)
        except (fastavro.validation.ValidationError, ValueError, TypeError) as error:
            raise ValueError(f"the event does not fit its Avro schema: {error}") from None
        return out.getvalue()

    def read(self, body: bytes, writer: AvroSchema) -> Any:
        """Return what another version wrote as a dict, resolved to this version."""
        try:
            return fastavro.schemaless_reader(BytesIO(body), writer.parsed, self.parsed)
        except (fastavro.read.SchemaResolutionError, ValueError, IndexError, EOFError) as error:
            raise UnreadableEvent(f"Avro cannot resolve the event: {error}") from None

    def recast(self, body: bytes, writer: AvroSchema) -> bytes:
        """Return what a producer with this version would have written."""
        return self.write(self.read(body, writer))

    def plain(self, value: Any) -> Any:
        """Return a value as JSON has it."""
        return plain(value)

    def defaults(self) -> dict[str, Any]:
        """Return the defaults of its fields."""
        fields = self.definition.get("fields", ())
        return {one["name"]: one["default"] for one in fields if "default" in one}


def schema(given: Avro) -> AvroSchema:
    """Return an Avro schema as a version.

    Raises:
        InvalidDefinition: It is no Avro schema, or none of a record.
    """
    definition = loaded(given.definition, "an Avro schema")
    try:
        parsed = fastavro.parse_schema(definition)
    except (fastavro.schema.SchemaParseException, fastavro.schema.UnknownType, KeyError) as error:
        raise InvalidDefinition(f"this is no Avro schema: {error}{asked_at()}") from None
    if definition.get("type") != "record":
        raise InvalidDefinition(
            f"the Avro schema of an event is a record, not {definition.get('type')!r}{asked_at()}"
        )
    if not isinstance(definition.get("fields"), list):
        raise InvalidDefinition(f"this is no Avro schema: a record has fields{asked_at()}")
    return AvroSchema(definition, parsed)
