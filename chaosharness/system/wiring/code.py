"""What a function does to its ports, read from its source: nothing is called.

Names are looked up where Python would: parameters, closures, attributes of the objects that a
service was built with, modules. What is followed is the user's own code, from call to call.

*Not modelled*: values that only a run knows (rows, payloads, what a call returned): a topic that
comes from there is read as unknown, and said so. Both sides of an `if` are read, unless what
surrounds the function decides it.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final

from chaosharness.handlers.own_code import is_own
from chaosharness.orchestrators.saga.orchestrator import Orchestrator
from chaosharness.system.wires import Deed, Port

DEPTH_MAX: Final = 16
"""Calls in a row that are followed."""

VALUES_MAX: Final = 64
"""Values that one expression may have, of those that the code names."""

Values = list[Any]
Names = dict[str, Values]
Body = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

_PLAIN: Final = (bool, int, str, type(None), list, tuple, set, frozenset, dict)

_GIVEN: Final = {"publisher": "publisher", "consumer": "consumer", "client": "client"}


class Reader:
    """Reads functions.

    Args:
        known: What an object is, where it leads out of a service.

    Attributes:
        deeds: What was read so far, in the order in which it stands there.
        heard: Consumers that were used, as objects.
    """

    def __init__(self, known: Callable[[Any], Port | None]) -> None:
        self.known = known
        self.deeds: dict[Deed, None] = {}
        self.heard: list[Any] = []
        self._seen: set[Any] = set()

    def read(self, function: Any, given: Sequence[Values] = (), depth: int = 0) -> None:
        """Read a function, and what it calls."""
        own: list[Values] = []
        while isinstance(function, partial):
            own = [*([one] for one in function.args), *own]
            function = function.func
        given = [*own, *given]
        if isinstance(function, MethodType):
            given = [[function.__self__], *given]
            function = function.__func__
        elif not isinstance(function, FunctionType):
            call = getattr(type(function), "__call__", None)  # noqa: B004
            if not isinstance(call, FunctionType):
                return
            given, function = [[function], *given], call
        if depth > DEPTH_MAX:
            return
        if not is_own(function.__globals__):
            self._read_steps(given, depth)
            return
        key = (function.__code__, tuple(tuple(map(_identity, one)) for one in given))
        body = _body_of(function.__code__)
        if body is None or key in self._seen:
            return
        self._seen.add(key)
        names = _names(function, body, given)
        local = {*function.__code__.co_varnames, *function.__code__.co_cellvars}
        Reading(self, names, frozenset(names.keys() - local), depth).walk(body)

    def _read_steps(self, given: Sequence[Values], depth: int) -> None:
        """Read what the steps of a saga do, where its orchestrator is what goes on."""
        made = given[0][0] if given and given[0] else None
        sagas = getattr(made, "_sagas", made)  # of an AsyncOrchestrator
        if isinstance(sagas, Orchestrator):
            for does in (*sagas.calls.values(), *sagas.local.values(), sagas.send):
                self.read(does, (), depth + 1)


class Reading(ast.NodeVisitor):
    """One function that is being read, with what its names may stand for."""

    def __init__(self, reader: Reader, names: Names, fixed: frozenset[str], depth: int) -> None:
        self.reader = reader
        self.names = names
        self.fixed = fixed
        self.depth = depth

    def walk(self, body: Body) -> None:
        """Read it from the first line to the last."""
        for node in body.body if isinstance(body.body, list) else [body.body]:
            self.visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        """Remember what a name stands for."""
        self.visit(node.value)
        for target in node.targets:
            self._bind(target, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """Likewise."""
        if node.value is not None:
            self.visit(node.value)
            self._bind(node.target, node.value)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        """A name stands for each of several things."""
        self.visit(node.iter)
        if isinstance(node.target, ast.Name):
            several = (one for each in self.values(node.iter) for one in _entries(each))
            self.names[node.target.id] = [*several][:VALUES_MAX]
        for each in (*node.body, *node.orelse):
            self.visit(each)

    visit_AsyncFor = visit_For

    def visit_If(self, node: ast.If) -> None:
        """Read the side that is taken, where what surrounds the function decides it; else both."""
        self.visit(node.test)
        taken = self._truth(node.test)
        for each in (*(node.body if taken is not False else ()), *(() if taken else node.orelse)):
            self.visit(each)

    def _truth(self, node: ast.AST) -> bool | None:
        """Return what a condition is, if it stands outside of the function; else None."""
        match node:
            case ast.BoolOp(op=ast.And(), values=several):
                parts = [self._truth(one) for one in several]
                return False if False in parts else None if None in parts else True
            case ast.BoolOp(values=several):
                parts = [self._truth(one) for one in several]
                return True if True in parts else None if None in parts else False
            case ast.UnaryOp(op=ast.Not(), operand=inner):
                opposite = self._truth(inner)
                return None if opposite is None else not opposite
            case ast.Compare(left=left, ops=[sign], comparators=[right]):
                both = self._outside(left), self._outside(right)
                return _compared(sign, both[0][0], both[1][0]) if all(both) else None
            case _:
                known = self._outside(node)
                return bool(known[0]) if known and isinstance(known[0], _PLAIN) else None

    def _outside(self, node: ast.AST) -> Values:
        """Return the one value of a constant, or of a name that nothing in the function sets."""
        known = isinstance(node, ast.Constant) or (
            isinstance(node, ast.Name) and node.id in self.fixed
        )
        found = self.values(node) if known else []
        return found if len(found) == 1 else []

    def visit_Call(self, node: ast.Call) -> None:
        """Something is called: a port, or code that may lead to one."""
        self.generic_visit(node)
        arguments = self._arguments(node)
        words = self._words(node)
        for function in self.values(node.func):
            self._called(function, arguments, words)
        if not any(isinstance(one, Port) for one in self.values(node.func)):
            for at, handed in enumerate(arguments):  # start_soon(mailer.send, "ada")
                for function in handed:
                    self._called(function, arguments[at + 1 :], {}, handed=True)

    def _arguments(self, node: ast.Call) -> list[Values]:
        found: list[Values] = []
        for one in node.args:
            if isinstance(one, ast.Starred):
                several = [each for each in self.values(one.value) if isinstance(each, tuple)]
                found += [[each] for each in several[0]] if several else []
            else:
                found.append(self.values(one))
        return found

    def _words(self, node: ast.Call) -> dict[str, Values]:
        found: dict[str, Values] = {}
        for one in node.keywords:
            if one.arg:
                found[one.arg] = self.values(one.value)
                continue
            for each in self.values(one.value):
                if isinstance(each, dict):
                    found |= {name: [value] for name, value in each.items()}
        return found

    def _called(
        self, function: Any, given: list[Values], words: Mapping[str, Values], handed: bool = False
    ) -> None:
        match self._port(function):
            case Port("publisher", part, "" | "send"):
                topics = given[0] if given else words.get("topic", [])
                for topic in topics or [None]:
                    for exchange in words.get("exchange") or [""]:
                        self._did(Deed("event", part, _text(topic), _text(exchange) or ""))
            case Port("client", part, method) if method:
                self._did(Deed("effect", part, method))
            case Port("consumer") if not handed:
                self.reader.heard.append(function)
            case Port("env", _, "call") if len(given) > 1:
                for service in given[0]:
                    for name in given[1]:
                        self._did(Deed("call", str(service), _text(name)))
            case None if isinstance(function, FunctionType | MethodType | partial):
                if not words or not handed:
                    self.reader.read(function, _placed(function, given, words), self.depth + 1)
            case None if not isinstance(function, type) and not handed:
                self.reader.read(function, given, self.depth + 1)

    def _did(self, deed: Deed) -> None:
        self.reader.deeds[deed] = None

    def _port(self, value: Any) -> Port | None:
        return value if isinstance(value, Port) else self.reader.known(value)

    # ---- what an expression may stand for

    def values(self, node: ast.AST) -> Values:
        """Return what an expression may stand for, of what can be known."""
        return self._values(node)[:VALUES_MAX]

    def _values(self, node: ast.AST) -> Values:
        match node:
            case ast.Constant(value=value):
                return [value]
            case ast.Name(id=name):
                return self.names.get(name, [])
            case ast.Attribute(value=owner, attr=name):
                return [one for each in self.values(owner) for one in self._attribute(each, name)]
            case ast.IfExp(test=test, body=one, orelse=other):
                taken = self._truth(test)
                ways = (one, other) if taken is None else (one,) if taken else (other,)
                return [each for way in ways for each in self.values(way)]
            case ast.BoolOp(values=several):
                return [one for each in several for one in self.values(each)]
            case ast.NamedExpr(value=inner) | ast.Await(value=inner):
                return self.values(inner)
            case ast.Tuple(elts=several) | ast.List(elts=several):
                each = [self.values(one) for one in several]
                return [tuple(one[0] if one else None for one in each)]
            case ast.JoinedStr() | ast.BinOp() | ast.Subscript():
                return self._computed(node)
            case ast.Call():
                return self._returned(node)
        return []

    def _attribute(self, owner: Any, name: str) -> Iterator[Any]:
        port = self._port(owner)
        if port is not None:
            yield owner if port.kind == "consumer" else Port(port.kind, port.part, name)
            return
        try:
            found = inspect.getattr_static(owner, name)
        except AttributeError:
            return
        if isinstance(found, staticmethod):
            yield found.__func__
        elif isinstance(found, classmethod):
            yield MethodType(found.__func__, owner if isinstance(owner, type) else type(owner))
        elif inspect.ismemberdescriptor(found):  # a slot
            yield from _slot(found, owner)
        elif isinstance(found, FunctionType) and not isinstance(owner, type | ModuleType):
            yield found if name in getattr(owner, "__dict__", ()) else MethodType(found, owner)
        elif not isinstance(found, property):
            yield found

    def _computed(self, node: ast.AST) -> Values:
        """Return what is worked out from plain values: texts put together, entries of a table."""
        match node:
            case ast.JoinedStr(values=parts):
                texts = [
                    self.values(one.value if isinstance(one, ast.FormattedValue) else one)
                    for one in parts
                ]
                return ["".join(str(one[0]) for one in texts)] if all(texts) else []
            case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as sign, right=right):
                both = ((one, other) for one in self.values(left) for other in self.values(right))
                return [one for pair in both for one in _added(*pair, sign)]
            case ast.Subscript(value=table, slice=at):
                keys = self.values(at)
                return [one for each in self.values(table) for one in _looked_up(each, keys)]
        return []

    def _returned(self, node: ast.Call) -> Values:
        """Return the port that a call of `env` returns; of other calls nothing is known."""
        found = []
        for function in self.values(node.func):
            if isinstance(function, Port) and function.kind == "env" and node.args:
                kind = _GIVEN.get(function.method)
                names = [getattr(one, "name", None) for one in self.values(node.args[0])]
                found += [Port(kind, name) for name in names if kind and name]  # type: ignore[arg-type]
        return found

    def _bind(self, target: ast.AST, value: ast.AST) -> None:
        if isinstance(target, ast.Name):
            known = self.names.get(target.id, [])
            more = [one for one in self.values(value) if not any(one is each for each in known)]
            self.names[target.id] = [*known, *more][:VALUES_MAX]


def _names(function: FunctionType, body: Body, given: Sequence[Values]) -> Names:
    """Return what the names in a function stand for before its first line."""
    names: Names = {name: [value] for name, value in function.__globals__.items()}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            names[name] = [cell.cell_contents]
        except ValueError:
            names[name] = []
    parameters = [*body.args.posonlyargs, *body.args.args, *body.args.kwonlyargs]
    for at, parameter in enumerate(parameters):
        values = given[at] if at < len(given) else []
        default = inspect.signature(function).parameters.get(parameter.arg)
        if not values and default is not None and default.default is not inspect.Parameter.empty:
            values = [default.default]
        names[parameter.arg] = list(values)
    if body.args.vararg is not None:
        rest = given[len(body.args.posonlyargs) + len(body.args.args) :]
        names[body.args.vararg.arg] = [tuple(one[0] if one else None for one in rest)]
    return names


def _placed(function: Any, given: list[Values], words: Mapping[str, Values]) -> list[Values]:
    """Return the arguments of a call in the order of the parameters."""
    if not words:
        return given
    try:
        names = [*inspect.signature(function).parameters]
    except (TypeError, ValueError):
        return given
    return [given[at] if at < len(given) else words.get(name, []) for at, name in enumerate(names)]


@cache
def _bodies(file: str) -> tuple[Body, ...]:
    try:
        tree = ast.parse(Path(file).read_text("utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return ()
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    return tuple(node for node in ast.walk(tree) if isinstance(node, kinds))


def _body_of(code: CodeType) -> Body | None:
    """Return the source of a function; None where there is none."""
    for body in _bodies(code.co_filename):
        decorators = getattr(body, "decorator_list", ())
        first = min((one.lineno for one in decorators), default=body.lineno)
        if first == code.co_firstlineno and getattr(body, "name", "<lambda>") == code.co_name:
            return body
    return None


def _compared(sign: ast.cmpop, left: Any, right: Any) -> bool | None:
    """Return what a comparison of plain values gives."""
    if not isinstance(left, _PLAIN) or not isinstance(right, _PLAIN):
        return None
    match sign:
        case ast.Eq() | ast.Is():
            return bool(left == right)
        case ast.NotEq() | ast.IsNot():
            return bool(left != right)
        case ast.In() if isinstance(right, list | tuple | frozenset | set | dict):
            return left in right
        case ast.NotIn() if isinstance(right, list | tuple | frozenset | set | dict):
            return left not in right
    return None


def _added(one: Any, other: Any, sign: ast.operator) -> Iterator[Any]:
    if type(one) is not type(other) or not isinstance(one, int | str):
        return
    if isinstance(sign, ast.Add):
        yield one + other
    elif isinstance(one, int):
        yield one - other


def _entries(value: Any) -> Sequence[Any]:
    if isinstance(value, list | tuple | set | frozenset | dict):
        return [*value][:VALUES_MAX]
    return []


def _looked_up(table: Any, keys: Values) -> Iterator[Any]:
    if isinstance(table, dict):
        yield from (table[key] for key in keys if isinstance(key, str | int) and key in table)
        if not keys:
            yield from [*table.values()][:VALUES_MAX]
    elif isinstance(table, list | tuple):
        whole = [key for key in keys if isinstance(key, int)]
        yield from (table[key] for key in whole if -len(table) <= key < len(table))


def _slot(found: Any, owner: Any) -> Iterator[Any]:
    try:
        yield found.__get__(owner, type(owner))
    except AttributeError:
        return


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _identity(value: Any) -> Any:
    return value if isinstance(value, str | int | Port) else id(value)
