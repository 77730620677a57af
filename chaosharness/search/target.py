"""Where a system is found: `module:attribute`, as on the command line."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from traceback import extract_tb
from types import ModuleType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from chaosharness.errors import ChaosharnessError, InvalidDefinition
from chaosharness.system import System
from chaosharness.system.weaker import Weaker

_TWINS: Final = ("settled", "weaker")
"""What a system has of itself: of a function that makes one, of what it makes."""

_NOT_THEIRS: Final = frozenset({*sys.stdlib_module_names, "chaosharness", "__main__"})

_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})


def load_target(target: str) -> System:
    """Import a system.

    Args:
        target: `module:attribute`, for example `models.order.broken:charge_without_key`.
            The attribute is a `System`, or a function without arguments that returns one.
            The current directory is searched as well.

    Raises:
        InvalidDefinition: It does not import, is not there, or is no system; the message
            says which, and what is there instead.
    """
    module_name, colon, attribute = target.partition(":")
    if not colon or not module_name or not attribute:
        raise InvalidDefinition(
            f"{target!r} is no target; write module:attribute, for example "
            "'models.order.broken:charge_without_key'"
        )
    return _system_from(_find(_module(target, module_name), target, attribute), target)


def target_of(system: object) -> str:
    """Return `module:attribute` of a system that is a global of some module; empty if none.

    Modules outside Python's own and ours are looked through, in the order of their names.
    """
    origin = getattr(system, "origin", None)
    if origin is not None:
        first, by = origin
        target = target_of(first)
        return target and f"{target}.{by}"
    for name in sorted(sys.modules):
        if name.partition(".")[0] in _NOT_THEIRS:
            continue
        words = getattr(sys.modules[name], "__dict__", {})
        for attribute, value in list(words.items()):
            if value is system:
                return f"{name}:{attribute}"
    return ""


def full_target(given: str) -> str:
    """Return what somebody typed as `module:attribute`, which reports and workers can load.

    Args:
        given: `shop:system`, `shop` for the one system in it, or either with the path of the
            file in place of the module: `chaos/shop.py:system`.

    Raises:
        InvalidDefinition: The file is not there, the module does not import, or it has no
            system, or several.
    """
    if given.endswith(".json") and Path(given).is_file():
        raise InvalidDefinition(
            f"{given} is a file, not a system: of a counterexample, write chaosharness replay "
            f"{given}"
        )
    place, _, attribute = given.partition(":")
    name = _module_of_file(given, place) if place.endswith(".py") or "/" in place else place
    if not name:
        raise InvalidDefinition(
            f"{given!r} is no target; write module:attribute, for example chaos_shop:shop"
        )
    if attribute:
        return f"{name}:{attribute}"
    module = _module(given, name)
    systems = [key for key, value in vars(module).items() if isinstance(value, System)]
    several = sorted(systems or _systems_in(module))
    if len(systems or several) == 1:
        return f"{name}:{several[0]}"
    if not several:
        raise InvalidDefinition(f"{given}: {name} has no system at all: write {name}:attribute")
    which = " or ".join(f"{name}:{one}" for one in several[:6])
    raise InvalidDefinition(f"{given}: {name} has several; write {which}")


def _module_of_file(given: str, place: str) -> str:
    """Return the module of a file, which Python then finds."""
    path = Path(place)
    if not path.is_file():
        raise InvalidDefinition(f"{given}: there is no file {place}")
    here = Path.cwd()
    inside = path.resolve().relative_to(here) if path.resolve().is_relative_to(here) else None
    parts = inside.with_suffix("").parts if inside is not None else ()
    if parts and all(part.isidentifier() for part in parts):
        return ".".join(parts)
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return path.stem


def _module(target: str, name: str) -> ModuleType:
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise InvalidDefinition(
                f"{target}: there is no module {error.name!r}, in {here} or where Python "
                "looks (PYTHONPATH)"
            ) from None
        raise InvalidDefinition(f"{target}: {name} does not import: {_words(error)}") from error
    except ChaosharnessError:
        raise  # says itself what is wrong
    except SystemExit as error:
        raise _ends(f"{target}: importing {name}", error) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # pytest.skip of a module, too: there is no system then
        raise InvalidDefinition(f"{target}: {name} does not import: {_words(error)}") from error


def _ends(what: str, error: SystemExit) -> InvalidDefinition:
    """Say that code which only had to be loaded ends the process."""
    trace = _place(error)
    return InvalidDefinition(
        f"{what} ended the process: SystemExit({error.code!r}){trace}. Put what a script does "
        'below: if __name__ == "__main__":'
    )


def _words(error: BaseException) -> str:
    """Say what an error is and, where it has one, at which line."""
    text = f"{type(error).__name__}: {error}"
    return text if isinstance(error, SyntaxError) else f"{text}{_place(error)}"


def _place(error: BaseException) -> str:
    trace = extract_tb(error.__traceback__)
    frames = [one for one in trace if "importlib" not in one.filename and one.filename != __file__]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def _find(module: ModuleType, target: str, attribute: str) -> Any:
    found: Any = module
    for part in attribute.split("."):
        try:
            if part in _TWINS and inspect.isfunction(found):
                found = _system_from(found, target)
            found = getattr(found, part)
        except AttributeError as error:
            if isinstance(found, Weaker):
                raise InvalidDefinition(f"{target}: {error}") from None
            names = sorted(_systems_in(module))
            near = get_close_matches(part, names or sorted(vars(module)), n=3, cutoff=0.7)
            if near:
                hint = f"; did you mean {' or '.join(near)}?"
            elif names:
                hint = f"; it has {', '.join(names)}"
            else:
                hint = "; it has no system at all"
            raise InvalidDefinition(
                f"{target}: {module.__name__} has no {attribute!r}{hint}"
            ) from None
    return found


def _systems_in(module: ModuleType) -> Iterator[str]:
    """Yield the names of what may be a system: systems, and functions that take nothing."""
    for name, value in vars(module).items():
        own = getattr(value, "__module__", None) == module.__name__
        inner = inspect.unwrap(value) if own and callable(value) else value
        maker = inspect.isfunction(inner) and own and not _required(inner)
        maker = maker and not inspect.iscoroutinefunction(inner)
        if isinstance(value, System) or (maker and not name.startswith("_")):
            yield name


def _required(function: Any) -> list[str]:
    """Return the parameters that a call must give."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return [one.name for one in parameters if one.default is one.empty and one.kind not in kinds]


