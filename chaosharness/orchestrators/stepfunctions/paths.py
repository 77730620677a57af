"""JSONPath as Step Functions reads it: `$.a[0]`, `$$` for the context, `$name` for a variable.

A *definite* path (names and single indexes only) denotes one value and is an error where there is
none; any other path gives a list, which may be empty.

*Source*: Amazon States Language, "Paths" and "Reference Paths"; answers recorded from AWS.
*Not modelled*: functions inside paths, and filters that compare two paths.
"""

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

__all__ = ["NoSuchPath", "Path", "Scope", "compile_path"]


class NoSuchPath(Exception):
    """A definite path denotes nothing: the text is the path as Jayway's library prints it."""


class BadPath(Exception):
    """The text is no path."""


@attrs.frozen
class Scope:
    """What a path may start from: the data, the context object, the variables."""

    data: Any
    context: Mapping[str, Any]
    variables: Mapping[str, Any]


@attrs.frozen
class Name:
    """`.name` or `['name']`."""

    name: str


@attrs.frozen
class Index:
    """`[n]`, from the end where negative."""

    index: int


@attrs.frozen
class Slice:
    """`[from:to:step]`."""

    span: slice


@attrs.frozen
class Union:
    """`[0,2]` or `['a','b']`."""

    parts: tuple[Name | Index, ...]


@attrs.frozen
class Every:
    """`*`."""


@attrs.frozen
class Below:
    """`..`: this value and all below it."""


@attrs.frozen
class Filter:
    """`[?(...)]`: those elements for which `keep` is true."""

    text: str
    keep: Callable[[Any], bool]


Step = Name | Index | Slice | Union | Every | Below | Filter


@attrs.frozen
class Path:
    """A path that was read: where it starts and its steps."""

    text: str
    root: str  # "$" the data, "$$" the context, else the name of a variable
    steps: tuple[Step, ...]

    @property
    def definite(self) -> bool:
        return all(isinstance(step, Name | Index) for step in self.steps)

    def start(self, scope: Scope) -> Any:
        if self.root == "$":
            return scope.data
        if self.root == "$$":
            return scope.context
        if self.root not in scope.variables:
            raise NoSuchPath(f"${self.root}")
        return scope.variables[self.root]

    def read(self, scope: Scope) -> Any:
        """The value, or the list of values; raises NoSuchPath where a definite path has none."""
        found = [self.start(scope)]
        for step in self.steps:
            found = [value for each in found for value in _after(each, step)]
            if not found and self.definite:
                raise NoSuchPath(self.brackets())
        return found[0] if self.definite else found

    def brackets(self) -> str:
        """The path as Jayway's library prints it: `$['a'][0]`."""
        root = self.root if self.root.startswith("$") else f"${self.root}"
        return root + "".join(_bracket(step) for step in self.steps)


def _bracket(step: Step) -> str:
    match step:
        case Name(name):
            return f"['{name}']"
        case Index(index):
            return f"[{index}]"
        case Filter(text):
            return f"[{text}]"
        case Every():
            return "[*]"
        case Below():
            return ".."
    return f"[{step}]"


