"""The house as a tuple: a room imports lower floors only, and ARCHITECTURE.md says the same."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "chaosharness"
FLOORS = (  # from the ground up
    {"errors", "options"},
    {"capacity", "kernel", "machines"},
    {"faults"},
    {"schedule"},
    {"handlers"},
    {"brokers", "externals", "stores"},
    {"calls", "orchestrators", "schemas"},
    {"checkers"},
    {"system"},
    {"adapters", "counterexample"},
    {"campaign", "traces"},
    {"strategies"},
    {"search", "reporting"},
    {"pytest_plugin", "cli"},
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS, 1) for room in rooms}
STAIRS = {"reporting": ("story", "formats")}  # inside a room, from the ground up
ROOF = len(FLOORS) + 1  # __init__ and __main__: they may import everything, nobody imports them
HYPOTHESIS_FLOOR = FLOOR_OF["strategies"]
JUNK_ROOMS = {"utils.py", "helpers.py", "common.py"}

FILES = sorted(PACKAGE.rglob("*.py"))


def named(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def floor_of(room: str) -> int:
    return FLOOR_OF.get(room, ROOF)


def imports(source: str, *, package: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield every dotted name a file imports: deferred, relative and import_module included."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(module=module, level=level):
                above = package[: len(package) - level + 1] if level else ()
                base = ".".join((*above, *filter(None, [module])))
                yield from (f"{base}.{alias.name}" for alias in node.names)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__")
                | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield name


def imports_of(path: Path) -> set[str]:
    package = path.relative_to(REPOSITORY).parent.parts
    return set(imports(path.read_text("utf-8"), package=package))


def rooms_used(names: set[str]) -> set[str]:
    """Return the rooms behind some imported names; a name of the lazy package is the roof."""
    parts = [[*name.split("."), "__init__"] for name in names]
    used = {part[1] for part in parts if part[0] == "chaosharness"}
    return {room if room in FLOOR_OF else "__init__" for room in used - {"__version__"}}


def module_of(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def graph(files: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return which module imports which, from the names each imports; the version is no one's."""

    def home(name: str) -> str:
        return name if name in files else name.rpartition(".")[0]

    return {
        module: {home(name) for name in names - {"chaosharness.__version__"}} & files.keys()
        for module, names in files.items()
    }


def circles(imported: dict[str, set[str]]) -> list[set[str]]:
    """Return the groups of modules of which each leads to all the others."""

    def reach(module: str) -> set[str]:
        found: set[str] = set()
        ahead = [module]
        while ahead:
            new = imported[ahead.pop()] - found
            found |= new
            ahead += new
        return found

    reached = {module: reach(module) for module in imported}
    found: list[set[str]] = []
    for module in sorted(imported):
        circle = {other for other in reached[module] if module in reached[other]}
        if circle and circle not in found:
            found.append(circle)
    return found


def test_imports_are_seen_wherever_they_stand():
    source = """
import chaosharness.kernel.agenda
from chaosharness import brokers
from .. import search
from ..faults import Crash
def later():
    from chaosharness.cli import main
    import_module("chaosharness.stores")
"""
    found = set(imports(source, package=("chaosharness", "checkers")))
    assert rooms_used(found) == {"kernel", "brokers", "search", "faults", "cli", "stores"}


def test_a_name_of_the_lazy_package_is_the_roof():
    assert rooms_used(set(imports("from chaosharness import Crash"))) == {"__init__"}
    assert rooms_used(set(imports("import chaosharness"))) == {"__init__"}
    assert rooms_used(set(imports("from chaosharness import __version__"))) == set()


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_room_looks_down_only(path):
    room = room_of(path)
    for used in rooms_used(imports_of(path)) - {room}:
        assert floor_of(used) < floor_of(room), f"{room} imports {used}"


def test_a_circle_is_seen_however_it_is_hidden():
    lower = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from chaosharness.kernel.b import B
"""
    middle = """
def later():
    from chaosharness.kernel import c
"""
    sources = {"a": lower, "b": middle, "c": "from .a import A", "d": "from . import a"}
    package = ("chaosharness", "kernel")
    names = {
        f"chaosharness.kernel.{module}": set(imports(source, package=package))
        for module, source in sources.items()
    }
    assert circles(graph(names)) == [{f"chaosharness.kernel.{module}" for module in "abc"}]


def test_no_import_goes_in_a_circle():
    assert circles(graph({module_of(path): imports_of(path) for path in FILES})) == []


@pytest.mark.parametrize("room", ["brokers", "stores"])
def test_a_product_has_a_folder_and_no_prefix(room):
    products = {path.name for path in (PACKAGE / room).iterdir() if (path / "__init__.py").exists()}
    assert products
    prefixed = {
        named(path)
        for path in (PACKAGE / room).rglob("*.py")
        if path.stem.partition("_")[0] in products and "_" in path.stem
    }
    assert prefixed == set(), "the folder says whose it is"


@pytest.mark.parametrize("room", STAIRS)
def test_a_part_of_a_room_looks_down_only(room):
    parts = STAIRS[room]
    for path in (PACKAGE / room).rglob("*.py"):
        part, *rest = path.relative_to(PACKAGE / room).with_suffix("").parts
        if not rest:
            assert part == "__init__", f"{named(path)} stands on the stairs: give it a part"
            continue
        lower = parts[: parts.index(part) + 1]
        for name in imports_of(path):
            used = [*name.split("."), "__init__"]
            if used[:2] == ["chaosharness", room]:
                assert used[2] in lower, f"{named(path)} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_file_has_a_room_on_the_plan(path):
    room = room_of(path)
    assert room in FLOOR_OF or room in {"__init__", "__main__"}, "give it a floor in FLOORS"


@pytest.mark.parametrize("path", FILES, ids=named)
def test_hypothesis_lives_upstairs(path):
    used = {name.partition(".")[0] for name in imports_of(path)}
    assert "hypothesis" not in used or floor_of(room_of(path)) >= HYPOTHESIS_FLOOR


@pytest.mark.parametrize("path", sorted((PACKAGE / "kernel").rglob("*.py")), ids=named)
def test_the_kernel_needs_the_standard_library_and_records_only(path):
    used = {name.partition(".")[0] for name in imports_of(path)}
    assert used <= sys.stdlib_module_names | {"attr", "attrs", "msgspec", "chaosharness"}


@pytest.mark.parametrize("folder", ["chaosharness", "models", "properties", "tests"])
def test_every_file_says_what_it_is_for(folder):
    found = {named(path) for path in (REPOSITORY / folder).rglob("*.py") if path.name in JUNK_ROOMS}
    assert found == set(), "name a file after what it does"


def test_the_document_draws_the_same_house():
    text = (REPOSITORY / "ARCHITECTURE.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| \S.* \|$", text, re.MULTILINE)
    assert {room: int(floor) for floor, room in rows} == FLOOR_OF
    assert len(rows) == len(FLOOR_OF), "a room stands in the table twice"


def test_the_document_draws_the_same_stairs():
    text = (REPOSITORY / "ARCHITECTURE.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)/(\w+)` \| \S.* \|$", text, re.MULTILINE)
    drawn = [(room, part) for room, parts in STAIRS.items() for part in reversed(parts)]
    assert rows == drawn
