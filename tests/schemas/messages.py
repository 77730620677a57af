"""Protobuf message classes, made without protoc: for tests."""

from itertools import count

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FIELD = descriptor_pb2.FieldDescriptorProto
_NUMBERS = count(1)


def message(fields, *, oneofs=(), package="shop", name="Event", syntax="proto3"):
    """Return the class of a message.

    Args:
        fields: `"1 optional string id"`; a type that begins with a capital is a nested message
            or enum of `nested_types`.
        oneofs: Names of the fields of each oneof.
        package: Of its file.
        name: Of the message.
        syntax: `proto2` or `proto3`.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name=f"event{next(_NUMBERS)}.proto", package=package, syntax=syntax
    )
    made = file.message_type.add(name=name)
    status = made.enum_type.add(name="Status")
    status.value.add(name="ACTIVE", number=0)
    for kind in ("Line", "Other"):
        line = made.nested_type.add(name=kind)
        line.field.add(name="cents", number=1, label=FIELD.LABEL_OPTIONAL, type=FIELD.TYPE_INT64)
    for index, names in enumerate(oneofs):
        made.oneof_decl.add(name=f"choice{index}" if index else "choice")
        assert names
    for words in fields:
        number, label, kind, own = words.split()
        field = made.field.add(name=own, number=int(number))
        field.label = getattr(FIELD, f"LABEL_{label.upper()}")
        if kind == "Status":
            field.type, field.type_name = FIELD.TYPE_ENUM, f".{package}.{name}.Status"
        elif kind[0].isupper():
            field.type, field.type_name = FIELD.TYPE_MESSAGE, f".{package}.{name}.{kind}"
        else:
            field.type = getattr(FIELD, f"TYPE_{kind.upper()}")
        for index, names in enumerate(oneofs):
            if own in names:
                field.oneof_index = index
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
