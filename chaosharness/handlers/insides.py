"""What an object holds, read without running any code of its class."""

from __future__ import annotations

from types import GetSetDescriptorType
from typing import Any


def dict_of(thing: Any) -> Any:
    """Return the attributes that an object keeps in a dict, or None.

    Not `thing.__dict__`: a proxy (`flask.request`) answers for another object then, or raises.
    """
    kinds = type(thing).__mro__
    own = next((vars(kind)["__dict__"] for kind in kinds if "__dict__" in vars(kind)), None)
    if isinstance(own, GetSetDescriptorType):
        return own.__get__(thing)
    if own is not None or any("__getattr__" in vars(kind) for kind in kinds):
        return None
    return getattr(thing, "__dict__", None)  # of a class in C: `threading.local`
