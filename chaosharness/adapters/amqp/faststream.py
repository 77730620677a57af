"""FastStream: an application as it is. What it holds in modules is each process's own.

A broker, its routers and its handlers are made when a module is imported, and hold connections once
they run, through aio-pika or aiokafka. So each incarnation imports the modules that hold some of
them anew, for itself. Where the lifespan of a web application starts a broker, what that holds is
exchanged instead, as the state of the user's own objects is (`handlers/own_code.py`, `CONNECTED`).

Source:
    FastStream 0.7, `app.py` (`FastStream.run`), `rabbit/subscriber/usecase.py`; its documentation,
    "Lifespan".

Not modelled:
    Requests that wait for a reply, `app.as_asgi()`, AsyncAPI pages, workers and
    reload of its command line. `app.exit()` is noticed after up to 10 s.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from fast_depends import dependency_provider
from faststream._internal.broker import registrator

from chaosharness.adapters.amqp.handling import BEHIND
from chaosharness.adapters.amqp.logs import silence_in_runs
from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.adapters.in_order import WeakInOrder
from chaosharness.kernel.places import is_installed
from chaosharness.kernel.scope import SCOPE

_PACKAGE: Final = "faststream"

LOOKS_S: Final = 10.0
"""How often an application looks whether it is to end: ten times a second is nothing but costs."""


async def _run(
    real: Any,
    self: Any,
    log_level: int = 20,
    run_extra_options: Any = None,
    sleep_time: float = 0.1,
) -> None:
    await real(_own(self), log_level, run_extra_options, max(sleep_time, LOOKS_S))


def _own(app: Any) -> Any:
    """Return an application of this process: imported anew where a module holds it."""
    held = _HELD.get(id(app))
    place = _place_of(app) if held is None else held[1]
    if place is None:
        return app
    _HELD[id(app)] = (app, place)
    module, name, holders = place
    return getattr(_anew(module, holders), name)


Place = tuple[ModuleType, str, list[ModuleType]]

_HELD: Final[dict[int, tuple[Any, Place]]] = {}
"""By the identity of an application that modules hold, which is kept: where it stands."""


def _place_of(app: Any) -> Place | None:
    holders = _holders()
    for module in holders:
        for name, value in vars(module).items():
            if value is app:
                return module, name, holders
    return None


def _holders() -> list[ModuleType]:
    """Return the user's modules that hold something of FastStream's, or a module that does."""
    own = [one for one in [*sys.modules.values()] if _is_users(one)]
    found = {one.__name__ for one in own if any(map(_is_its, vars(one).values()))}
    packages = {name.partition(".")[0] for name in found}
    return [one for one in own if one.__name__ in found or _within(one.__name__, packages)]


def _within(name: str, packages: set[str]) -> bool:
    return "." in name and name.partition(".")[0] in packages


def _is_users(module: Any) -> bool:
    file = getattr(module, "__file__", None)
    if type(module) is not ModuleType or not file or module.__name__ == "__main__":
        return False
    return not is_installed(file) and not module.__name__.startswith("chaosharness")


def _is_its(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == _PACKAGE


def _anew(module: ModuleType, holders: list[ModuleType]) -> ModuleType:
    """Import a module anew, with all that hold a part of its application; leave the old ones."""
    _forget_earlier_runs()
    inside = _in_packages(holders)
    kept = {one.__name__: sys.modules.pop(one.__name__) for one in holders}
    try:
        return import_module(module.__name__)
    finally:
        for name in kept:
            made = sys.modules.pop(name, None)
            if made is not None:
                _MADE.append(vars(made))
        sys.modules.update(kept)
        for above, name, old in inside:
            setattr(above, name, old)


def _in_packages(modules: list[ModuleType]) -> list[tuple[ModuleType, str, Any]]:
    """Return what packages hold under the names of modules: Python puts there what it imports."""
    found = []
    for one in modules:
        package, _, name = one.__name__.rpartition(".")
        above = sys.modules.get(package)
        if above is not None and name in vars(above):
            found.append((above, name, vars(above)[name]))
    return found


_MADE: Final[list[dict[str, Any]]] = []
"""What modules hold that were imported anew in the run that goes on, or in the last one."""

_RUN: Final[list[list[Any]]] = []
"""What the run that goes on has told so far, by which it is known, or the last one."""


def _forget_earlier_runs() -> None:
    """Take the dependencies of earlier runs out of the one provider that all brokers share.

    It would grow with each process, and a look at what sleeping code knows would differ by it.
    """
    scope = SCOPE.get()
    if scope is None or (_RUN and _RUN[0] is scope.world.raw):
        return
    _RUN[:] = [scope.world.raw]
    left = {id(names) for names in _MADE}
    classes = {id(one) for names in _MADE for one in names.values() if isinstance(one, type)}
    _MADE.clear()
    known = dependency_provider.dependencies
    for key in list(known):
        if id(getattr(key, "__globals__", None)) in left or id(key) in classes:
            del known[key]


def _handler_of(callback: Any) -> Any:
    """Return the user's function behind a subscriber, if it is one."""
    subscriber = getattr(callback, "__self__", None)
    if subscriber is None or not _is_its(subscriber):
        return None
    for call in getattr(subscriber, "calls", ()):
        return getattr(call.handler, "_original_call", call.handler)
    return None


def _learn() -> None:
    if hasattr(registrator, "WeakSet"):  # subscribers start in its order, which is that of chance
        registrator.WeakSet = WeakInOrder
    BEHIND.append(_handler_of)
    silence_in_runs(_PACKAGE, f"{_PACKAGE}.access.rabbit", f"{_PACKAGE}.access.kafka")


LIBRARY: Final = Library(
    _PACKAGE,
    tested=">=0.6,<0.8",
    seams=(
        Seam(
            "faststream.app:FastStream.run",
            ("self", "log_level", "run_extra_options", "sleep_time"),
            _run,
        ),
    ),
    warm=_learn,
)
