"""Verdicts on random pairs of versions, held against the libraries that read: each value that a
writer may write is read, or the verdict said that not all are."""

from io import BytesIO
from itertools import islice, product

import attrs
import fastavro
import jsonschema
import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError, create_model

from chaosharness import Avro, JsonSchema
from chaosharness.schemas.schema import schema_of

MANY = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))

# ---- Avro: a strategy for schemas, and values that reach every branch and symbol of one

PRIMITIVES = st.sampled_from(
    ["null", "boolean", "int", "long", "float", "double", "bytes", "string"]
)
SYMBOLS = st.lists(st.sampled_from("ABC"), min_size=1, max_size=3, unique=True)
NAMES = st.sampled_from(["f", "g", "h"])
EXAMPLES = {
    "null": [None],
    "boolean": [True],
    "int": [1],
    "long": [2**40],
    "float": [1.5],
    "double": [1e300],
    "bytes": [b"x"],
    "string": ["x"],
}


@st.composite
def enums(draw):
    symbols = draw(SYMBOLS)
    found = {"type": "enum", "name": draw(st.sampled_from(["E", "F"])), "symbols": symbols}
    if draw(st.booleans()):
        found["default"] = symbols[0]
    return found


@st.composite
def types(draw, depth=2):
    kinds = ["primitive", "enum", "fixed", "union"] + ["array", "map", "record"] * (depth > 0)
    match draw(st.sampled_from(kinds)):
        case "primitive":
            return draw(PRIMITIVES)
        case "enum":
            return draw(enums())
        case "fixed":
            return {"type": "fixed", "name": "X", "size": draw(st.sampled_from([2, 3]))}
        case "union":
            return draw(st.lists(PRIMITIVES, min_size=1, max_size=3, unique=True))
        case "array":
            return {"type": "array", "items": draw(types(depth=depth - 1))}
        case "map":
            return {"type": "map", "values": draw(types(depth=depth - 1))}
        case _:
            return draw(records(depth=depth - 1, name=draw(st.sampled_from(["R", "S"]))))


@st.composite
def records(draw, depth=2, name="Event"):
    fields = []
    names = draw(st.lists(NAMES, max_size=3, unique=True))
    free = sorted({"old", *"fgh"} - set(names))  # an alias means one field
    for field in names:
        one = {"name": field, "type": draw(types(depth=depth))}
        if one["type"] in ("int", "long") and draw(st.booleans()):
            one["default"] = 0
        if free and draw(st.integers(0, 3)) == 0:
            one["aliases"] = [free.pop(draw(st.integers(0, len(free) - 1)))]
        fields.append(one)
    return {"type": "record", "name": name, "fields": fields}


def values(schema):
    """Return values of a schema, few, of which each branch and each symbol is in one."""
    if isinstance(schema, list):
        return [value for branch in schema for value in values(branch)]
    if isinstance(schema, str):
        return EXAMPLES[schema]
    match schema["type"]:
        case "enum":
            return schema["symbols"]
        case "fixed":
            return [b"x" * schema["size"]]
        case "array":
            return [[], *[[value] for value in values(schema["items"])]]
        case "map":
            return [{}, *[{"k": value} for value in values(schema["values"])]]
        case _:
            each = [values(field["type"]) for field in schema["fields"]]
            names = [field["name"] for field in schema["fields"]]
            longest = max(map(len, each), default=1)
            return [
                {name: some[n % len(some)] for name, some in zip(names, each, strict=True)}
                for n in range(longest)
            ]


def can_be_parsed(schema):
    """Say whether names are defined once, which a random schema does not look after."""
    try:
        fastavro.parse_schema(schema)
    except fastavro.schema.SchemaParseException:
        return False
    return True


def field_names(schema):
    """Yield the names, aliases too, of each field of each record in a schema."""
    match schema:
        case list():
            for branch in schema:
                yield from field_names(branch)
        case {"type": "record", "fields": fields}:
            yield [{one["name"], *one.get("aliases", ())} for one in fields]
            for one in fields:
                yield from field_names(one["type"])
        case {"items": inner} | {"values": inner}:
            yield from field_names(inner)


def two_for_one(writer, reader):
    """Say whether one field of the reader may be two of the writer's: fastavro 1.13 fails at the
    second one, whatever it is, and the specification says nothing of it."""
    written = [set().union(*names) if names else set() for names in field_names(writer)]
    return any(len(names & own) > 1
               for each in field_names(reader) for names in each for own in written)  # fmt: skip


@MANY
@given(writer=records().filter(can_be_parsed), reader=records().filter(can_be_parsed))
def test_avro_resolves_what_the_verdict_says(writer, reader):
    assume(not two_for_one(writer, reader))
    verdict = schema_of(Avro(reader)).problems(schema_of(Avro(writer)))
    assert (not verdict) == all(is_read(value, writer, reader) for value in values(writer)), verdict


