"""Pydantic models as schemas of JSON."""

from __future__ import annotations

from typing import Any

import attrs
import pydantic

from chaosharness.errors import InvalidDefinition
from chaosharness.kernel.places import asked_at
from chaosharness.schemas.closing import closed
from chaosharness.schemas.containment import contained
from chaosharness.schemas.schema import UnreadableEvent
from chaosharness.schemas.shape import defaults_of


@attrs.frozen
class PydanticSchema:
    """What instances of one model look like as JSON.

    A writer writes all fields of its model, by alias. A reader does with further ones what its
    model says of `extra`.

    *Source*: pydantic, JSON Schema, modes `validation` and `serialization`.

    *Not modelled*: what validators refuse beyond the JSON Schema; what a lax model accepts
    beyond it (`"5"` for an int) is not counted on.
    """

    kind: type[pydantic.BaseModel]
    reads: Any = attrs.field(repr=False, eq=False)
    writes: Any = attrs.field(repr=False, eq=False)
    format: str = "pydantic"

    def problems(self, writer: PydanticSchema) -> list[str]:
        """Return why it cannot read all that another model writes."""
        return contained(self.reads, writer.writes)

    def write(self, value: Any) -> bytes:
        """Return an instance, or a dict of its fields, as JSON."""
        if not isinstance(value, self.kind):
            dump = getattr(value, "model_dump", None)
            value = self._made(value if dump is None else dump(by_alias=True))
        return value.model_dump_json(by_alias=True).encode()  # type: ignore[no-any-return]

    def read(self, body: bytes, writer: PydanticSchema) -> Any:
        """Return an instance of the model."""
        try:
            return self.kind.model_validate_json(body)
        except pydantic.ValidationError as error:
            words = _first(error)
            raise UnreadableEvent(f"{self.kind.__name__} cannot be read: {words}") from None

    def recast(self, body: bytes, writer: PydanticSchema) -> bytes:
        """Return what an instance of this model would have been written as."""
        return self.write(self.read(body, writer))

    def plain(self, value: Any) -> Any:
        """Return a value as JSON has it."""
        return value.model_dump(mode="json", by_alias=True)

    def defaults(self) -> dict[str, Any]:
        """Return the defaults of its fields, as far as they are plain."""
        return defaults_of(self.reads)

    def _made(self, fields: Any) -> Any:
        try:
            return self.kind.model_validate(fields)
        except pydantic.ValidationError as error:
            raise ValueError(f"{self.kind.__name__} cannot be written: {_first(error)}") from None


def _first(error: pydantic.ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def schema(kind: type[pydantic.BaseModel]) -> PydanticSchema:
    """Return a model as a schema.

    Raises:
        InvalidDefinition: It has no JSON Schema.
    """
    try:
        reads = kind.model_json_schema(mode="validation")
        writes = kind.model_json_schema(mode="serialization")
    except pydantic.errors.PydanticUserError as error:
        raise InvalidDefinition(f"{kind.__name__} is no schema: {error}{asked_at()}") from None
    return PydanticSchema(kind, reads, closed(writes, whole=True))
