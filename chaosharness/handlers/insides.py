"""What an object holds, read without running any code of its class."""

from __future__ import annotations

from types import GetSetDescriptorType
from typing import Any


def dict_of(thing: Any) -> Any:
    """Return the attributes that an object keeps in a dict, or None.

    Not `thing.__dict__`: a proxy (`flask.request`) answers for another object then, or raises.
    """
    for kind in type(thing).__mro__:
        own = vars(kind).get("__dict__")
        if isinstance(own, GetSetDescriptorType):
            return own.__get__(thing)
    return None
