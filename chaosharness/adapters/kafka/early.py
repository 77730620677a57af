"""Clients that a module makes when it is imported: each is made when it is used, here or there.

Outside of any run they are the library's own, and inside each process has its own of ours.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from chaosharness.adapters.dispatch import inside
from chaosharness.errors import InvalidDefinition
from chaosharness.kernel.scope import SCOPE

_OWN: Final = ("__dict__", "__weakref__")
_REALS: Final[dict[type, list[type]]] = {}
"""The library's own classes, by what stands for them."""


class Early:
    """A client that was made outside of any run."""

    def __init__(self, real: type, ours: type, given: tuple[Any, ...], options: Any) -> None:
        self._real = real
        self._ours = ours
        self._given = given
        self._options = options
        self._made: Any = None

    def _now(self) -> Any:
        scope = SCOPE.get()
        if scope is None:
            if self._made is None:
                self._made = self._real(*self._given, **self._options)
            return self._made
        clients = scope.incarnation.clients
        if self not in clients:
            clients[self] = self._ours(*self._given, **self._options)
        return clients[self]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # whoever looks through a module makes no client
            raise AttributeError(name)
        return getattr(self._now(), name)

    def __iter__(self) -> Any:
        return iter(self._now())

    def __next__(self) -> Any:
        return next(self._now())

    def __enter__(self) -> Any:
        return self._now().__enter__()

    def __exit__(self, *error: object) -> Any:
        return self._now().__exit__(*error)


class _Passes(type):
    """The class of what stands for a real class: the real one's objects are its own."""

    real: type

    def __instancecheck__(cls, value: Any) -> bool:
        real = vars(cls).get("real")
        if real is None:
            return type.__instancecheck__(cls, value)
        if type(value) is Early:
            return issubclass(value._real, real)
        return type.__instancecheck__(cls, value) or isinstance(value, real)

    def __getattr__(cls, name: str) -> Any:
        if name == "real":
            raise AttributeError(name)
        return getattr(cls.real, name)


def refuse_real(library: str, ours: tuple[type, ...]) -> None:
    """Refuse clients that modules made before their library was met: they are real ones.

    Args:
        library: Its name.
        ours: What stands for its classes.

    Raises:
        InvalidDefinition: It names the first.
    """
    reals = tuple(real for one in ours for real in _REALS.get(one, ()))
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", None)
        if type(names) is not dict:
            continue
        for name, value in list(names.items()):
            if issubclass(type(value), reals):
                where = f"{names.get('__name__')}.{name}"
                raise InvalidDefinition(
                    f"{where} is a real {type(value).__name__} of {library}: its module was "
                    "imported before chaosharness could meet the library. Import KafkaServers "
                    "first, then that module: from chaosharness import KafkaServers"
                )


def door(ours: type) -> Callable[[Any], Any]:
    """Return what makes a class of ours stand for the real one."""

    def stand(real: Any) -> Any:
        def new(kind: type, *given: Any, **options: Any) -> Any:
            if inside():
                return object.__new__(kind)
            if kind is made:
                return Early(real, ours, given, options)
            names = {name: value for name, value in vars(kind).items() if name not in _OWN}
            return type(kind.__name__, (real,), names)(*given, **options)

        words = {"__new__": new, "__module__": ours.__module__, "__doc__": real.__doc__}
        made = _Passes(real.__name__, (ours,), words)
        made.real = real
        _REALS.setdefault(ours, []).append(real)
        return made

    return stand
