"""Expressions of DynamoDB, read: conditions, updates, projections.

Source:
    Amazon DynamoDB Developer Guide, "Condition and filter expressions, operators, and functions",
    "Update expressions", "Projection expressions", "Expression attribute names" and "values".

Not modelled:
    Reserved words: each name may be written as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import attrs

from chaosharness.machines.dynamodb.values import Invalid, Value

TOKEN: Final = re.compile(
    r"\s*(?:(?P<name>[#:]?[A-Za-z_][A-Za-z0-9_]*|[#:][A-Za-z0-9_]+)|(?P<index>\[\s*\d+\s*\])"
    r"|(?P<sign><>|<=|>=|[=<>(),.+\-]))"
)
COMPARE: Final = ("=", "<>", "<", "<=", ">", ">=")
WORDS: Final = ("AND", "OR", "NOT", "BETWEEN", "IN")
CLAUSES: Final = ("SET", "REMOVE", "ADD", "DELETE")
FUNCTIONS: Final = {
    "attribute_exists": 1,
    "attribute_not_exists": 1,
    "attribute_type": 2,
    "begins_with": 2,
    "contains": 2,
    "size": 1,
}

Path = tuple[str | int, ...]
"""A document path: names of attributes, and places in lists."""


@attrs.frozen
class At:
    """What is at a path."""

    path: Path


@attrs.frozen
class Constant:
    """A value that the request brings along."""

    value: Value


@attrs.frozen
class Call:
    """A function of some operands, or an operator: `and`, `or`, `not`, `between`, `in`, `=`."""

    name: str
    operands: tuple[Any, ...]


@attrs.frozen
class Action:
    """One action of an update."""

    clause: str
    path: Path
    operand: Any = None


class Names:
    """The names and values that a request defines for its expressions, and which were used."""

    def __init__(self, names: Mapping[str, str] | None, values: Mapping[str, Value] | None) -> None:
        self.names = dict(names or {})
        self.values = dict(values or {})
        self.used: set[str] = set()

    def check(self) -> None:
        """See that all of them were used.

        Raises:
            Invalid: One was not.
        """
        for kind, defined in (("Names", self.names), ("Values", self.values)):
            left = sorted(defined.keys() - self.used)
            if left:
                raise Invalid(
                    f"Value provided in ExpressionAttribute{kind} unused in expressions: keys: "
                    f"{{{', '.join(left)}}}"
                )


class Reader:
    """Reads one expression."""

    def __init__(self, kind: str, text: str, names: Names) -> None:
        self._kind = kind
        self._names = names
        self._tokens: list[str] = []
        if not text.strip():
            raise Invalid(f"Invalid {kind}: The expression can not be empty;")
        at = 0
        text = text.rstrip()
        while at < len(text):
            found = TOKEN.match(text, at)
            if found is None:
                near = text[at : at + 10].strip()
                raise Invalid(f'Invalid {kind}: Syntax error; token: "{near}", near: "{near}"')
            self._tokens.append(found.group().strip())
            at = found.end()
        self._at = 0

    # ---- tokens

    def _peek(self, ahead: int = 0) -> str:
        at = self._at + ahead
        return self._tokens[at] if at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def _is(self, word: str) -> bool:
        return self._peek().upper() == word

    def _take(self, word: str) -> None:
        if not self._is(word):
            raise self._wrong()
        self._at += 1

    def _wrong(self) -> Invalid:
        token = self._peek() or "<EOF>"
        near = " ".join(self._tokens[max(self._at - 1, 0) : self._at + 2])
        return Invalid(f'Invalid {self._kind}: Syntax error; token: "{token}", near: "{near}"')

    def _end(self) -> None:
        if self._peek():
            raise self._wrong()

    def _closed_at(self, begin: int) -> int:
        """Return where a parenthesis is closed again; -1 where none begins."""
        depth = 0
        for at, token in enumerate(self._tokens[begin:], begin):
            depth += (token == "(") - (token == ")")
            if not depth:
                return at if at > begin else -1
        return -1

    # ---- operands

    def _path(self) -> Path:
        path: list[str | int] = [self._name()]
        while True:
            if self._peek() == ".":
                self._at += 1
                path.append(self._name())
            elif self._peek().startswith("["):
                path.append(int(self._next().strip("[] ")))
            else:
                return tuple(path)

    def _name(self) -> str:
        token = self._peek()
        if not re.match(r"[#A-Za-z_]", token) or token.upper() in WORDS:
            raise self._wrong()
        self._at += 1
        if not token.startswith("#"):
            return token
        if token not in self._names.names:
            raise Invalid(
                f"Invalid {self._kind}: An expression attribute name used in the document path is "
                f"not defined; attribute name: {token}"
            )
        self._names.used.add(token)
        return self._names.names[token]

    def _operand(self) -> Any:
        token = self._peek()
        if token.startswith(":"):
            self._at += 1
            if token not in self._names.values:
                raise Invalid(
                    f"Invalid {self._kind}: An expression attribute value used in expression is "
                    f"not defined; attribute value: {token}"
                )
            self._names.used.add(token)
            return Constant(self._names.values[token])
        if self._peek(1) == "(":
            return self._call()
        return At(self._path())

    def _call(self) -> Call:
        name = self._next()
        self._take("(")
        operands = [self._operand()]
        while self._peek() == ",":
            self._at += 1
            operands.append(self._operand())
        self._take(")")
        return Call(name, tuple(operands))

    # ---- conditions

    def condition(self) -> Any:
        """Return a whole condition.

        Raises:
            Invalid: It is none.
        """
        found = self._either()
        self._end()
        return found

    def _either(self) -> Any:
        found = self._both()
        while self._is("OR"):
            self._at += 1
            found = Call("or", (found, self._both()))
        return found

    def _both(self) -> Any:
        found = self._negated()
        while self._is("AND"):
            self._at += 1
            found = Call("and", (found, self._negated()))
        return found

    def _negated(self) -> Any:
        if self._is("NOT"):
            self._at += 1
            return Call("not", (self._negated(),))
        return self._simple()

    def _simple(self) -> Any:
        if self._peek() == "(":
            self._at += 1
            begin = self._at
            found = self._either()
            if self._peek() == ")" and self._closed_at(begin) == self._at - 1:
                raise Invalid(f"Invalid {self._kind}: The expression has redundant parentheses;")
            self._take(")")
            return found
        operand = self._operand()
        sign = self._peek()
        if sign in COMPARE:
            self._at += 1
            return Call(sign, (operand, self._operand()))
        if self._is("BETWEEN"):
            self._at += 1
            low = self._operand()
            self._take("AND")
            return Call("between", (operand, low, self._operand()))
        if self._is("IN"):
            self._at += 1
            self._take("(")
            among = [self._operand()]
            while self._peek() == ",":
                self._at += 1
                among.append(self._operand())
            self._take(")")
            return Call("in", (operand, *among))
        if not isinstance(operand, Call) or operand.name == "size":
            raise self._wrong()
        return self._checked(operand)

    def _checked(self, call: Call) -> Call:
        takes = FUNCTIONS.get(call.name)
        if takes is None:
            raise Invalid(f"Invalid {self._kind}: Invalid function name; function: {call.name}")
        if len(call.operands) != takes:
            raise Invalid(
                f"Invalid {self._kind}: Incorrect number of operands for operator or function; "
                f"operator or function: {call.name}, number of operands: {len(call.operands)}"
            )
        return call

    # ---- updates and projections

    def update(self) -> list[Action]:
        """Return the actions of an update.

        Raises:
            Invalid: It is none, or two of its paths overlap.
        """
        actions: list[Action] = []
        seen: set[str] = set()
        while self._peek():
            clause = self._next().upper()
            if clause not in CLAUSES:
                self._at -= 1
                raise self._wrong()
            if clause in seen:
                raise Invalid(
                    f'Invalid {self._kind}: The "{clause}" section can only be used once in an '
                    "update expression;"
                )
            seen.add(clause)
            actions.append(self._action(clause))
            while self._peek() == ",":
                self._at += 1
                actions.append(self._action(clause))
        self._check_paths([one.path for one in actions])
        return actions

    def _action(self, clause: str) -> Action:
        path = self._path()
        if clause == "REMOVE":
            return Action(clause, path)
        if clause != "SET":
            return Action(clause, path, self._operand())
        self._take("=")
        operand = self._operand()
        sign = self._peek()
        if sign in ("+", "-"):
            self._at += 1
            operand = Call(sign, (operand, self._operand()))
        return Action(clause, path, operand)

    def _check_paths(self, paths: list[Path]) -> None:
        for nth, one in enumerate(paths):
            for other in paths[:nth]:
                shorter = min(len(one), len(other))
                if one[:shorter] == other[:shorter]:
                    raise Invalid(
                        f"Invalid {self._kind}: Two document paths overlap with each other; must "
                        "remove or rewrite one of these paths; path one: "
                        f"{_spelled(other)}, path two: {_spelled(one)}"
                    )

    def projection(self) -> list[Path]:
        """Return the paths of a projection.

        Raises:
            Invalid: It is none, or two of them overlap.
        """
        paths = [self._path()]
        while self._peek() == ",":
            self._at += 1
            paths.append(self._path())
        self._end()
        self._check_paths(paths)
        return paths


def _spelled(path: Path) -> str:
    return "[" + ", ".join(str(one) if isinstance(one, str) else f"[{one}]" for one in path) + "]"
