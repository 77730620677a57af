"""What every format of schemas is to a registry, and which format a definition has."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final, Protocol

import attrs
import msgspec

from chaosharness.errors import ChaosharnessError, InvalidDefinition
from chaosharness.kernel.allowed import spelled
from chaosharness.kernel.places import asked_at


class Schema(Protocol):
    """One version of a schema: writes values, and reads what it or another version wrote."""

    @property
    def format(self) -> str:
        """The format's name; versions of one subject have one format."""

    @property
    def kind(self) -> type | None:
        """The class whose instances are its values, if there is one."""

    def problems(self, writer: Any) -> list[str]:
        """Return why this, as a reader, cannot read all that another one writes; nothing if it
        can. A sentence's end each: `the field 'cents' has no default, and is not written`."""

    def write(self, value: Any) -> bytes:
        """Return a value as bytes.

        Raises:
            ValueError: It is none of this schema; the message says in what.
        """

    def read(self, body: bytes, writer: Any) -> Any:
        """Return what another version wrote, as a value of this one.

        Raises:
            ValueError: It cannot be read so; the message says in what.
        """

    def plain(self, value: Any) -> Any:
        """Return a value as JSON has it."""

    def recast(self, body: bytes, writer: Any) -> bytes:
        """Return what a producer with this version would have written, from what another wrote.

        Raises:
            ValueError: It cannot be told.
        """


class IncompatibleSchema(ChaosharnessError, ValueError):
    """A registry refuses a version: readers could not read what writers write.

    Attributes:
        subject: What it was to be a version of.
        problems: What is wrong, the end of a sentence each.
    """

    def __init__(self, words: str, *, subject: str, problems: tuple[str, ...]) -> None:
        super().__init__(words)
        self.subject = subject
        self.problems = problems


class UnreadableEvent(ValueError):
    """A payload that this schema cannot read: what a consumer's handler would see."""


@attrs.frozen
class Avro:
    """An Avro schema, as a dict or as JSON. Needs the extra `avro` (fastavro).

    Handlers get dicts, or the class that their annotation names.

    Args:
        definition: The schema: a record.

    >>> Avro({"type": "record", "name": "Order", "fields": [{"name": "id", "type": "string"}]})
    """

    definition: Any = attrs.field(repr=False)


@attrs.frozen
class JsonSchema:
    """A JSON Schema of an object, as a dict or as JSON. Needs the extra `jsonschema`.

    Handlers get dicts, or the class that their annotation names.

    Args:
        definition: The schema, of draft 7 where it does not say (`"$schema"`).

    >>> JsonSchema({"type": "object", "properties": {"id": {"type": "string"}}})
    """

    definition: Any = attrs.field(repr=False)


EXTRAS: Final = {
    "avro": ("fastavro", "avro"),
    "json_schema": ("jsonschema", "jsonschema"),
    "protobuf": ("google.protobuf", "protobuf"),
    "pydantic": ("pydantic", "pydantic"),
}
"""What each format needs: its library, and the extra that brings it."""


def schema_of(given: Any) -> Schema:
    """Return a definition as a schema of its format.

    Raises:
        InvalidDefinition: It is none, or the library of its format is not installed.
    """
    for what, belongs in _FORMATS.items():
        if belongs(given):
            return _format(what)(given)
    raise InvalidDefinition(
        f"{spelled(given)} is no schema: give an attrs class, a dataclass or a msgspec Struct, a "
        f"pydantic model, a Protobuf message class, Avro(...) or JsonSchema(...){asked_at()}"
    )


def _format(what: str) -> Callable[[Any], Schema]:
    try:
        room = import_module(f"chaosharness.schemas.formats.{what}")
    except ModuleNotFoundError as error:
        library, extra = EXTRAS[what]
        if not library.startswith((error.name or "").partition(".")[0] or "?"):
            raise
        raise InvalidDefinition(
            f"schemas of this kind need {library}, which is not installed: "
            f"pip install 'chaosharness[{extra}]'{asked_at()}"
        ) from None
    return room.schema  # type: ignore[no-any-return]


def _is_class(given: Any) -> bool:
    return isinstance(given, type) and (
        attrs.has(given) or dataclasses.is_dataclass(given) or issubclass(given, msgspec.Struct)
    )


def _is_pydantic(given: Any) -> bool:
    return isinstance(given, type) and hasattr(given, "model_validate_json")


def _is_protobuf(given: Any) -> bool:
    return isinstance(given, type) and hasattr(given, "DESCRIPTOR") and hasattr(given, "FromString")


_FORMATS: Final[dict[str, Callable[[Any], bool]]] = {
    "avro": lambda given: isinstance(given, Avro),
    "json_schema": lambda given: isinstance(given, JsonSchema),
    "protobuf": _is_protobuf,
    "pydantic": _is_pydantic,
    "classes": _is_class,
}


def loaded(definition: Any, what: str) -> Any:
    """Return a definition that may be JSON as what it says.

    Raises:
        InvalidDefinition: It is neither a dict nor JSON.
    """
    if isinstance(definition, (str, bytes)):
        try:
            definition = msgspec.json.decode(definition)
        except msgspec.DecodeError as error:
            raise InvalidDefinition(f"{what} is no JSON: {error}{asked_at()}") from None
    if not isinstance(definition, Mapping):
        raise InvalidDefinition(f"{what} must be a dict, not {spelled(definition)}{asked_at()}")
    return definition
