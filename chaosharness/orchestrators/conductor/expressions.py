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
    if "${" not in text:
        return text
    found = ""
    for literal, path in _pieces(text):
        found += literal
        if path is None:
            continue
        if "${" in path:  # one inside of another: ${workflow.input.${name.output.field}}
            path = _spelled(_fill_text(path, context, task_id))
        value = _value(path, context, task_id)
        if not literal and len(_whole(text)) == len(text):
            return value
        found += _spelled(value)
    return found.replace("$${", "${")


def _whole(text: str) -> str:
    """The expression that a text begins with, if it begins with one."""
    end = _end_of(text, 0) if text.startswith("${") else 0
    return text[:end]


def _pieces(text: str) -> Iterator[tuple[str, str | None]]:
    """Yield what stands before each expression, and the expression; last, what is left."""
    at = begin = 0
    while (begin := text.find("${", begin)) >= 0:
        end = _end_of(text, begin)
        if not end or text[begin - 1 : begin] == "$":  # never closed, or escaped: $${
            begin += 2
            continue
        yield text[at:begin], text[begin + 2 : end - 1]
        at = begin = end
    yield text[at:], None


def _end_of(text: str, begin: int) -> int:
    """Where the expression that begins here has ended; 0 if it never does."""
    depth, at = 0, begin
    while at < len(text):
        if text.startswith("${", at):
            depth, at = depth + 1, at + 1
        elif text[at] == "}":
            depth -= 1
            if depth == 0:
                return at + 1
        at += 1
    return 0


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
        for _, path in _pieces(value):
            root = re.match(r"\s*(?:\$\.)?([^.\[\]\s${}]+)", path or "")
            if root is not None:
                yield root[1], f"${{{path}}}"
            if path and "${" in path:
                yield from roots(path)
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from roots(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from roots(one)
