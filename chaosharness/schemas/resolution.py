"""Whether an Avro reader can read all that an Avro writer may write; and if not, why.

*Source*: Apache Avro 1.12, Specification, Schema Resolution; names match without their namespace
(there, and `SchemaCompatibility` of its Java library, which Confluent's registry asks).

*Not modelled*: logical types: their underlying types are what is compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

PRIMITIVES: Final = frozenset(
    ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
)

PROMOTED: Final = {
    "int": ("long", "float", "double"),
    "long": ("float", "double"),
    "float": ("double",),
    "string": ("bytes",),
    "bytes": ("string",),
}
"""What a writer's type may be read as, beside itself."""


class Resolution:
    """One comparison of two whole schemas."""

    def __init__(self, reader: Any, writer: Any) -> None:
        self._reader, self._writer = reader, writer
        self._names: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
        _collect(reader, "", self._names[0])
        _collect(writer, "", self._names[1])
        self._open: set[tuple[int, int]] = set()

    def problems(self) -> list[str]:
        """Return what the writer may write that the reader cannot read."""
        return list(dict.fromkeys(self._compare(self._reader, self._writer, "")))

    def _compare(self, reader: Any, writer: Any, path: str) -> Iterator[str]:
        reader, writer = self._named(reader, 0), self._named(writer, 1)
        if isinstance(writer, list):
            for branch in writer:
                yield from self._compare(reader, branch, path)
            return
        if isinstance(reader, list):
            found = [[*self._compare(branch, writer, path)] for branch in reader]
            if not all(found):
                return
            near = next((n for n, one in enumerate(reader) if self._alike(one, writer)), None)
            if near is None:
                yield f"{_at(path)} may be {_called(writer)}, which is none of the reader's union"
            else:
                yield from found[near]
            return
        pair = (id(reader), id(writer))
        if pair in self._open:
            return
        self._open.add(pair)
        yield from self._plain(reader, writer, path)
        self._open.discard(pair)

    def _alike(self, reader: Any, writer: Any) -> bool:
        reader = self._named(reader, 0)
        return _type(reader) == _type(writer) and _same_name(reader, writer)

    def _plain(self, reader: Any, writer: Any, path: str) -> Iterator[str]:
        mine, theirs = _type(reader), _type(writer)
        if mine != theirs:
            if mine not in PROMOTED.get(theirs, ()):
                yield f"{_at(path)} is {_called(writer)}, and is read as {_called(reader)}"
            return
        if not _same_name(reader, writer):
            yield f"{_at(path)} is {_called(writer)}, and is read as {_called(reader)}"
            return
        match mine:
            case "record" | "error":
                yield from self._record(reader, writer, path)
            case "enum":
                left = [one for one in writer["symbols"] if one not in reader["symbols"]]
                if left and not reader.get("default"):
                    yield f"{_at(path)} may be {', '.join(left)}, which the reader does not know"
            case "fixed":
                if reader["size"] != writer["size"]:
                    yield f"{_at(path)} has {writer['size']} bytes, and is read as {reader['size']}"
            case "array":
                yield from self._compare(reader["items"], writer["items"], f"{path}[]")
            case "map":
                yield from self._compare(reader["values"], writer["values"], f"{path}.*")

    def _record(self, reader: Any, writer: Any, path: str) -> Iterator[str]:
        there = {field["name"]: field for field in writer["fields"]}
        for field in reader["fields"]:
            where = f"{path}.{field['name']}" if path else field["name"]
            names = (field["name"], *field.get("aliases", ()))
            found = next((there[name] for name in names if name in there), None)
            if found is not None:
                yield from self._compare(field["type"], found["type"], where)
            elif "default" not in field:
                yield f"{_at(where)} has no default, and is not written"

    def _named(self, schema: Any, side: int) -> Any:
        if isinstance(schema, Mapping) and isinstance(schema.get("type"), (Mapping, list)):
            schema = schema["type"]  # {"type": {"type": "record", ...}}
        if not isinstance(schema, str) or schema in PRIMITIVES:
            return schema
        names = self._names[side]
        return names.get(schema) or names[schema.rpartition(".")[2]]


def _collect(schema: Any, space: str, names: dict[str, Any]) -> None:
    if isinstance(schema, list):
        for one in schema:
            _collect(one, space, names)
    elif isinstance(schema, Mapping):
        kind, name = schema.get("type"), schema.get("name")
        if kind in ("record", "error", "enum", "fixed") and name:
            space = schema.get("namespace", name.rpartition(".")[0] or space)
            bare = name.rpartition(".")[2]
            names.setdefault(bare, schema)
            names[f"{space}.{bare}" if space else bare] = schema
        for field in schema.get("fields", ()):
            _collect(field["type"], space, names)
        for word in ("items", "values", "type"):
            if isinstance(schema.get(word), (Mapping, list)):
                _collect(schema[word], space, names)


def _type(schema: Any) -> str:
    return schema if isinstance(schema, str) else str(schema["type"])


def _bare(name: str) -> str:
    return name.rpartition(".")[2]


def _same_name(reader: Any, writer: Any) -> bool:
    if not isinstance(reader, Mapping) or "name" not in reader:
        return True
    name = writer.get("name", "")
    return _bare(reader["name"]) == _bare(name) or any(
        alias in (name, _bare(name)) for alias in reader.get("aliases", ())
    )


def _called(schema: Any) -> str:
    if isinstance(schema, Mapping) and "name" in schema:
        return f"{schema['type']} {_bare(schema['name'])}"
    return f"{_type(schema)}"


def _at(path: str) -> str:
    return f"the field {path!r}" if path else "the event"


def unresolved(reader: Any, writer: Any) -> list[str]:
    """Return why a reader cannot read all that a writer may write."""
    return Resolution(reader, writer).problems()