def _after(value: Any, step: Step) -> Iterator[Any]:
    match step:
        case Name(name):
            if isinstance(value, Mapping) and name in value:
                yield value[name]
        case Index(index):
            if isinstance(value, list) and -len(value) <= index < len(value):
                yield value[index]
        case Slice(span):
            if isinstance(value, list):
                yield from value[span]
        case Union(parts):
            for part in parts:
                yield from _after(value, part)
        case Every():
            yield from _children(value)
        case Below():
            yield from _all_below(value)
        case Filter(_, keep):
            yield from (each for each in _filtered(value) if keep(each))


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _filtered(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value
    elif isinstance(value, Mapping):
        yield value


def _all_below(value: Any) -> Iterator[Any]:
    yield value
    for child in _children(value):
        yield from _all_below(child)


_NAME = re.compile(r"[^.\[\]()*$@,?'\"\s]+")
_ROOT = re.compile(r"\$\$|\$[A-Za-z_]\w*|\$")


@functools.lru_cache(maxsize=4096)
def compile_path(text: str) -> Path:
    """Read a path; raises BadPath with the reason where it is none."""
    if not (root := _ROOT.match(text)):
        raise BadPath(f"{text!r} does not start with $")
    start = root.group()
    name = start if start in ("$", "$$") else start[1:]
    steps: list[Step] = []
    at = root.end()
    while at < len(text):
        at = _read_step(text, at, steps)
    return Path(text, name, tuple(steps))


def _read_step(text: str, at: int, steps: list[Step]) -> int:
    if text.startswith("..", at):
        steps.append(Below())
        return at + 1 if at + 2 < len(text) and text[at + 2] != "[" else at + 2
    if text[at] == "[":
        return _read_bracket(text, at, steps)
    if text[at] == ".":
        at += 1
        if at < len(text) and text[at] == "[":  # `$.[0]` is read as `$[0]`
            return at
        if at < len(text) and text[at] == "*":
            steps.append(Every())
            return at + 1
        if word := _NAME.match(text, at):
            steps.append(Name(word.group()))
            return word.end()
    raise BadPath(f"{text!r} cannot be read from {text[at:]!r} on")


def _read_bracket(text: str, at: int, steps: list[Step]) -> int:
    end = _closing(text, at)
    inner = text[at + 1 : end].strip()
    if inner == "*":
        steps.append(Every())
    elif inner.startswith("?"):
        steps.append(Filter(inner, _condition(inner[1:].strip(), text)))
    elif re.fullmatch(r"-?\d*\s*:\s*-?\d*(\s*:\s*-?\d*)?", inner):
        bounds = [int(part) if part.strip() else None for part in inner.split(":")]
        steps.append(Slice(slice(*bounds)))
    else:
        parts = tuple(_part(part.strip(), text) for part in _split(inner))
        steps.append(parts[0] if len(parts) == 1 else Union(parts))
    return end + 1


def _closing(text: str, at: int) -> int:
    quote, depth, position = "", 0, at
    while position < len(text):
        letter = text[position]
        if quote:
            position += letter == "\\"
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        else:
            depth += (letter == "[") - (letter == "]")
            if depth == 0:
                return position
        position += 1
    raise BadPath(f"{text!r} has a [ without its ]")


def _split(inner: str) -> list[str]:
    return re.findall(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^,\s]+""", inner) or [""]


def _part(part: str, text: str) -> Name | Index:
    if re.fullmatch(r"-?\d+", part):
        return Index(int(part))
    if len(part) > 1 and part[0] in "'\"" and part[-1] == part[0]:
        return Name(part[1:-1].replace(f"\\{part[0]}", part[0]))
    raise BadPath(f"{text!r}: [{part}] is neither a number nor a quoted name")


_COMPARISON = re.compile(r"@(?P<path>[^\s=!<>]*)\s*(?P<sign>==|!=|<=|>=|<|>)\s*(?P<value>.+)")
_SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: bool(a == b),
    "!=": lambda a, b: bool(a != b),
    "<": lambda a, b: bool(a < b),
    "<=": lambda a, b: bool(a <= b),
    ">": lambda a, b: bool(a > b),
    ">=": lambda a, b: bool(a >= b),
}


def _condition(inner: str, text: str) -> Callable[[Any], bool]:
    inner = inner[1:-1].strip() if inner.startswith("(") and inner.endswith(")") else inner
    for word, combine in (("||", any), ("&&", all)):
        if word in inner:
            tests = [_condition(part.strip(), text) for part in inner.split(word)]
            return lambda value, tests=tests, combine=combine: combine(  # type: ignore[misc]
                test(value) for test in tests
            )
    if compared := _COMPARISON.fullmatch(inner):
        path = compile_path("$" + compared["path"])
        compare, wanted = _SIGNS[compared["sign"]], _literal(compared["value"].strip(), text)
        return lambda value: _holds(path, value, compare, wanted)
    if inner.startswith("@"):
        path = compile_path("$" + inner[1:])
        return lambda value: _present(path, value)
    raise BadPath(f"{text!r}: the filter {inner!r} cannot be read")


def _literal(text: str, path: str) -> Any:
    if text.startswith("'") and text.endswith("'"):
        return text[1:-1]
    try:
        return json.loads(text)
    except ValueError:
        raise BadPath(f"{path!r}: {text!r} is no literal") from None


def _present(path: Path, value: Any) -> bool:
    try:
        path.read(Scope(value, {}, {}))
    except NoSuchPath:
        return False
    return True


def _holds(path: Path, value: Any, compare: Callable[[Any, Any], bool], wanted: Any) -> bool:
    try:
        return compare(path.read(Scope(value, {}, {})), wanted)
    except (NoSuchPath, TypeError):
        return False
