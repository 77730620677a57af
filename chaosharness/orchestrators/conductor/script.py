"""The JavaScript that stands in definitions: conditions of loops, cases, small computations.

A part of the language that is large enough for what workflows say: `$` and its fields, literals,
objects, operators, `?:`, `if`, `return`, `var`, and a function around it that is called at once.
Whatever else a definition says is refused when it is read, with what was not understood.

*Source*: ECMAScript; conductor-oss/conductor, `core/events/ScriptEvaluator.java` (GraalJS).
*Not modelled*: loops, functions that are called, regular expressions, dates.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

__all__ = ["BadScript", "Script", "compile_script"]

Script = Callable[[Any], Any]
"""Computes a value of what is `$` in it."""

Scope = dict[str, Any]
Node = Callable[[Scope], Any]

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<name>[A-Za-z_$][\w$]*)"
    r"|(?P<text>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
    r"|(?P<mark>===|!==|==|!=|<=|>=|&&|\|\||[-+*/%<>!?:;(){}\[\].,=]))"
)
_COMMENT: Final = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_WRAPPED: Final = re.compile(
    r"^\s*\(?\s*function\s*\w*\s*\(\s*\)\s*\{(?P<body>.*)\}\s*\)?\s*(?:\w+\s*)?\(\s*\)\s*\)?\s*;?\s*$",
    re.DOTALL,
)
_LEVELS: Final = (
    ("||",),
    ("&&",),
    ("===", "!==", "==", "!="),
    ("<", ">", "<=", ">="),
    ("+", "-"),
    ("*", "/", "%"),
)
_WORDS: Final[Mapping[str, Any]] = {"true": True, "false": False, "null": None, "undefined": None}


class BadScript(Exception):
    """What of a script is not understood."""


class _Returned(Exception):
    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self.value = value


def compile_script(text: str) -> Script:
    """Return what a script computes.

    Raises:
        BadScript: It says something that is not understood.
    """
    body = _COMMENT.sub("", text)
    if wrapped := _WRAPPED.match(body):
        body = wrapped["body"]
    program = _Parser(list(_tokens(body))).program()

    def run(root: Any) -> Any:
        value = None
        try:
            scope = {"$": root}
            for statement in program:
                value = statement(scope)
        except _Returned as returned:
            return returned.value
        return value

    return run


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    text = text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise BadScript(f"{text[at : at + 20].strip()!r}")
        at = found.end()
        kind = found.lastgroup or ""
        yield kind, found[kind]
    yield "end", ""


class _Parser:
    """Reads tokens, and returns what computes them."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self.tokens = tokens
        self.at = 0

    @property
    def next(self) -> str:
        kind, word = self.tokens[self.at]
        return word if kind in ("mark", "name") else f"{kind} "

    def take(self, *words: str) -> bool:
        if self.next in words:
            self.at += 1
            return True
        return False

    def want(self, word: str) -> None:
        if not self.take(word):
            raise BadScript(f"{self.tokens[self.at][1] or 'its end'!r}, where {word!r} should be")

    def program(self) -> list[Node]:
        found: list[Node] = []
        while self.next != "end ":
            found.append(self.statement())
        return found

    def block(self) -> Node:
        if not self.take("{"):
            return self.statement()
        inside: list[Node] = []
        while not self.take("}"):
            inside.append(self.statement())
        return _sequence(inside)

    def statement(self) -> Node:
        while self.take(";"):
            pass
        if self.next in ("end ", "}"):
            return lambda scope: None
        if self.take("if"):
            return self.branch()
        if self.take("return"):
            value = self.expression() if self.next not in (";", "}", "end ") else _constant(None)
            self.take(";")
            return _return(value)
        if self.take("var", "let", "const"):
            name = self.tokens[self.at][1]
            self.at += 1
            self.want("=")
            return self.assignment(name)
        kind, word = self.tokens[self.at]
        if kind == "name" and self.tokens[self.at + 1] == ("mark", "="):
            self.at += 2
            return self.assignment(word)
        value = self.expression()
        self.take(";")
        return value

    def assignment(self, name: str) -> Node:
        value = self.expression()
        self.take(";")

        def assign(scope: Scope) -> None:
            scope[name] = value(scope)

        return assign

    def branch(self) -> Node:
        self.want("(")
        condition = self.expression()
        self.want(")")
        then = self.block()
        while self.take(";"):
            pass
        other = self.block() if self.take("else") else _constant(None)
        return lambda scope: then(scope) if _true(condition(scope)) else other(scope)

    def expression(self) -> Node:
        condition = self.binary(0)
        if not self.take("?"):
            return condition
        then = self.expression()
        self.want(":")
        other = self.expression()
        return lambda scope: then(scope) if _true(condition(scope)) else other(scope)

    def binary(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self.unary()
        left = self.binary(level + 1)
        while self.next in _LEVELS[level]:
            operator = self.next
            self.at += 1
            left = _operation(operator, left, self.binary(level + 1))
        return left

    def unary(self) -> Node:
        if self.take("!"):
            inner = self.unary()
            return lambda scope: not _true(inner(scope))
        if self.take("-"):
            inner = self.unary()
            return lambda scope: -_number(inner(scope))
        return self.member(self.primary())

    def primary(self) -> Node:
        kind, word = self.tokens[self.at]
        self.at += 1
        match kind:
            case "number":
                return _constant(float(word) if "." in word else int(word))
            case "text":
                return _constant(re.sub(r"\\(.)", r"\1", word[1:-1]))
            case "name" if word in _WORDS:
                return _constant(_WORDS[word])
            case "name" if word != "function":
                return lambda scope: scope.get(word)
            case "mark" if word == "{":
                return self.entries()
            case "mark" if word == "[":
                return self.items()
            case "mark" if word == "(":
                inner = self.expression()
                self.want(")")
                return inner
        raise BadScript(f"{word or 'its end'!r}")

    def entries(self) -> Node:
        """An object: `{ a: 1, 'b': $.b }`."""
        found: list[tuple[str, Node]] = []
        while not self.take("}"):
            kind, word = self.tokens[self.at]
            if kind not in ("name", "text"):
                raise BadScript(f"{word or 'its end'!r}, where the name of a field should be")
            self.at += 1
            self.want(":")
            name = word[1:-1] if kind == "text" else word
            found.append((name, self.expression()))
            if self.next != "}":
                self.want(",")
        return lambda scope: {name: value(scope) for name, value in found}

    def items(self) -> Node:
        """An array: `[1, $.b]`."""
        found: list[Node] = []
        while not self.take("]"):
            found.append(self.expression())
            if self.next != "]":
                self.want(",")
        return lambda scope: [value(scope) for value in found]

    def member(self, value: Node) -> Node:
        while True:
            if self.take("."):
                name = self.tokens[self.at][1]
                self.at += 1
                if self.next == "(":
                    value = self.call(value, name)
                    continue
                value = _field(value, _constant(name))
            elif self.take("["):
                value = _field(value, self.expression())
                self.want("]")
            elif self.next == "(":
                raise BadScript("a function that is called")
            else:
                return value

    def call(self, value: Node, name: str) -> Node:
        if name not in ("includes", "toString"):
            raise BadScript(f"a call of {name!r}")
        self.want("(")
        given = _constant(None) if self.next == ")" else self.expression()
        self.want(")")
        if name == "toString":
            return lambda scope: _text(value(scope))
        return lambda scope: given(scope) in (value(scope) or ())


def _constant(value: Any) -> Node:
    return lambda scope: value


def _sequence(inside: list[Node]) -> Node:
    def run(scope: Scope) -> Any:
        value = None
        for one in inside:
            value = one(scope)
        return value

    return run


def _return(value: Node) -> Node:
    def leave(scope: Scope) -> Any:
        raise _Returned(value(scope))

    return leave


def _field(value: Node, key: Node) -> Node:
    def read(scope: Scope) -> Any:
        holder, name = value(scope), key(scope)
        if name == "length" and isinstance(holder, str | list | tuple):
            return len(holder)
        if isinstance(holder, Mapping):
            return holder.get(name, holder.get(str(name)))
        if isinstance(holder, list | tuple | str) and isinstance(name, int):
            return holder[name] if 0 <= name < len(holder) else None
        if holder is None:
            raise TypeError(f"Cannot read property '{name}' of undefined")
        return None

    return read


def _operation(operator: str, left: Node, right: Node) -> Node:
    if operator == "||":
        return lambda scope: one if _true(one := left(scope)) else right(scope)
    if operator == "&&":
        return lambda scope: right(scope) if _true(one := left(scope)) else one
    apply = _OPERATORS[operator]
    return lambda scope: apply(left(scope), right(scope))


def _true(value: Any) -> bool:
    return not (value is None or value is False or value == 0 or value == "") or (
        isinstance(value, list | dict)
    )


def _number(value: Any) -> Any:
    if value is None:
        return float("nan")
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        try:
            return float(value) if value.strip() else 0
        except ValueError:
            return float("nan")
    return value


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _same(left: Any, right: Any) -> bool:
    """`==`, as it is between values of JSON: a text and a number are compared as numbers."""
    if isinstance(left, str) != isinstance(right, str) and None not in (left, right):
        return bool(_number(left) == _number(right))
    return bool(left == right)


def _strictly(left: Any, right: Any) -> bool:
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def _less(left: Any, right: Any) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        return left < right
    return bool(_number(left) < _number(right))


def _plus(left: Any, right: Any) -> Any:
    if isinstance(left, str) or isinstance(right, str):
        return _text(left) + _text(right)
    return _number(left) + _number(right)


def _over(left: Any, right: Any) -> Any:
    if _number(right) == 0:
        return float("nan") if _number(left) == 0 else float("inf")
    found = _number(left) / _number(right)
    return int(found) if found == int(found) else found


_OPERATORS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "===": _strictly,
    "!==": lambda left, right: not _strictly(left, right),
    "==": _same,
    "!=": lambda left, right: not _same(left, right),
    "<": _less,
    ">": lambda left, right: _less(right, left),
    "<=": lambda left, right: _less(left, right) or _same(left, right),
    ">=": lambda left, right: _less(right, left) or _same(left, right),
    "+": _plus,
    "-": lambda left, right: _number(left) - _number(right),
    "*": lambda left, right: _number(left) * _number(right),
    "/": _over,
    "%": lambda left, right: _number(left) % _number(right),
}
