"""Protobuf: which changes are compatible, as Confluent's provider has it, and what is read."""

import pytest

from chaosharness.schemas.schema import schema_of
from tests.schemas.messages import message

ID = "1 optional string id"

CHANGES = {  # Confluent Platform 8.1, Protobuf provider, SchemaDiff: what is compatible
    "a field is added": ([ID], [ID, "2 optional string more"], True),
    "a field is removed": ([ID, "2 optional string more"], [ID], True),
    "a field has another name": ([ID], ["1 optional string name"], True),
    "a field has another number": ([ID], ["2 optional string id"], True),
    "int32 is now int64": (["1 optional int32 n"], ["1 optional int64 n"], True),
    "int64 is now bool": (["1 optional int64 n"], ["1 optional bool n"], True),
    "int32 is now an enum": (["1 optional int32 n"], ["1 optional Status n"], True),
    "sint32 is now int32": (["1 optional sint32 n"], ["1 optional int32 n"], False),
    "fixed32 is now sfixed32": (["1 optional fixed32 n"], ["1 optional sfixed32 n"], True),
    "a string is now bytes": ([ID], ["1 optional bytes id"], True),
    "an int32 is now a string": (["1 optional int32 id"], [ID], False),
    "a float is now a double": (["1 optional float n"], ["1 optional double n"], False),
    "a string is now repeated": ([ID], ["1 repeated string id"], True),
    "a number is now repeated": (["1 optional int32 n"], ["1 repeated int32 n"], False),
    "a number is now a message": (["1 optional int32 n"], ["1 optional Line n"], False),
    "a message is another one": (["1 optional Line n"], ["1 optional Other n"], False),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_judged_as_confluent_does(change):
    before, after, compatible = CHANGES[change]
    problems = schema_of(message(after)).problems(schema_of(message(before)))
    assert (not problems) == compatible, problems


BOTH = [ID, "2 optional string name"]
ONEOFS = {
    "a field enters a new oneof": ((), [("id",)], True),
    "two fields enter a new oneof": ((), [("id", "name")], False),
    "a field enters a oneof that is there": ([("id",)], [("id", "name")], False),
    "a oneof is dissolved": ([("id", "name")], (), True),
}


@pytest.mark.parametrize("change", ONEOFS)
def test_a_oneof_is_judged_as_confluent_does(change):
    before, after, compatible = ONEOFS[change]
    reader, writer = message(BOTH, oneofs=after), message(BOTH, oneofs=before)
    problems = schema_of(reader).problems(schema_of(writer))
    assert (not problems) == compatible, problems


def test_a_field_that_leaves_its_oneof_is_refused():
    writer = message([*BOTH, "3 optional string key"], oneofs=[("id", "key")])
    [problem] = schema_of(message(BOTH, oneofs=[("id",)])).problems(schema_of(writer))
    assert problem == "the field 'key' has left the oneof 'choice'"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([ID], [ID, "2 required string more"]),
        ([ID, "2 required string more"], [ID]),
        ([ID], ["1 required string id"]),
    ],
)
def test_what_is_required_neither_comes_nor_goes(before, after):
    reader, writer = message(after, syntax="proto2"), message(before, syntax="proto2")
    assert schema_of(reader).problems(schema_of(writer))


def test_another_package_is_refused():
    [problem] = schema_of(message([ID], package="store")).problems(schema_of(message([ID])))
    assert problem == "the package 'shop' is now 'store'"


def test_an_old_reader_keeps_what_it_does_not_know_and_an_old_producer_never_had_it():
    old, new = message([ID]), message([ID, "2 optional int64 cents"])
    reads, writes = schema_of(old), schema_of(new)
    body = writes.write(new(id="o1", cents=500))
    value = reads.read(body, writes)
    assert reads.plain(value) == {"id": "o1"}
    assert writes.plain(writes.read(reads.write(value), reads)) == {"id": "o1", "cents": 500}
    assert writes.plain(writes.read(reads.recast(body, writes), reads)) == {"id": "o1"}


def test_a_dict_is_written_too_and_a_wrong_one_is_refused_in_a_sentence():
    reads = schema_of(message([ID]))
    assert reads.plain(reads.read(reads.write({"id": "o1"}), reads)) == {"id": "o1"}
    with pytest.raises(ValueError, match="Event cannot be written"):
        reads.write({"nothing": 1})
    with pytest.raises(ValueError, match="int is no Event"):
        reads.write(1)
