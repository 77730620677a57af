"""Whether all that one JSON Schema allows, another one accepts; and if not, why.

*Source*: JSON Schema 2020-12, Validation; Confluent, JSON Schema Serializer, "JSON Schema
compatibility" (open, closed and partially open content models): a reader accepts a writer if
each instance of the writer's schema is one of the reader's.

A required field that is new may have a default, as Confluent lets it; other than there, one that
`required` alone names is refused.

*Not modelled*: what is not compared is refused, and named: `not`, `if`, `patternProperties`,
`dependent...`, `contains`, `unevaluated...`, lists of `items`, where the two differ in it;
references to other documents. `oneOf` of a reader is taken as one where no two branches have a
type in common.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

ALL_TYPES: Final = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})

NOT_COMPARED: Final = (
    *("not", "if", "then", "else", "patternProperties", "propertyNames", "dependentRequired"),
    *("dependentSchemas", "dependencies", "contains", "minContains", "maxContains"),
    *("unevaluatedItems", "unevaluatedProperties", "$dynamicRef", "pattern", "prefixItems"),
    *("uniqueItems", "additionalItems"),
)
"""Keywords that a reader may have only as the writer has them."""

_LOWER: Final = ("minLength", "minItems", "minProperties", "minimum", "exclusiveMinimum")
_UPPER: Final = ("maxLength", "maxItems", "maxProperties", "maximum", "exclusiveMaximum")


class Containment:
    """One comparison of two whole documents."""

    def __init__(self, reader: Any, writer: Any) -> None:
        self.documents = (reader, writer)
        self.same = reader == writer
        self._open: set[tuple[int, int]] = set()

    def problems(self) -> list[str]:
        """Return what the writer may write that the reader does not accept."""
        reader, writer = self.documents
        return list(dict.fromkeys(self._compare(reader, writer, "")))

    def _resolved(self, schema: Any, side: int) -> Any:
        for _ in range(100):
            ref = schema.get("$ref") if isinstance(schema, Mapping) else None
            if ref is None:
                return schema
            if not isinstance(ref, str) or not ref.startswith("#"):
                return {"not": {"$ref": ref}}  # of another document: not compared
            found = self.documents[side]
            for part in ref[1:].strip("/").split("/") if ref != "#" else ():
                found = found[part.replace("~1", "/").replace("~0", "~")]
            schema = found
        return schema

    def _compare(self, reader: Any, writer: Any, path: str) -> Iterator[str]:
        reader, writer = self._resolved(reader, 0), self._resolved(writer, 1)
        if accepts_all(reader) or writer is False:
            return
        if reader is False:
            yield f"{_at(path)} is not allowed"
            return
        if accepts_all(writer):
            yield f"{_at(path)} may be anything, and is no longer"
            return
        pair = (id(reader), id(writer))
        if pair in self._open:
            return
        self._open.add(pair)
        try:
            yield from self._branches(reader, writer, path)
        finally:
            self._open.discard(pair)

    def _branches(self, reader: Any, writer: Any, path: str) -> Iterator[str]:
        for word in ("anyOf", "oneOf"):
            if word in writer:
                rest = {name: value for name, value in writer.items() if name != word}
                for branch in writer[word]:
                    yield from self._compare(reader, _both(rest, self._resolved(branch, 1)), path)
                return
        for part in reader.get("allOf", ()):
            yield from self._compare(part, writer, path)
        if "allOf" in writer:
            merged: Any = {name: value for name, value in writer.items() if name != "allOf"}
            for part in writer["allOf"]:
                merged = _both(merged, self._resolved(part, 1))
            yield from self._compare(reader, merged, path)
            return
        for word in ("anyOf", "oneOf"):
            if word in reader:
                yield from self._one_of(reader[word], writer, path, alone=word == "oneOf")
        yield from self._flat(reader, writer, path)

    def _one_of(self, branches: Any, writer: Any, path: str, *, alone: bool) -> Iterator[str]:
        found = [[*self._compare(branch, writer, path)] for branch in branches]
        if all(found):
            yield found[0][0] if len(found) == 1 else f"{_at(path)} fits none of the choices"
        elif alone and sum(self._may_meet(branch, writer) for branch in branches) > 1:
            yield f"{_at(path)} may fit several choices of oneOf, which is not compared"

    def _may_meet(self, branch: Any, writer: Any) -> bool:
        return bool(types_of(self._resolved(branch, 0)) & types_of(writer))

    def _flat(self, reader: Any, writer: Any, path: str) -> Iterator[str]:
        for word in NOT_COMPARED:
            if word in reader and reader[word] != writer.get(word):
                yield f"{_at(path)} differs in {word!r}, which is not compared"
        mine, theirs = types_of(reader), types_of(writer)
        if not theirs <= mine:
            missing = "/".join(sorted(theirs - mine))
            yield f"{_at(path)} may be {missing}, and should be {'/'.join(sorted(_shown(mine)))}"
            return
        allowed, said = _values(reader), _values(writer)
        if allowed is not None and (said is None or not all(one in allowed for one in said)):
            left = [one for one in said or () if one not in allowed]
            what = f"may be {', '.join(map(repr, left))}" if left else "may be anything else"
            yield f"{_at(path)} {what}, which is none of its values"
        if said is not None:
            return  # each of its values was looked at, as far as types go
        yield from _bounds(reader, writer, path)
        if "object" in theirs:
            yield from self._object(reader, writer, path)
        if "array" in theirs and any(
            isinstance(one.get("items"), list) for one in (reader, writer)
        ):
            if reader.get("items") != writer.get("items"):
                yield f"{_at(path)} differs in a list of 'items', which is not compared"
        elif "array" in theirs and "items" in reader:
            yield from self._compare(reader["items"], writer.get("items", True), f"{path}[]")

    def _object(self, reader: Any, writer: Any, path: str) -> Iterator[str]:
        mine, theirs = reader.get("properties", {}), writer.get("properties", {})
        rest = writer.get("additionalProperties", True)
        others = reader.get("additionalProperties", True)
        written = set(writer.get("required", ()))
        for name in reader.get("required", ()):
            if name not in written and not _has_default(mine.get(name)):
                yield f"{_at(_join(path, name))} is required, and is not always written"
        for name, schema in theirs.items():
            where = _join(path, name)
            if name in mine:
                yield from self._compare(mine[name], schema, where)
            elif others is False and schema is not False:
                yield f"{_at(where)} is not allowed, and may be written"
            else:
                yield from self._compare(others, schema, where)
        for name, schema in mine.items():
            if name not in theirs and rest is not False and not accepts_all(schema):
                where = _join(path, name)
                if accepts_all(rest):
                    yield (
                        f"{_at(where)} is new to a content model that was open: anything may have "
                        "been written there"
                    )
                else:
                    yield from self._compare(schema, rest, where)
        if rest is not False and others is False:
            yield f"{_at(path)} is closed to further fields, and what is written is not"
        elif rest is not False and not accepts_all(others):
            yield from self._compare(others, rest, f"{path}.*")


def accepts_all(schema: Any) -> bool:
    """Say whether a schema accepts everything, as far as it can be seen at once."""
    return (
        schema is True
        or schema == {}
        or (isinstance(schema, Mapping) and not (schema.keys() - _ANNOTATIONS))
    )


_ANNOTATIONS: Final = frozenset(
    (
        *("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"),
        *("$comment", "$schema", "$id", "$defs", "definitions", "format"),
    )
)


def types_of(schema: Any) -> frozenset[str]:
    """Return the types that a schema allows; a number may be an integer."""
    if not isinstance(schema, Mapping):
        return ALL_TYPES if schema is True else frozenset()
    said = schema.get("type")
    if said is None:
        values = _values(schema)
        if values is not None:
            return frozenset(_type_of(one) for one in values)
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return frozenset().union(*map(types_of, schema[word]))
        return ALL_TYPES
    found = frozenset([said] if isinstance(said, str) else said)
    return found | {"integer"} if "number" in found else found


def _shown(types: frozenset[str]) -> frozenset[str]:
    return types - {"integer"} if "number" in types else types


def _type_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _values(schema: Any) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    found = schema.get("enum")
    return None if found is None else list(found)


def _both(one: Any, other: Any) -> Any:
    """Return a schema that says what both say; where they say it of the same word, the latter."""
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return other if one is True else one if other is True else False
    merged = {**one, **other}
    if "properties" in one and "properties" in other:
        merged["properties"] = {**one["properties"], **other["properties"]}
    if "required" in one and "required" in other:
        merged["required"] = [*one["required"], *other["required"]]
    return merged


def _has_default(schema: Any) -> bool:
    """Say whether a field has a default: Confluent lets it be required then (and its readers,
    which validate, do not know of the default)."""
    return isinstance(schema, Mapping) and "default" in schema


def _bounds(reader: Any, writer: Any, path: str) -> Iterator[str]:
    for word in _LOWER:
        if word in reader and not _as_low(reader[word], writer, word):
            yield f"{_at(path)} has {word} {reader[word]}, and less may be written"
    step, theirs = reader.get("multipleOf"), writer.get("multipleOf")
    if step is not None and (theirs is None or theirs % step):
        yield f"{_at(path)} is a multiple of {step}, and others may be written"
    for word in _UPPER:
        if word in reader and not _as_high(reader[word], writer, word):
            yield f"{_at(path)} has {word} {reader[word]}, and more may be written"


def _as_low(bound: Any, writer: Any, word: str) -> bool:
    """Say whether a writer keeps a lower bound, by the same word or a stricter one."""
    low = writer.get("minimum")
    above = writer.get("exclusiveMinimum")
    if word == "exclusiveMinimum":
        return (above is not None and above >= bound) or (low is not None and low > bound)
    if word == "minimum":
        return any(one is not None and one >= bound for one in (low, above))
    return bool(bound <= writer.get(word, 0))


def _as_high(bound: Any, writer: Any, word: str) -> bool:
    high = writer.get("maximum")
    below = writer.get("exclusiveMaximum")
    if word == "exclusiveMaximum":
        return (below is not None and below <= bound) or (high is not None and high < bound)
    if word == "maximum":
        return any(one is not None and one <= bound for one in (high, below))
    return word in writer and bool(writer[word] <= bound)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _at(path: str) -> str:
    return f"the field {path!r}" if path else "the event"


def contained(reader: Any, writer: Any) -> list[str]:
    """Return why a reader's schema does not accept all that a writer's allows."""
    return Containment(reader, writer).problems()
