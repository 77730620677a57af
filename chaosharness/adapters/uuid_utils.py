"""uuid_utils: it is compiled, and asks the machine itself for the time and for chance.

In a run both are of the run: its functions are written anew on those of Python, which are pinned
(`handlers.pins`). What is made of names (`uuid3`, `uuid5`, `uuid8`) is the library's own.

Source:
    RFC 9562, sections 5.1, 5.4, 5.6 and 5.7; uuid_utils 0.6 to 1.2, `uuid_utils/__init__.pyi`.

Not modelled:
    A counter within a millisecond: two `uuid7` of one moment are in no order. Random nodes.
    What compiled code keeps of its functions; pydantic's models, which do with a `default_factory`,
    are built again. What holds such a model inside (a `TypeAdapter`, a route of FastAPI) is not.
"""

from __future__ import annotations

import gc
import os
import sys
import time  # noqa: TID251  (pinned in a run, as chance is)
import uuid
from collections.abc import Callable
from types import CellType
from typing import Any, Final

import uuid_utils

from chaosharness.adapters.dispatch import Library
from chaosharness.handlers.exchange import by_scope, exchange
from chaosharness.handlers.insides import thawed
from chaosharness.kernel.places import is_installed


def _marked(number: int, version: int) -> int:
    """Return 128 bits with a version, and the variant of RFC 9562."""
    number &= ~(0xF000 << 64 | 0xC000 << 48)
    return number | version << 76 | 0x8000 << 48


def _four(real: Any) -> int:
    return _marked(int.from_bytes(os.urandom(16), "big"), 4)  # noqa: TID251


def _seven(
    real: Any,
    timestamp: int | None = None,
    nanos: int | None = None,
    *,
    nanoseconds: int | None = None,
) -> int:
    ms = time.time_ns() // 1_000_000
    if nanoseconds is not None:
        ms = nanoseconds // 1_000_000
    elif timestamp is not None:
        ms = timestamp * 1_000 + (nanos or 0) // 1_000_000
    return _marked(ms << 80 | int.from_bytes(os.urandom(10), "big"), 7)  # noqa: TID251


def _one(real: Any, node: int | None = None, clock_seq: int | None = None) -> int:
    return uuid.uuid1(node, clock_seq).int  # noqa: TID251


def _six(real: Any, node: int | None = None, clock_seq: int | None = None) -> int:
    one = uuid.uuid1(node, clock_seq)  # noqa: TID251
    rest = one.int & ((1 << 64) - 1)
    return _marked((one.time >> 12) << 80 | (one.time & 0xFFF) << 64 | rest, 6)


def _as_uuid(number: Callable[..., int]) -> Callable[..., Any]:
    return lambda real, *given, **options: uuid_utils.UUID(int=number(real, *given, **options))


_OURS: Final[dict[str, Callable[..., Any]]] = {
    "uuid1": _as_uuid(_one),
    "uuid4": _as_uuid(_four),
    "uuid6": _as_uuid(_six),
    "uuid7": _as_uuid(_seven),
    "_uuid4_int": _four,  # what its `compat` asks for, since 1.2
    "_uuid7_int": _seven,
}


_COMPILED: Final = "uuid_utils._uuid_utils"


def _meet() -> None:
    for name, made in _OURS.items():
        real = getattr(uuid_utils, name, None)
        if real is not None:
            ours = by_scope(real, made)
            exchange(real, ours, spared=(_COMPILED,))
            _exchange_held(real, ours)
            _exchange_in_models(real, ours)


def _exchange_held(real: Any, ours: Any) -> None:
    """Put ours where classes and functions keep the real one: a factory of a default, say."""
    own = {*map(id, ours.__closure__ or ())}
    with thawed():
        places = gc.get_referrers(real)
    for place in places:
        if type(place) is CellType and id(place) not in own:
            place.cell_contents = ours
        elif type(place) is dict and not str(place.get("__name__")).startswith(_COMPILED):
            for name, value in list(place.items()):
                if value is real and name != "__wrapped__":
                    place[name] = ours


def _exchange_in_models(real: Any, ours: Any) -> None:
    """Put ours where models of pydantic make a default by the real one, and build these anew.

    So are the models in which they may be, which are made later.
    """
    base = getattr(sys.modules.get("pydantic"), "BaseModel", None)
    if base is None:
        return
    left, models, found = [base], [], False
    while left:
        kind = left.pop(0)
        left += kind.__subclasses__()
        module = sys.modules.get(kind.__module__)
        if not is_installed(getattr(module, "__file__", None) or "<frozen"):
            models.append(kind)
    for kind in models:
        own = vars(kind)  # before pydantic 2.10 by the second name
        for field in (own.get("__pydantic_fields__") or own.get("model_fields") or {}).values():
            if field.default_factory is real:
                field.default_factory = ours
                found = True
    for kind in models if found else ():
        kind.model_rebuild(force=True, raise_errors=False)


LIBRARY: Final = Library("uuid_utils", tested=">=0.6,<2", warm=_meet)
