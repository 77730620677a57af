"""What an object holds, read without running any code of its class."""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import GetSetDescriptorType
from typing import Any


@contextmanager
def thawed() -> Iterator[None]:
    """Have the collector of garbage know all that there is: it tells of nothing that is frozen.

    A search freezes what was there before it, and what is frozen may be what somebody looks for:
    a condition of a module, made long before the first run.
    """
    frozen = gc.get_freeze_count()
    if frozen:
        gc.unfreeze()
    try:
        yield
    finally:
        if frozen:
            gc.freeze()


def dict_of(thing: Any) -> Any:
    """Return the attributes that an object keeps in a dict, or None.

    Not `thing.__dict__`: a proxy (`flask.request`) answers for another object then, or raises.
    """
    return reader_of(type(thing))(thing)


def reader_of(kind: type) -> Callable[[Any], Any]:
    """Return what reads the attributes that objects of a class keep in a dict."""
    if issubclass(kind, threading.local):
        return _of_this_thread  # a class beside it has a `__dict__` too, which stays empty
    kinds = kind.__mro__
    own = next((vars(kind)["__dict__"] for kind in kinds if "__dict__" in vars(kind)), None)
    if isinstance(own, GetSetDescriptorType):
        return own.__get__
    if own is not None or any("__getattr__" in vars(kind) for kind in kinds):
        return _nothing
    return _as_it_says


def _nothing(_: object) -> None:
    return None


def _as_it_says(thing: Any) -> Any:
    """Return the attributes of an object of a class in C."""
    return getattr(thing, "__dict__", None)


def _of_this_thread(thing: Any) -> Any:
    return threading.local.__getattribute__(thing, "__dict__")


def words_of(function: Any) -> Any:
    """Return the two words of a built-in function: its C definition, and its `self`."""
    return (ctypes.c_void_p * 2).from_address(id(function) + object.__basicsize__)
