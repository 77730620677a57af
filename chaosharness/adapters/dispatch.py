"""Dispatch by scope: inside a run a library's calls are ours, outside it is the real library.

A library is met at two sorts of places. A *seam* is a method or function that its calls pass: it
is wrapped where it stands, so whoever holds the class has ours too. A *swap* is a class or function
that is exchanged, by identity, in every module that has imported it: for what cannot be wrapped,
such as a class written in C. Both ask `SCOPE` at each call or construction, and are never undone.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from inspect import getattr_static, signature
from typing import Any, Final

import attrs
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.exchange import by_scope, exchange
from chaosharness.kernel.scope import SCOPE
from chaosharness.system.parts import UNTESTED


@attrs.frozen
class Seam:
    """A method or function of a library that its calls pass.

    Attributes:
        where: Module and name: `httpx:HTTPTransport.handle_request`.
        takes: The names of its parameters, as this adapter knows them. Where the first is `cls`,
            it is a class method, and gets the class that it was called on.
        ours: `ours(real, *arguments, **options)` stands for it inside a run.
        lately: The last of these names, which older versions lack.
        more: Whether it takes more than these, which the adapter looks at by itself.
        once: What older versions take besides, after these.
    """

    where: str
    takes: tuple[str, ...]
    ours: Callable[..., Any]
    lately: tuple[str, ...] = ()
    more: bool = False
    once: tuple[str, ...] = ()

    @property
    def fits(self) -> tuple[tuple[str, ...], ...]:
        """What it may take: now, and in older versions."""
        older = (self.takes[: -nth or None] for nth in range(len(self.lately) + 1))
        return (*older, self.takes + self.once)


@attrs.frozen
class Swap:
    """A class or function that is exchanged wherever it was imported.

    Attributes:
        where: Module and name: `confluent_kafka:Consumer`.
        ours: Makes what stands for it, from the real one. Asks `inside()` when it is called.
    """

    where: str
    ours: Callable[[Any], Any]


@attrs.frozen
class Library:
    """A client library, and where its calls are met.

    Attributes:
        name: Of its distribution: `httpx`.
        tested: Which versions the adapter is tested with, as `pip` writes them.
        seams: What is wrapped where it stands.
        swaps: What is exchanged.
        warm: Called once, outside of any run, for what the library does once in a process.
        late: Refuses what modules hold of the library that was made before it was met.
        part: Which part of it, where several adapters share a library.
    """

    name: str
    tested: str
    seams: tuple[Seam, ...] = ()
    swaps: tuple[Swap, ...] = ()
    warm: Callable[[], object] | None = None
    late: Callable[[], object] | None = None
    part: str = ""

    @property
    def key(self) -> str:
        """What tells it from all others."""
        return f"{self.name} {self.part}".rstrip()


_INSTALLED: Final[set[str]] = set()


def inside() -> bool:
    """Say whether the running code is that of a run."""
    return SCOPE.get() is not None


def install(library: Library) -> None:
    """Meet a library's calls from here on, in this process.

    Raises:
        InvalidDefinition: It is not as its adapter knows it: nothing of it was touched.
    """
    if library.key in _INSTALLED:
        return
    seams = [(one, *_found(library, one.where, *one.fits, more=one.more)) for one in library.seams]
    swaps = [(one, *_found(library, one.where)) for one in library.swaps]
    _INSTALLED.add(library.key)
    for seam, owner, name, real in seams:
        ours = by_scope(real, seam.ours)
        kind = getattr_static(owner, name)
        if _gets_class(seam.takes):
            setattr(owner, name, classmethod(by_scope(kind.__func__, seam.ours)))
            continue
        bound = isinstance(kind, classmethod | staticmethod)  # and so is what was found
        setattr(owner, name, staticmethod(ours) if bound else ours)
    for swap, _, _, real in swaps:
        exchange(real, swap.ours(real))
    _say_untested(library)
    if library.warm is not None:
        library.warm()


def _say_untested(library: Library) -> None:
    """Note a version that nobody has tried: it fits, and may behave in another way all the same."""
    installed = version_of(library.name)
    met: list[Seam | Swap] = [*library.seams, *library.swaps]
    where = met[0].where if met else library.name
    try:
        known = Version(installed) in SpecifierSet(library.tested, prereleases=True)
    except InvalidVersion:
        return  # it is Python's own
    if not known:
        words = (
            f"a trial of {library.name} {installed} (its adapter is tested with {library.tested}: "
            "install such a version)"
        )
        UNTESTED[library.name] = where.partition(":")[0].partition(".")[0], words


def _gets_class(takes: tuple[str, ...]) -> bool:
    return takes[:1] == ("cls",)


def _found(
    library: Library, where: str, *fits: tuple[str, ...], more: bool = False
) -> tuple[Any, str, Any]:
    """Return what holds a thing of a library, its name there, and the thing.

    Raises:
        InvalidDefinition: It is not there, or takes something else.
    """
    module, _, path = where.partition(":")
    *way, name = path.split(".")
    takes = fits[0] if fits else None
    try:
        owner = import_module(module)
        for step in way:
            owner = getattr(owner, step)
        real = getattr(owner, name)
        by_class = fits and _gets_class(fits[0])
        asked = getattr_static(owner, name).__func__ if by_class else real
        there = None if takes is None else tuple(signature(asked).parameters)
        if more and there is not None:
            there = there[: len(fits[0])]
    except (ImportError, AttributeError, ValueError, TypeError):
        raise _changed(library, path, takes, "is not there") from None
    if takes is not None and there not in fits:
        raise _changed(library, path, takes, f"takes ({', '.join(there or ())})")
    return owner, name, real


def _changed(
    library: Library, path: str, takes: tuple[str, ...] | None, words: str
) -> InvalidDefinition:
    known = "" if takes is None else f"({', '.join(takes)})"
    return InvalidDefinition(
        f"{library.name} {version_of(library.name)} is not as its adapter knows it: {path}{known} "
        f"{words}. The adapter is tested with {library.name} {library.tested}: install such a "
        "version, or report this one"
    )


def version_of(distribution: str) -> str:
    """Return the version of an installed library, or what says that it has none."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "(of unknown version)"
