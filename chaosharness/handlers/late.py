"""Modules of the user's that are imported for the first time while a run lasts.

`def handler(): from shop.models import SEEN` is what people write against circles of imports. The
code of such a module is run once in a process of Python, so one process of the run has it do
what it does when it is imported, and the others find it done. Whoever keeps the state of modules is
told when such an import begins and when it is over, before anything else is done with it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

from chaosharness.handlers.own_code import is_own
from chaosharness.kernel.scope import SCOPE

Over = Callable[[list[ModuleType]], None]

BEGINS: Final[list[tuple[frozenset[str], Callable[[], Over]]]] = []
"""Of each run that goes on, innermost last: packages that count as the user's, and what is asked
when an import begins, which returns what is told of the modules when it is over."""

_depth = 0
_imported: Final[list[ModuleType]] = []
_asking: Final[set[str]] = set()


def install() -> None:
    """Look at imports from here on; what is imported outside of a run is none of ours."""
    global _depth  # noqa: PLW0603
    _depth = 0  # where the last run was taken away in the middle of one
    _imported.clear()
    if not any(isinstance(one, _Finder) for one in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds what the others find, and has its import noted."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not BEGINS or SCOPE.get() is None or name in _asking:
            return None
        _asking.add(name)
        try:
            found = (
                finder.find_spec(name, path, target)
                for finder in sys.meta_path
                if finder is not self and hasattr(finder, "find_spec")
            )
            spec = next((one for one in found if one is not None), None)
        finally:
            _asking.discard(name)
        if spec is None or spec.loader is None or spec.origin is None:
            return spec
        if is_own({"__name__": name, "__file__": spec.origin}, BEGINS[-1][0]):
            spec.loader = _Loading(spec.loader)
        return spec


class _Loading(Loader):
    """Loads a module as its own loader does, and says so."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Make the module as the real loader does."""
        made: ModuleType | None = self._real.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        """Run the module; its own loader is what it keeps."""
        global _depth  # noqa: PLW0603
        module.__loader__ = self._real
        if module.__spec__ is not None:
            module.__spec__.loader = self._real
        over = BEGINS[-1][1]() if BEGINS and not _depth else None
        _depth += 1
        try:
            self._real.exec_module(module)
            _imported.append(module)
        finally:
            _depth -= 1
            if over is not None:
                imported = _imported[:]
                _imported.clear()
                over(imported)
