"""The list filters of Temporal: `WorkflowType = 'Order' AND ExecutionStatus = 'Running'`.

*Source*: docs.temporal.io, "List Filter"; what is refused, and how, as Temporal Server 1.32.0 with
SQLite says it.
*Not modelled*: `ORDER BY`, which that server refuses as well; LIKE, which no type of it has.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from chaosharness.orchestrators.temporal.refusals import invalid
from chaosharness.orchestrators.temporal.visibility import (
    OWN,
    STATUSES,
    Record,
    milliseconds_of,
)

__all__ = ["Test", "grouped", "test_of"]

Test = Callable[[Record], bool]

_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<text>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.)*")|(?P<number>-?\d+(?:\.\d+)?)
        |(?P<word>`[^`]+`|[A-Za-z_][\w.]*)|(?P<sign><=|>=|!=|<>|=|<|>|\(|\)|,))""",
    re.VERBOSE,
)
_GROUP: Final = re.compile(r"\s*\bGROUP\s+BY\s+(?P<names>.+?)\s*$", re.IGNORECASE | re.DOTALL)
_ORDER: Final = re.compile(r"\bORDER\s+BY\b", re.IGNORECASE)
_COMPARED: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": lambda one, other: one == other,
    "!=": lambda one, other: one != other,
    "<>": lambda one, other: one != other,
    "<": lambda one, other: one < other,
    ">": lambda one, other: one > other,
    "<=": lambda one, other: one <= other,
    ">=": lambda one, other: one >= other,
}
_BY_STATUS: Final = tuple(STATUSES.values())
DEPTH_MAX: Final = 50


def grouped(query: str) -> tuple[str, bool]:
    """Return the filter without its GROUP BY, and whether it has one.

    Raises:
        Refused: It groups by something else than ExecutionStatus.
    """
    found = _GROUP.search(query)
    if found is None:
        return query, False
    names = [one.strip(" `") for one in found["names"].split(",")]
    prefix = "invalid query: operation is not supported: 'GROUP BY' clause "
    if len(names) > 1:
        raise invalid(f"{prefix}supports only a single field")
    if names != ["ExecutionStatus"]:
        raise invalid(f"{prefix}is not supported for search attribute {names[0]}")
    return query[: found.start()], True


def test_of(query: str, known: Mapping[str, str]) -> Test:
    """Return whether a record is one of those that a filter means.

    Args:
        query: The filter, as users write it; empty: all.
        known: The types of custom search attributes, by name.

    Raises:
        Refused: It is no filter, names what there is not, or compares what cannot be.
    """
    if _ORDER.search(query):
        raise invalid("invalid query: operation is not supported: 'ORDER BY' clause")
    tokens = _tokens(query)
    if not tokens:
        return lambda record: True
    parser = _Parser(tokens, {**OWN, **known}, query)
    test = parser.any_of()
    parser.end()
    return test


