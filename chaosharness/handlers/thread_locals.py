"""What `threading.local` keeps, for each thread of a run: there is one real thread for all of them.

The interpreter keeps these values in a dict of the real thread. They are exchanged there when a
thread of a run goes on, and when it stops. From Python 3.13 on each `threading.local` keeps them
by a key that the real thread has: that is exchanged instead, with what its end is noticed by.

Source:
    CPython 3.11 and 3.12, `Modules/_threadmodule.c`: the keys of `threading.local`. CPython 3.13,
    there and in `Include/cpython/pystate.h`: `threading_local_key`, `threading_local_sentinel`.

Not modelled:
    An interpreter from 3.13 on where these two are not found: the threads of a run share values.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from typing import Any, Final

_KEY: Final = "thread.local."

_dict: Final = ctypes.pythonapi.PyThreadState_GetDict
_dict.restype = ctypes.c_void_p  # a borrowed reference: `py_object` would take it for ours
_dict.argtypes = ()

_kept: tuple[int | None, dict[Any, Any]] = (0, {})
"""The address of the last of these dicts, and the dict: while it is kept, none other is there."""

_state: Final = ctypes.pythonapi.PyThreadState_Get
_state.restype = ctypes.c_void_p
_state.argtypes = ()

_WORDS: Final = 64
"""How many words of the interpreter's state of a thread are looked through."""

_PARTS: Final = ("key", "sentinel")


class Part:
    """What stands for a thread of a run where the interpreter has one of its own."""

    __slots__ = ("__weakref__",)


def kept_for_thread() -> dict[Any, Any]:
    """Return the dict that the interpreter keeps for the real thread."""
    global _kept  # noqa: PLW0603
    address, kept = _dict(), _kept
    if kept[0] != address:
        found = ctypes.cast(address, ctypes.py_object).value if address else {}
        kept = _kept = address, found if isinstance(found, dict) else {}
    return kept[1]


def _exchange_values(other: dict[Any, Any]) -> dict[Any, Any]:
    """Put other values in place of those that are there, and return these."""
    here = kept_for_thread()
    found = {  # asked at each switch of threads: no call for each key
        key: here.pop(key) for key in list(here) if isinstance(key, str) and key.startswith(_KEY)
    }
    here.update(other)
    return found


def _words() -> Any:
    return (ctypes.c_void_p * _WORDS).from_address(_state())


def _find_parts() -> tuple[int, ...]:
    """Return where in the state of a thread its key and its sentinel are; nothing if nowhere."""
    probe = threading.local()
    probe.value = None  # now both are there
    parts: dict[type, Any] = {type(one): one for one in gc.get_referents(probe)}
    keys, watched = [*parts.get(dict, ())], [*parts.get(set, ())]
    if len(keys) != 1 or len(watched) != 1:
        return ()
    words = [*_words()]
    at = [words.index(id(one)) for one in (keys[0], watched[0]()) if id(one) in words]
    return tuple(at) if len(at) == len(_PARTS) else ()


class Keys:
    """The keys of `threading.local`, from Python 3.13 on.

    Attributes:
        at: Where they are in the state of a thread; nothing where that is not known.
    """

    __slots__ = ("_placed", "at")

    def __init__(self) -> None:
        self.at = _find_parts()
        self._placed: tuple[Any, ...] = ()

    def exchange(self, other: dict[Any, Any]) -> dict[Any, Any]:
        """Put another key in place of the one that is there, and return this: of nobody, a new one.

        The interpreter counts no reference for what is put there: it is kept here, and what was
        there at first is put back in the end.
        """
        if not self.at:
            return {}
        words = _words()
        if not words[self.at[0]]:
            _PROBE.value = None  # a real thread has none until its first value
        found = {
            name: ctypes.cast(words[at], ctypes.py_object).value
            for name, at in zip(_PARTS, self.at, strict=True)
        }
        placed = tuple(other[name] if other else Part() for name in _PARTS)
        for at, part in zip(self.at, placed, strict=True):
            words[at] = id(part)
        self._placed = placed
        return found


_PROBE: Final = threading.local()

exchange: Final = Keys().exchange if sys.version_info >= (3, 13) else _exchange_values
"""Put other values in place of those that are there, and return what brings these back."""
