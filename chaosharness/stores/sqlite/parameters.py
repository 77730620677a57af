"""What the history shows of the parameters of a statement."""

from __future__ import annotations

from typing import Any, Final

from chaosharness.kernel.history import plain

TEXT_MAX: Final = 80
ROWS_MAX: Final = 5
_SHORT: Final = frozenset({int, float, bool, type(None)})
_PLAIN: Final = frozenset({*_SHORT, str})


def shown(parameters: Any) -> Any:
    """Return the parameters of a statement for the history: plain, long texts cut."""
    if type(parameters) is tuple:
        if _PLAIN.issuperset(map(type, parameters)) and len(str(parameters)) <= TEXT_MAX:
            return parameters  # as nearly all are
        for value in parameters:
            if value.__class__ is str:
                if len(value) > TEXT_MAX:
                    break
            elif value.__class__ not in _SHORT:
                break
        else:
            return parameters
        return [one if one.__class__ in _SHORT else _cut(one) for one in parameters]
    if type(parameters) is list and parameters and not isinstance(parameters[0], str | bytes | int):
        rest = len(parameters) - ROWS_MAX  # many rows of one statement
        return [*map(_cut, parameters[:ROWS_MAX]), *([f"and {rest} more"] if rest > 0 else [])]
    return _cut(parameters)


def _cut(value: Any) -> Any:
    if value.__class__ is str or value.__class__ is bytes:
        if len(value) <= TEXT_MAX:
            return plain(value)
        return f"{plain(value[:TEXT_MAX])}…"
    match value:
        case str() | bytes() if len(value) > TEXT_MAX:
            return f"{plain(value[:TEXT_MAX])}…"
        case list() | tuple():
            return [_cut(one) for one in value]
        case dict():
            return {str(name): _cut(one) for name, one in value.items()}
    return plain(value)
