"""`${...}` in a definition: what a task's input is made of.

A text that is one expression and nothing else becomes its value, of whatever type; inside of a
longer text the value is spelled out. What cannot be read is null, and never an error.

*Source*: conductor-oss/conductor, `core/utils/ParametersUtils.java`; Jayway JsonPath.
*Not modelled*: of JsonPath, filters and functions; secrets; variables of the environment other
than CPEWF_TASK_ID.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["fill", "read", "roots"]

_EXPRESSION: Final = re.compile(r"\$\{([^{}]*)\}")
_PART: Final = re.compile(r"\.?([^.\[\]]+)|\[(?:'([^']*)'|\"([^\"]*)\"|(\*|-?\d+))\]")
TASK_ID: Final = "CPEWF_TASK_ID"


def fill(value: Any, context: Mapping[str, Any], task_id: str | None = None) -> Any:
    """Return a value with its expressions replaced by what they read.

    Args:
        value: Of a definition: texts, numbers, lists, mappings.
        context: What there is to read: `workflow`, and tasks by their reference names.
        task_id: What `CPEWF_TASK_ID` stands for.
    """
    if isinstance(value, str):
        return _fill_text(value, context, task_id)
    if isinstance(value, Mapping):
        return {key: fill(one, context, task_id) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [fill(one, context, task_id) for one in value]
    return value


def _fill_text(text: str, context: Mapping[str, Any], task_id: str | None) -> Any:
    whole = _EXPRESSION.fullmatch(text)
    if whole is not None:
        return _value(whole[1], context, task_id)
    while True:  # the inner one first: ${workflow.input.${name.output.field}}
        filled = _EXPRESSION.sub(lambda found: _spelled(_value(found[1], context, task_id)), text)
        if filled == text:
            return text
        if (whole := _EXPRESSION.fullmatch(filled)) is not None:
            return _spelled(_value(whole[1], context, task_id))
        text = filled


def _value(path: str, context: Mapping[str, Any], task_id: str | None) -> Any:
    path = path.strip()
    if not path:
        return ""
    if path == TASK_ID:
        return task_id
    return read(path, context)


def _spelled(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):  # as Java spells a map
        return "{" + ", ".join(f"{key}={_spelled(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_spelled, value)) + "]"
    return str(value)


def read(path: str, context: Any) -> Any:
    """Return what a path reads, or None."""
    path = path.removeprefix("$.").removeprefix("$")
    at = 0
    found = [context]
    many = False
    while at < len(path):
        part = _PART.match(path, at)
        if part is None:
            return None
        at = part.end()
        key = next(one for one in part.groups() if one is not None)
        if key == "*":
            many = True
        found = [inner for one in found for inner in _inside(one, key)]
        if not found and not many:
            return None
    return found if many else found[0]


def _inside(holder: Any, key: str) -> list[Any]:
    if key == "*":
        if isinstance(holder, Mapping):
            return list(holder.values())
        return list(holder) if isinstance(holder, list | tuple) else []
    if isinstance(holder, Mapping):
        return [holder[key]] if key in holder else []
    if isinstance(holder, list | tuple):
        if key == "length()":
            return [len(holder)]
        try:
            return [holder[int(key)]]
        except (ValueError, IndexError):
            return []
    return []


def roots(value: Any) -> Iterator[tuple[str, str]]:
    """Yield what the expressions of a value read first, `charge` of `${charge.output.id}`."""
    if isinstance(value, str):
        for found in _EXPRESSION.finditer(value):
            root = re.match(r"\s*(?:\$\.)?([^.\[\]\s]+)", found[1])
            if root is not None:
                yield root[1], found[0]
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from roots(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from roots(one)