def _tokens(query: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at = 0
    rest = query.rstrip()
    while at < len(rest):
        token = _TOKEN.match(rest, at)
        if token is None:
            raise _malformed(rest, at)
        kind = token.lastgroup or ""
        found.append((kind, token[kind]))
        at = token.end()
    return found


def _malformed(query: str, at: int) -> Exception:
    near = query[at:].split(maxsplit=1)
    words = f"syntax error near {near[0]!r}" if near else "syntax error at its end"
    return invalid(f"invalid query: malformed SQL query: {words}")


class _Parser:
    """Reads one filter, once, from its first token to its last."""

    def __init__(self, tokens: list[tuple[str, str]], types: Mapping[str, str], query: str) -> None:
        self.tokens = tokens
        self.types = types
        self.query = query
        self.at = 0
        self.depth = 0

    # ---- tokens

    def _word(self) -> str:
        kind, text = self.tokens[self.at] if self.at < len(self.tokens) else ("", "")
        return text.upper() if kind in ("word", "sign") else ""

    def _took(self, word: str) -> bool:
        if self._word() == word:
            self.at += 1
            return True
        return False

    def _take(self) -> tuple[str, str]:
        if self.at == len(self.tokens):
            raise _malformed(self.query, len(self.query))
        self.at += 1
        return self.tokens[self.at - 1]

    def _must(self, word: str) -> None:
        if not self._took(word):
            raise self._wrong()

    def _wrong(self) -> Exception:
        if self.at == len(self.tokens):
            return _malformed(self.query, len(self.query))
        words = f"syntax error near {self.tokens[self.at][1]!r}"
        return invalid(f"invalid query: malformed SQL query: {words}")

    def end(self) -> None:
        """Refuse what is left over."""
        if self.at != len(self.tokens):
            raise self._wrong()

    # ---- expressions

    def any_of(self) -> Test:
        """One or more, any of which is true."""
        found = [self._all_of()]
        while self._took("OR"):
            found.append(self._all_of())
        return lambda record: any(test(record) for test in found)

    def _all_of(self) -> Test:
        found = [self._one()]
        while self._took("AND"):
            found.append(self._one())
        return lambda record: all(test(record) for test in found)

    def _one(self) -> Test:
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise invalid(f"invalid query: more than {DEPTH_MAX} parentheses or NOT")
        if self._took("NOT"):
            inner = self._one()
            return lambda record: not inner(record)
        if self._took("("):
            inner = self.any_of()
            self._must(")")
            return inner
        return self._comparison()

    def _comparison(self) -> Test:
        kind, text = self._take()
        name = text.strip("`")
        if kind != "word":
            self.at -= 1
            raise self._wrong()
        if self.at == len(self.tokens):
            raise invalid("invalid query: invalid expression: incomplete expression")
        if name not in self.types:
            raise invalid(f"invalid query: invalid search attribute: {name}")
        negated = False
        if self._took("IS"):
            negated = self._took("NOT")
            self._must("NULL")
            return lambda record: (record.values.get(name) is None) is not negated
        negated = self._took("NOT")
        if self._took("IN"):
            return _but(negated, name, self._in(name))
        if self._took("BETWEEN"):
            low = self._value(name)
            self._must("AND")
            high = self._value(name)
            return _but(negated, name, lambda value: low <= value <= high)
        if self._took("STARTS_WITH"):
            beginning = str(self._value(name))
            return _but(negated, name, lambda value: str(value).startswith(beginning))
        sign = self._word()
        if negated or sign not in _COMPARED:
            raise self._unsupported(name)
        self.at += 1
        return self._compared(name, sign, self._value(name))

    def _in(self, name: str) -> Callable[[Any], bool]:
        self._must("(")
        wanted = [self._value(name)]
        while self._took(","):
            wanted.append(self._value(name))
        self._must(")")
        return lambda value: any(
            one in value if isinstance(value, list) else one == value for one in wanted
        )

    def _compared(self, name: str, sign: str, wanted: Any) -> Test:
        compare = _COMPARED[sign]
        if self.types[name] in ("KeywordList", "Text"):
            if sign not in ("=", "!=", "<>"):
                raise self._unsupported(name, sign)
            return _but(sign != "=", name, lambda value: _holds(value, wanted))
        return _but(False, name, lambda value: compare(value, wanted))

    def _unsupported(self, name: str, sign: str = "") -> Exception:
        sign = sign or self.tokens[self.at][1]
        return invalid(
            f"invalid query: operation is not supported: operator '{sign.upper()}' not supported "
            f"for {self.types[name].replace('Status', 'Keyword')} type search attribute '{name}'"
        )

    def _value(self, name: str) -> Any:
        kind, text = self._take()
        if kind == "text":
            return self._of_text(name, re.sub(r"\\(.)", r"\1", text[1:-1]).replace("''", "'"))
        if kind == "number":
            return self._of_number(name, float(text) if "." in text else int(text))
        if text.lower() in ("true", "false") and self.types[name] == "Bool":
            return text.lower() == "true"
        self.at -= 1
        raise self._wrong()

    def _of_text(self, name: str, text: str) -> Any:
        wanted = self.types[name]
        if wanted == "Status":
            if text not in _BY_STATUS:
                words = f"invalid ExecutionStatus value '{text}'"
                raise invalid(f"invalid query: invalid expression: {words}")
        elif wanted == "Datetime":
            try:
                return milliseconds_of(text)
            except ValueError:
                words = f"unable to parse datetime '{text}'"
                raise invalid(f"invalid query: invalid expression: {words}") from None
        elif wanted not in ("Keyword", "Text", "KeywordList"):
            raise self._mistyped(name, f'"{text}" (type: string)')
        return text

    def _of_number(self, name: str, number: float) -> Any:
        wanted = self.types[name]
        if wanted == "Status":
            if number not in range(1, len(_BY_STATUS) + 1):
                raise invalid(
                    f"invalid query: invalid expression: invalid ExecutionStatus value '{number}'"
                )
            return _BY_STATUS[int(number) - 1]
        if wanted not in ("Int", "Double"):
            raise self._mistyped(name, f"{number} (type: number)")
        return number

    def _mistyped(self, name: str, told: str) -> Exception:
        return invalid(
            "invalid query: invalid expression: invalid value type for search attribute "
            f"{name} of type {self.types[name]}: {told}"
        )


def _but(negated: bool, name: str, holds: Callable[[Any], bool]) -> Test:
    """A test of one attribute: what has none is not meant, whatever is asked."""

    def test(record: Record) -> bool:
        value = record.values.get(name)
        return value is not None and holds(value) is not negated

    return test


def _holds(value: Any, wanted: str) -> bool:
    if isinstance(value, list):
        return wanted in value
    return wanted == value or wanted in str(value).split()
