"""What can be kept as an XCom.

*Source*: apache-airflow-task-sdk 1.3.2, `serde` (`serialize`): plain values, collections of them,
dataclasses, attrs and pydantic classes, classes with `serialize`, and what libraries have a
serializer for. All else is `cannot serialize object of type ...`, and its task fails.
*Not modelled*: which classes of which libraries have a serializer: those of any are let through.
"""

import dataclasses
import sys
from typing import Any, Final

import attrs

__all__ = ["strange_in"]

PLAIN: Final = (type(None), bool, int, float, str)
NAMES_OF_FUNCTIONS: Final = frozenset(
    {"function", "method", "generator", "coroutine", "module", "builtin_function_or_method"}
)


def strange_in(value: Any) -> type | None:
    """Return the class of what cannot be kept, in a value; None if all of it can."""
    if isinstance(value, PLAIN):
        return None
    if isinstance(value, dict):
        parts = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | set | frozenset):
        parts = [*value]
    else:
        return None if _is_known(value) else type(value)
    return next((found for one in parts if (found := strange_in(one)) is not None), None)


def _is_known(value: Any) -> bool:
    cls = type(value)
    if cls.__name__ in NAMES_OF_FUNCTIONS or cls is object or cls.__module__ == "_thread":
        return False
    described = dataclasses.is_dataclass(cls) or attrs.has(cls) or hasattr(cls, "model_dump")
    return described or hasattr(cls, "serialize") or not _is_of_the_user(cls)


def _is_of_the_user(cls: type) -> bool:
    """Say whether a class is from no installed library: no serializer can know it."""
    root = cls.__module__.partition(".")[0]
    if root in sys.stdlib_module_names:
        return root in ("__main__", "builtins") and cls.__module__ == "__main__"
    file = getattr(sys.modules.get(root), "__file__", None) or ""
    return "site-packages" not in file and "dist-packages" not in file
