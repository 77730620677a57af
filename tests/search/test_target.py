"""Where a system is found, and what is said when it is not."""

import sys

import pytest

from chaosharness import System
from chaosharness.errors import InvalidDefinition
from chaosharness.search.target import full_target, load_target


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module of this test's own, in the current directory; return its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one])
    names = []

    def write(text):
        name = f"shops_{tmp_path.name}"
        (tmp_path / f"{name}.py").write_text(text)
        names.append(name)
        return name

    yield write
    for name in names:
        sys.modules.pop(name, None)


SHOPS = """
from chaosharness import System
plain_shop = System("plain")
def made_shop(): return System("made")
def needs(broker): return System("needy")
def raises(): return {}["db"]
def nothing(): pass
async def later(): return System("later")
class Shop: pass
number = 7
class Inner:
    shop = System("inner")
"""


def refusal(target):
    with pytest.raises(InvalidDefinition) as caught:
        load_target(target)
    return str(caught.value)


def test_a_system_or_a_function_that_makes_one(module):
    name = module(SHOPS)
    assert load_target(f"{name}:plain_shop").name == "plain"
    assert load_target(f"{name}:made_shop").name == "made"
    assert load_target(f"{name}:Inner.shop").name == "inner"
    assert isinstance(load_target("tests.search.planted:one"), System)


def test_a_function_that_keeps_what_it_made(module):
    head = "from functools import cache\nfrom chaosharness import System\n"
    name = module(head + "@cache\ndef shop(): return System('kept')\n")
    assert load_target(f"{name}:shop").name == "kept"
    assert full_target(name) == f"{name}:shop"
    assert "is a function of Python's own or of an extension" in refusal("os:getpid")


@pytest.mark.parametrize("target", ["", "shops", ":shop", "shops:", "shop.py"])
def test_what_is_no_target(target):
    assert "write module:attribute, for example" in refusal(target)


def test_a_module_that_is_not_there():
    text = refusal("no_such_shops.order:shop")
    assert text.startswith("no_such_shops.order:shop: there is no module 'no_such_shops', in ")
    assert "PYTHONPATH" in text


def test_a_module_that_imports_what_is_not_there(module):
    name = module("import no_such_driver\n")
    text = refusal(f"{name}:shop")
    assert "does not import: ModuleNotFoundError: No module named 'no_such_driver'" in text
    assert "line 1" in text


def test_a_module_that_raises_when_imported(module):
    name = module("x = 1\ny = x / 0\n")
    assert "does not import: ZeroDivisionError: division by zero" in refusal(f"{name}:shop")
    assert f"{name}.py, line 2" in refusal(f"{name}:shop")


def test_a_module_with_a_mistake_in_its_syntax(module):
    name = module("def shop(:\n")
    assert "does not import: SyntaxError: " in refusal(f"{name}:shop")


def test_our_own_words_come_through(module):
    name = module("from chaosharness import System\nshop = System('')\n")
    said = refusal(f"{name}:shop")
    assert said.startswith("a system needs a name, not '': System(\"shop\") (at ")


def test_near_misses_are_named(module):
    name = module(SHOPS)
    assert refusal(f"{name}:plain_sop") == (
        f"{name}:plain_sop: {name} has no 'plain_sop'; did you mean plain_shop?"
    )
    assert refusal(f"{name}:zzz").endswith("it has made_shop, nothing, plain_shop, raises")


def test_a_module_without_any_system(module):
    name = module("number = 7\n")
    assert refusal(f"{name}:zzz").endswith("has no 'zzz'; it has no system at all")


def test_what_is_no_system(module):
    name = module(SHOPS)
    assert refusal(f"{name}:number") == f"{name}:number is an int, not a System"
    assert refusal(f"{name}:Shop") == f"{name}:Shop is the class Shop, not a System"
    assert refusal(f"{name}:nothing") == f"{name}:nothing() returned None, not a System"
    assert "is a function that needs broker; a target is" in refusal(f"{name}:needs")
    assert "is an async function; a target must be plain" in refusal(f"{name}:later")
    assert "raises() raised KeyError: 'db'" in refusal(f"{name}:raises")
    assert ".py, line 6)" in refusal(f"{name}:raises")


SAID = """
from __future__ import annotations
from typing import Any, TypeVar, TYPE_CHECKING
import chaosharness
from chaosharness import System
if TYPE_CHECKING:
    from nowhere import Special
class Shop(System): pass
S = TypeVar("S")
called = []
def made(): called.append(1); return Shop("made")
def none() -> None: return made()
def number() -> int | str: return made()
def listed() -> list[System]: return made()
def plain() -> System: return made()
def anything() -> Any: return made()
def maybe() -> System | None: return made()
def sub() -> Shop: return made()
def thing() -> object: return made()
def typed() -> S: return made()
def special() -> Special: return made()
"""


@pytest.mark.parametrize("name", ["none", "number", "listed"])
def test_a_function_that_says_it_makes_something_else_is_not_called(module, name):
    where = module(SAID)
    assert "is annotated with -> " in refusal(f"{where}:{name}")
    assert refusal(f"{where}:{name}").endswith(", not System: not called")
    assert sys.modules[where].called == []


@pytest.mark.parametrize(
    "name", ["made", "plain", "anything", "maybe", "sub", "thing", "typed", "special"]
)
def test_a_function_that_may_make_one_is(module, name):
    assert load_target(f"{module(SAID)}:{name}").name == "made"


BUILT = "from {module} import {name}\ndef made(): open('called', 'w'); return {call}\n"


def test_what_is_installed_and_knows_nothing_of_us_is_not_called(tmp_path, monkeypatch):
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.chdir(tmp_path)
    (folder / "their_tool.py").write_text(BUILT.format(module="os", name="sep", call="sep"))
    (folder / "their_shop.py").write_text(
        BUILT.format(module="chaosharness", name="System", call="System('shop')")
    )
    assert "is installed beside nothing of chaosharness" in refusal("their_tool:made")
    assert not (tmp_path / "called").exists()
    assert load_target("their_shop:made").name == "shop"
    assert (tmp_path / "called").exists()
    for one in ("their_tool", "their_shop"):
        sys.modules.pop(one)
