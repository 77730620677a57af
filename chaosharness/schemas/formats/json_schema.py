"""JSON Schemas, by the library jsonschema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import jsonschema
import msgspec

from chaosharness.errors import InvalidDefinition
from chaosharness.kernel.places import asked_at
from chaosharness.schemas.containment import contained
from chaosharness.schemas.schema import JsonSchema, UnreadableEvent, loaded
from chaosharness.schemas.shape import defaults_of


@attrs.frozen
class JsonSchemaVersion:
    """One version of a JSON Schema. Values are dicts, seen to be right when written and read.

    *Source*: Confluent, JSON Schema Serializer and Deserializer: both validate.
    """

    definition: Any = attrs.field(repr=False)
    validator: Any = attrs.field(repr=False, eq=False)
    format: str = "JSON Schema"
    kind: type | None = None

    def problems(self, writer: JsonSchemaVersion) -> list[str]:
        """Return why it does not accept all that another one allows."""
        return contained(self.definition, writer.definition)

    def write(self, value: Any) -> bytes:
        """Return a dict, or an instance of a class, as JSON.

        Raises:
            ValueError: It does not fit the schema.
        """
        dump = getattr(value, "model_dump", None)
        fields = msgspec.to_builtins(value) if dump is None else dump(mode="json", by_alias=True)
        wrong = self._wrong(fields)
        if wrong:
            raise ValueError(f"the event does not fit its JSON Schema: {wrong}")
        return msgspec.json.encode(fields)

    def read(self, body: bytes, writer: JsonSchemaVersion) -> Any:
        """Return the dict that was written, if it fits."""
        fields = msgspec.json.decode(body)
        wrong = self._wrong(fields)
        if wrong:
            raise UnreadableEvent(f"the event does not fit the reader's JSON Schema: {wrong}")
        return fields

    def recast(self, body: bytes, writer: JsonSchemaVersion) -> bytes:
        """Return the event with the fields that this version names, and its defaults."""
        return self.write(self._pruned(self.definition, msgspec.json.decode(body)))

    def plain(self, value: Any) -> Any:
        """Return a value as JSON has it."""
        return value

    def defaults(self) -> dict[str, Any]:
        """Return the defaults that it names."""
        return defaults_of(self.definition)

    def _pruned(self, schema: Any, value: Any) -> Any:
        named = schema.get("properties") if isinstance(schema, Mapping) else None
        if not named or not isinstance(value, dict):
            return value
        kept = {k: self._pruned(named[k], one) for k, one in value.items() if k in named}
        return {**kept, **{k: one for k, one in defaults_of(schema).items() if k not in kept}}

    def _wrong(self, fields: Any) -> str:
        error = jsonschema.exceptions.best_match(self.validator.iter_errors(fields))
        if error is None:
            return ""
        where = ".".join(map(str, error.absolute_path))
        return f"{where}: {error.message}" if where else str(error.message)


def schema(given: JsonSchema) -> JsonSchemaVersion:
    """Return a JSON Schema as a version.

    Raises:
        InvalidDefinition: It is no JSON Schema.
    """
    definition = loaded(given.definition, "a JSON Schema")
    kind = jsonschema.validators.validator_for(definition, default=jsonschema.Draft7Validator)
    try:
        kind.check_schema(definition)
    except jsonschema.SchemaError as error:
        raise InvalidDefinition(f"this is no JSON Schema: {error.message}{asked_at()}") from None
    said = definition.get("type", "object") if isinstance(definition, Mapping) else "object"
    if "object" not in ([said] if isinstance(said, str) else said):
        raise InvalidDefinition(
            f"the JSON Schema of an event is of an object, not of {said!r}{asked_at()}"
        )
    return JsonSchemaVersion(definition, kind(definition))