def _system_from(found: Any, target: str) -> System:
    if isinstance(found, System):
        return found
    inner = inspect.unwrap(found)  # of one that keeps what it made: functools.cache
    if not inspect.isroutine(found) and not inspect.isfunction(inner):
        raise InvalidDefinition(f"{target} is {_article(found)}, not a System")
    theirs = target.partition(":")[0].partition(".")[0] not in sys.stdlib_module_names
    if not theirs or not (inspect.isfunction(inner) or inspect.ismethod(inner)):
        raise InvalidDefinition(
            f"{target} is a function of Python's own or of an extension, which makes no System: "
            "not called"
        )
    required = _required(found)
    if required:
        raise InvalidDefinition(
            f"{target} is a function that needs {', '.join(required)}; a target is a System, or "
            "a function without arguments that returns one"
        )
    if why := _why_not_to_call(inner):
        raise InvalidDefinition(f"{target} {why}, not System: not called")
    try:
        made = found()
    except ChaosharnessError:
        raise
    except SystemExit as error:
        raise _ends(f"{target}()", error) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise InvalidDefinition(f"{target}() raised {_words(error)}") from error
    if inspect.iscoroutine(made):
        made.close()
        raise InvalidDefinition(f"{target} is an async function; a target must be plain")
    if not isinstance(made, System):
        raise InvalidDefinition(f"{target}() returned {_article(made)}, not a System")
    return made


def _why_not_to_call(function: Any) -> str:
    """Say why a function makes no system, as far as can be seen; empty if it may.

    A file that names it may come from anyone. Its annotation counts, and of what is installed
    whether anything beside it is of chaosharness.
    """
    given = function.__annotations__.get("return", Any)
    try:
        returned = get_type_hints(function).get("return", Any)
    except Exception:  # names that are there for type checkers only
        returned = Any
    many = get_args(returned) if get_origin(returned) in (Union, UnionType) else (returned,)
    if not any(map(_may_be_a_system, many)):
        words = given if isinstance(given, str) else inspect.formatannotation(given)
        return f"is annotated with -> {words}"
    names = function.__globals__
    if given is not Any or not _INSTALLED.intersection(Path(names.get("__file__") or "").parts):
        return ""
    if any(_home(one).partition(".")[0] == "chaosharness" for one in [*names.values()]):
        return ""
    return "is installed beside nothing of chaosharness, and annotated with nothing"


def _may_be_a_system(kind: Any) -> bool:
    """Say whether a value of this annotation may be one: what says nothing may."""
    kind = get_origin(kind) or kind
    return (
        kind is Any
        or not isinstance(kind, type)
        or issubclass(kind, System)
        or issubclass(System, kind)
    )


def _home(value: Any) -> str:
    """Return the module that something is from."""
    known = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", "")
    return known if isinstance(known, str) else ""


def _article(value: Any) -> str:
    if value is None:
        return "None"
    name = value.__qualname__ if isinstance(value, type) else type(value).__qualname__
    kind = "the class" if isinstance(value, type) else "an" if name[0] in "aeiouAEIOU" else "a"
    return f"{kind} {name}"
