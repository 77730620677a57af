"""What each mode lets through, as the tables of Confluent and of Glue have it, in each format."""

import attrs
import pytest
from pydantic import BaseModel

from chaosharness import Avro, IncompatibleSchema, JsonSchema, Registry
from chaosharness.errors import InvalidDefinition
from chaosharness.schemas.modes import MODES

ALLOWED = {  # Confluent Platform 8.4, Schema Evolution and Compatibility, summary table
    "BACKWARD": {"delete required", "delete optional", "add optional"},
    "FORWARD": {"add required", "add optional", "delete optional"},
    "FULL": {"add optional", "delete optional"},
    "NONE": {"add required", "add optional", "delete required", "delete optional"},
}
CHANGES = {
    "add required": ([], ["r"]),
    "add optional": ([], ["o"]),
    "delete required": (["r"], []),
    "delete optional": (["o"], []),
}


def avro(names):
    fields = [{"name": "id", "type": "string"}]
    for name in names:
        fields.append({"name": name, "type": "long", **({"default": 0} if name == "o" else {})})
    return Avro({"type": "record", "name": "Event", "fields": fields})


def attrs_class(names):
    made = {"id": attrs.field(type=str)}
    for name in sorted(names, key=lambda it: it == "o"):
        made[name] = attrs.field(type=int, **({"default": 0} if name == "o" else {}))
    return attrs.make_class("Event", made)


def pydantic_model(names):
    body = {"__annotations__": {"id": str, **dict.fromkeys(names, int)}, "__module__": __name__}
    if "o" in names:
        body["o"] = 0
    return type("Event", (BaseModel,), body)


def closed_json(names):
    properties = {"id": {"type": "string"}, **{name: {"type": "integer"} for name in names}}
    required = ["id", *[name for name in names if name != "o"]]
    return JsonSchema(
        {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        }
    )


IN_FULL = [avro, attrs_class, pydantic_model]


@pytest.mark.parametrize("make", IN_FULL)
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("mode", ALLOWED)
def test_a_change_passes_where_the_table_says_so(make, mode, change):
    before, after = CHANGES[change]
    registry = Registry("schemas", {"events": [make(before)]}, compatibility=mode)
    if change in ALLOWED[mode]:
        assert registry.register("events", make(after)) == 2
    else:
        with pytest.raises(IncompatibleSchema, match=f"version 2 of 'events' is not {mode}: "):
            registry.register("events", make(after))


def test_a_closed_json_schema_lets_fields_come_and_not_go():
    """Confluent, JSON Schema compatibility: a closed content model refuses what it does not
    name, so that old data with a field that was deleted is unreadable."""
    Registry("schemas", {"events": [closed_json([]), closed_json(["o"])]})
    with pytest.raises(IncompatibleSchema, match="the field 'o' is not allowed"):
        Registry("schemas", {"events": [closed_json(["o"]), closed_json([])]})


def test_an_open_json_schema_lets_fields_go_and_not_come():
    """There: in an open content model anything may have been written under a new name."""
    some = {"type": "object", "properties": {"id": {"type": "string"}}}
    more = {"type": "object", "properties": {**some["properties"], "o": {"type": "integer"}}}
    Registry("schemas", {"events": [JsonSchema(more), JsonSchema(some)]})
    with pytest.raises(IncompatibleSchema, match="content model that was open"):
        Registry("schemas", {"events": [JsonSchema(some), JsonSchema(more)]})


LONG_WAYS = {
    "BACKWARD": [
        avro([]),
        avro(["o"]),
        Avro(
            avro(["r"]).definition
            | {"fields": [{"name": "id", "type": "string"}, {"name": "o", "type": "long"}]}
        ),
    ],
    "FORWARD": [
        Avro(
            avro([]).definition
            | {"fields": [{"name": "id", "type": "string"}, {"name": "o", "type": "long"}]}
        ),
        avro(["o"]),
        avro([]),
    ],
}


@pytest.mark.parametrize("mode", LONG_WAYS)
@pytest.mark.parametrize("suffix", ["_TRANSITIVE", "_ALL"])
def test_a_mode_for_all_versions_looks_past_the_last_one(mode, suffix):
    assert Registry("schemas", {"events": LONG_WAYS[mode]}, compatibility=mode)
    with pytest.raises(IncompatibleSchema, match="version 1"):
        Registry("schemas", {"events": LONG_WAYS[mode]}, compatibility=mode + suffix)


def test_disabled_lets_nothing_follow():
    registry = Registry("schemas", {"events": [avro([])]}, compatibility="DISABLED")
    assert registry.register("events", avro([])) == 1  # the same again is no version
    with pytest.raises(IncompatibleSchema, match="no further version"):
        registry.register("events", avro(["o"]))


def test_each_mode_names_its_source_and_the_glossary_is_whole():
    confluent = {"NONE", *(f"{one}{end}" for one in ("BACKWARD", "FORWARD", "FULL")
                           for end in ("", "_TRANSITIVE"))}  # fmt: skip
    glue = {"NONE", "DISABLED", *(f"{one}{end}" for one in ("BACKWARD", "FORWARD", "FULL")
                                  for end in ("", "_ALL"))}  # fmt: skip
    assert set(MODES) == confluent | glue
    assert all(mode.source for mode in MODES.values())


def test_a_subject_can_have_a_mode_of_its_own():
    modes = {"events": "NONE"}
    registry = Registry("schemas", {"events": [avro([]), avro(["r"])]}, compatibility=modes)
    registry.register("others", avro([]))
    with pytest.raises(IncompatibleSchema, match="is not BACKWARD"):
        registry.register("others", avro(["r"]))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Registry(""), "a registry needs a name"),
        (lambda: Registry("s", compatibility="SIDEWAYS"), "no compatibility mode .* BACKWARD"),
        (lambda: Registry("s", {"events": avro([])}), "must be a list"),
        (lambda: Registry("s", {"events": [int]}), "is no schema: give an attrs class"),
        (lambda: Registry("s", {"events": [avro([]), attrs_class([])]}), "of two formats"),
        (lambda: Registry("s", {"events": [Avro("{")]}), "no JSON"),
        (lambda: Registry("s", {"events": [Avro({"type": "recrd"})]}), "no Avro schema"),
        (lambda: Registry("s", {"events": [Avro({"type": "long"})]}), "is a record"),
        (
            lambda: Registry("s", {"events": [Avro({"type": "record", "name": "E"})]}),
            "a record has fields",
        ),
        (lambda: Registry("s", {"events": [JsonSchema({"type": "strng"})]}), "no JSON Schema"),
        (lambda: Registry("s", {"events": [JsonSchema({"type": "array"})]}), "not of 'array'"),
        (lambda: Registry("s", [avro([])]), "versions by topic, such as"),
        (lambda: Registry("s", {"events": [avro([])]}).at(events=2), "no version 2 .* it has 1"),
        (lambda: Registry("s").at({"other": 1}), "no version 1 of 'other'"),
    ],
)
def test_what_is_given_amiss_is_told_in_one_sentence(call, words):
    with pytest.raises(InvalidDefinition, match=words) as told:
        call()
    assert "test_modes.py" in str(told.value) or "schema" in str(told.value)


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    import sys

    monkeypatch.delitem(sys.modules, "chaosharness.schemas.formats.avro", raising=False)
    monkeypatch.setitem(sys.modules, "fastavro", None)
    with pytest.raises(InvalidDefinition) as told:
        Registry("schemas", {"events": [avro([])]})
    assert "pip install 'chaosharness[avro]'" in str(told.value)
    assert "\n" not in str(told.value)
