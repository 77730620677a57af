"""The public names and their signatures are what public_api.txt says.

A change of the API that is meant is written down with

    python tests/architecture/test_public_api.py

and reviewed as a difference of that file.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType

import chaosharness

WRITTEN = Path(__file__).with_name("public_api.txt")
REGENERATE = "python tests/architecture/test_public_api.py"
ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class Plain(str):
    """An annotation that was postponed, shown without quotation marks."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def unquoted(annotation: object) -> object:
    return Plain(annotation) if isinstance(annotation, str) else annotation


def signature(function: object) -> str:
    """Return the signature as text: no quotation marks, no addresses."""
    try:
        found = inspect.signature(function)
    except ValueError:  # an exception class without an __init__ of its own
        return "(...)"
    parameters = [
        each.replace(annotation=unquoted(each.annotation)) for each in found.parameters.values()
    ]
    found = found.replace(
        parameters=parameters, return_annotation=unquoted(found.return_annotation)
    )
    return ADDRESS.sub("", str(found))


def methods(cls: type) -> Iterator[str]:
    """Yield a line for each public method or property that this package defines."""
    ours = [base for base in cls.__mro__ if base.__module__.partition(".")[0] == "chaosharness"]
    members = {name: member for base in reversed(ours) for name, member in vars(base).items()}
    for name, member in sorted(members.items()):
        if name.startswith("_"):
            continue
        match member:
            case property():
                yield f"    .{name}"
            case FunctionType() | classmethod() | staticmethod():
                yield f"    .{name}{signature(getattr(cls, name))}"


def described(name: str, value: object) -> Iterator[str]:
    match value:
        case ModuleType():
            yield f"{name}: module"
        case type():
            yield f"class {name}{signature(value)}"
            yield from methods(value)
        case _ if callable(value):
            yield f"{name}{signature(value)}"
        case _:
            yield f"{name}: {type(value).__name__}"


def public_api() -> list[str]:
    names = sorted(chaosharness.__all__)
    return [line for name in names for line in described(name, getattr(chaosharness, name))]


def test_the_public_api_is_what_is_written_down():
    assert WRITTEN.exists(), f"nothing is written down yet: {REGENERATE}"
    assert public_api() == WRITTEN.read_text("utf-8").splitlines(), f"if meant: {REGENERATE}"


def test_a_public_name_is_listed_once():
    assert len(set(chaosharness.__all__)) == len(chaosharness.__all__)


def test_a_signature_shows_neither_quotation_marks_nor_addresses():
    def example(order: "str", *, key: object = test_a_public_name_is_listed_once) -> "int": ...

    expected = "(order: str, *, key: object = <function test_a_public_name_is_listed_once>) -> int"
    assert signature(example) == expected


if __name__ == "__main__":
    WRITTEN.write_text("".join(f"{line}\n" for line in public_api()), "utf-8")
    print(f"wrote {WRITTEN}")