@MANY
@given(st.data())
def test_avro_resolves_what_was_changed_a_little(data):
    """Pairs that have most in common: one field, one symbol, one branch differs."""
    writer = data.draw(records().filter(can_be_parsed))
    reader = {**writer, "fields": [dict(one) for one in writer["fields"]]}
    if reader["fields"]:
        at = data.draw(st.integers(0, len(reader["fields"]) - 1))
        if data.draw(st.booleans()):
            del reader["fields"][at]
        else:
            reader["fields"][at]["type"] = data.draw(types())
    if not can_be_parsed(reader):
        return
    for one, other in ((writer, reader), (reader, writer)):
        assume(not two_for_one(one, other))
        verdict = schema_of(Avro(other)).problems(schema_of(Avro(one)))
        assert (not verdict) == all(is_read(value, one, other) for value in values(one)), verdict


def is_read(value, writer, reader):
    out = BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(writer), value)
    out.seek(0)
    try:
        fastavro.schemaless_reader(
            out, fastavro.parse_schema(writer), fastavro.parse_schema(reader)
        )
    except (fastavro.read.SchemaResolutionError, ValueError, KeyError, TypeError):
        return False
    return True


# ---- JSON Schema: who is compatible reads all that a writer's schema allows

FIELDS = ("a", "b")
SIMPLE = st.sampled_from(
    [
        {},
        {"type": "string"},
        {"type": "integer"},
        {"type": "number"},
        {"type": ["string", "null"]},
        {"enum": ["x", "y"]},
        {"enum": ["x"]},
        {"type": "integer", "minimum": 0},
        {"type": "integer", "maximum": 5},
        {"type": "string", "maxLength": 1},
        {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        {"type": "array", "items": {"type": "integer"}},
    ]
)


@st.composite
def objects(draw):
    names = draw(st.lists(st.sampled_from(FIELDS), unique=True))
    found = {"type": "object", "properties": {name: draw(SIMPLE) for name in names}}
    found["required"] = draw(st.lists(st.sampled_from(names), unique=True)) if names else []
    if draw(st.booleans()):
        found["additionalProperties"] = draw(st.sampled_from([False, {"type": "integer"}]))
    return found


ABSENT = object()
PLAIN = [ABSENT, None, "x", "y", "z", "xx", 0, -1, 6, 1.5, True, [1], ["x"]]


def instances():
    """Return objects with every mix of values in two known fields and a further one."""
    for mix in product(PLAIN, PLAIN, [ABSENT, 1, "x"]):
        named = zip((*FIELDS, "c"), mix, strict=True)
        yield {name: value for name, value in named if value is not ABSENT}


@MANY
@given(writer=objects(), reader=objects())
def test_json_schema_reads_what_the_verdict_says(writer, reader):
    verdict = schema_of(JsonSchema(reader)).problems(schema_of(JsonSchema(writer)))
    writes, reads = jsonschema.Draft7Validator(writer), jsonschema.Draft7Validator(reader)
    missed = [one for one in instances() if writes.is_valid(one) and not reads.is_valid(one)]
    assert bool(verdict) == bool(missed), (verdict, missed[:1])


# ---- classes: the reader's library reads all that a writer's class writes

KINDS = st.sampled_from([int, str, float, bool, int | None, list[int]])
SOME = {int: [1], str: ["x"], float: [1.5], bool: [True], int | None: [1, None], list[int]: [[1]]}
PLAN = st.dictionaries(NAMES, st.tuples(KINDS, st.booleans()), max_size=3)


def attrs_class(plan):
    made = {
        name: attrs.field(type=kind, kw_only=True, **({"default": SOME[kind][0]} if has else {}))
        for name, (kind, has) in plan.items()
    }
    return attrs.make_class("Event", made)


def pydantic_model(plan):
    fields = {name: (kind, SOME[kind][0] if has else ...) for name, (kind, has) in plan.items()}
    return create_model("Event", **fields)


@MANY
@pytest.mark.parametrize("make", [attrs_class, pydantic_model])
@given(writer=PLAN, reader=PLAN)
def test_classes_read_what_the_verdict_says(make, writer, reader):
    writes, reads = schema_of(make(writer)), schema_of(make(reader))
    verdict = reads.problems(writes)
    names = list(writer)
    mixes = islice(product(*(SOME[writer[name][0]] for name in names)), 50)
    unread = []
    for mix in mixes:
        body = writes.write(writes.kind(**dict(zip(names, mix, strict=True))))
        try:
            reads.read(body, writes)
        except ValueError as error:
            unread.append(str(error))
    if make is attrs_class:
        assert bool(verdict) == bool(unread), (verdict, unread)
    else:  # a lax model reads more than its JSON Schema says
        assert verdict or not unread, unread


def test_errors_of_a_library_come_in_its_own_words_and_are_value_errors():
    writes, reads = schema_of(pydantic_model({})), schema_of(pydantic_model({"f": (int, False)}))
    with pytest.raises(ValueError, match="Event cannot be read: f: Field required"):
        reads.read(writes.write({}), writes)
    assert issubclass(ValidationError, ValueError)
    with pytest.raises(ValueError, match="missing required field `f`"):
        schema_of(attrs_class({"f": (int, False)})).read(b"{}", None)
    assert msgspec.json.decode(writes.write({})) == {}
