"""A third party that users model themselves: an ordinary class, called over a network."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable
from copy import deepcopy
from difflib import get_close_matches
from functools import lru_cache
from types import CoroutineType, FunctionType, MethodType
from typing import Any, Final, get_type_hints

import attrs

from chaosharness.errors import ChaosharnessError, InvalidDefinition
from chaosharness.externals.request import call
from chaosharness.handlers.colours import made_at
from chaosharness.handlers.places import asked_at, at_line, words_of
from chaosharness.kernel import allowed
from chaosharness.kernel.history import plain
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.world import World

_error: Final = allowed.maker_of_errors()

KEYS: Final = ("key", "idempotency_key")
"""What an argument is called that holds an idempotency key; HTTP's header goes by these too."""


@attrs.frozen
class Unchanged:
    """The answer to a request that changed nothing this time."""

    value: Any


def _server(external: Any, attribute: Any, value: Any) -> None:
    if callable(value):
        return
    kind = type(value).__name__
    right = (
        "a class, or a function without arguments that makes the object: each run has its own"
        if value is None
        else f"what makes the object, since each run has its own: External(name, {kind})"
    )
    raise allowed.refused("External", attribute.name, right, value)


def _reads(given: Any) -> Any:
    if isinstance(given, str):
        return (given,)
    return tuple(given) if isinstance(given, list | tuple | set | frozenset) else given


def _names(external: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, tuple) or not all(isinstance(one, str) for one in value):
        right = 'names of methods that change nothing: ["find"]'
        raise allowed.refused("External", attribute.name, right, value)


def methods_of(server: Any) -> list[str]:
    """Return the public methods of a server, by name."""
    names = [one for one in dir(server) if not one.startswith("_")]
    return [one for one in names if callable(getattr(server, one, None))]


def no_method(name: str, server: Any, method: str, what: str) -> str:
    """Say that a server has no such method, and which it has."""
    there = methods_of(server)
    near = get_close_matches(method, there, n=1)
    hint = f" did you mean {near[0]!r}?" if near else ""
    return f"{name} has no method {method!r} to {what};{hint} it has: {', '.join(there)}"


@lru_cache(maxsize=256)
def _has_methods(kind: Hashable) -> bool:
    return bool(methods_of(kind))


@attrs.frozen
class External:
    """A third party: one server object per run, whose public methods services call.

    Args:
        name: What reports call it.
        server: Called at the start of each run; returns the object that answers. What it
            raises reaches the caller. Its state is durable: it never crashes.
        reads: Methods that change nothing. A call of any other counts as an effect, and
            enters the ledger (events of kind `effect`) with its arguments, unless it raises or
            answers with `External.unchanged(...)`; an argument that is called `method` enters
            it as `method_`. A call that is made again, with the same arguments or the same
            idempotency key (`key`, `idempotency_key`), and leaves the object's attributes as they
            were, where the first such call changed them, is none either: the third party knew
            it, and did nothing.
        latency_ms: There and back.
        timeout_ms: How long a caller waits for an answer.
        timeout_error: What a caller sees when no answer comes.
        refused_error: What a caller sees when it is told to come back later.
    """

    name: str = attrs.field(validator=allowed.text())
    server: Callable[[], Any] = attrs.field(validator=_server)
    reads: tuple[str, ...] = attrs.field(
        default=(), converter=_reads, validator=_names, kw_only=True
    )
    latency_ms: int = attrs.field(default=20, validator=allowed.whole(0), kw_only=True)
    timeout_ms: int = attrs.field(default=10_000, validator=allowed.whole(1), kw_only=True)
    timeout_error: Callable[[str], BaseException] = attrs.field(
        default=TimeoutError, validator=_error, kw_only=True
    )
    refused_error: Callable[[str], BaseException] = attrs.field(
        default=ConnectionError, validator=_error, kw_only=True
    )

    def open(self, world: World) -> OpenExternal:
        """Return this third party, new, for one run."""
        return OpenExternal(self, world, self._made())

    def _made(self) -> Any:
        """Return the object that answers, seen to be one that can."""
        try:
            server = self.server()
        except ChaosharnessError:
            raise
        except Exception as error:
            raise self._unmade(
                f"which raised {words_of(error)}{at_line(error)}. It is called without arguments "
                "when a run begins: External(name, lambda: Bank(...)) gives some"
            ) from error
        if isinstance(server, CoroutineType):
            server.close()
            raise self._unmade("which is async: make it a plain function")
        if server is None or not (_has_methods(server.__class__) or methods_of(server)):
            raise self._unmade(
                f"which made {allowed.spelled(server)}: that has no methods to call. Return the "
                "object whose methods services call"
            )
        for name in self.reads:
            if not callable(getattr(server, name, None)):
                raise InvalidDefinition(no_method(self.name, server, name, "read"))
        return server

    def _unmade(self, words: str) -> InvalidDefinition:
        name = getattr(self.server, "__qualname__", None) or type(self.server).__name__
        made = f"third party {self.name!r} is made by {name}{made_at(self.server)}"
        return InvalidDefinition(f"{made}, {words}")

    @staticmethod
    def unchanged(value: Any = None) -> Unchanged:
        """Answer a request with this value, and say that it changed nothing: no effect.

        For the server to return where it recognises a repeat, or has it so already. The
        caller gets the value itself.

        >>> def send(self, to, text, reference):
        ...     if reference in self.sent:
        ...         return External.unchanged(self.sent[reference])
        """
        return Unchanged(value)


def _state(server: Any) -> Any:
    """Return a copy of an object's attributes; where they cannot be copied, what equals nothing."""
    try:
        held = vars(server)
        try:
            return _copied(held)
        except _NotPlainError:
            return deepcopy(held)
    except Exception:
        return object()


class _NotPlainError(Exception):
    """Something is held that only `deepcopy` can copy, and what shares it, as a whole."""


_PLAIN: Final = frozenset({type(None), bool, int, float, str, bytes})


def _copied(value: Any) -> Any:
    """Return a copy of plain containers of plain values, all that most third parties hold."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    are_plain = _PLAIN.issuperset
    if kind is dict and are_plain(map(type, value)):
        if are_plain(map(type, value.values())):
            return value.copy()
        return {name: _copied(one) for name, one in value.items()}
    if kind is list or kind is tuple:
        return value[:] if are_plain(map(type, value)) else kind(map(_copied, value))
    if (kind is set or kind is frozenset) and are_plain(map(type, value)):
        return value.copy()
    raise _NotPlainError


class OpenExternal:
    """A third party during one run."""

    def __init__(self, definition: External, world: World, server: Any) -> None:
        self.definition = definition
        self.name = definition.name
        self.latency_ms = definition.latency_ms
        self.timeout_ms = definition.timeout_ms
        self.world = world
        self.server = server
        self.on_effect: list[Callable[[Scope, int, dict[str, Any]], None]] = []
        self._changed: dict[str, bool] = {}
        world.know_timeout(definition.timeout_ms)

    def lost(self, operation: str) -> BaseException:
        """Return what a caller sees when no answer comes."""
        return self.definition.timeout_error(f"{operation}: no answer")

    def refused(self, operation: str) -> BaseException:
        """Return what a caller sees when it is told to come back later."""
        return self.definition.refused_error(f"{operation}: refused, try again later")

    def lose_writes(self, scope: Scope) -> None:
        """Lose nothing: somebody else's problem."""

    def client(self) -> Client:
        """Return what a service calls it by."""
        return Client(self)

    # ---- asked by name, as HTTP asks

    def signature(self, method: str) -> inspect.Signature:
        """Return what a method takes.

        Raises:
            InvalidDefinition: It has no such method.
        """
        function = self._method(method)
        if _is_written(function):
            return _taken_by(function.__func__)
        return inspect.signature(function)

    def hints(self, method: str) -> dict[str, Any]:
        """Return the annotations of a method, as far as they can be read."""
        function = self._method(method)
        return _hints_of(function.__func__ if _is_written(function) else function)

    def asked(self, method: str, keywords: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return a request to call a method with these, and what the history shows of it."""
        named = {_word(name): plain(value) for name, value in keywords.items()}
        return (method, (), keywords), {"method": method, "arguments": [], **named}

    def _method(self, method: str) -> Any:
        function = None if method.startswith("_") else getattr(self.server, method, None)
        if not callable(function):
            raise InvalidDefinition(no_method(self.name, self.server, method, "answer with"))
        return function

    def serve(
        self, caller: Scope, operation: str, attempt: int, request: Any, reply: Callable[..., None]
    ) -> None:
        """Call the method that is asked for, and answer with what it returns or raises."""
        method, arguments, keywords = request
        if self.world.on_turn is not None:
            self.world.on_turn(self)  # a process of its own, elsewhere
        counts = method not in self.definition.reads
        before = _state(self.server) if counts else None
        try:
            value = getattr(self.server, method)(*arguments, **keywords)
        except Exception as error:
            reply(None, error, happened=False)
            return
        if isinstance(value, Unchanged):
            value = value.value
        elif counts and not self._knew(request, before):
            data = {"method": method, **self._named(method, arguments, keywords)}
            self.ledger(caller, operation, attempt, data, value)
        reply(value, None)

    def _knew(self, request: Any, before: Any) -> bool:
        """Say whether the object took a request for one that it had done already.

        It is as it was before; and the first time, it was not: it is no mere stub. The first
        time is that of the same arguments, or of the same idempotency key.
        """
        changed = before != getattr(self.server, "__dict__", None)
        method, arguments, keywords = request
        asked = f"{method}{plain(arguments)}{plain(keywords) if keywords else ''}"
        first = self._changed.setdefault(asked, changed)
        key = self._key_of(method, arguments, keywords)
        if key is not None:
            first = self._changed.setdefault(f"{method} under {key}", changed) or first
        return first and not changed

    def _key_of(self, method: str, arguments: Any, keywords: Any) -> str | None:
        """Return the idempotency key of a request that a method takes, if it has one."""
        for name in KEYS:
            if keywords.get(name) is not None:
                return repr(plain(keywords[name]))
        function = getattr(self.server, method)
        words = (_words_of(function.__func__) if _is_written(function) else None) or ()
        for word, one in zip(words, arguments, strict=False):
            if word in KEYS and one is not None:
                return repr(plain(one))
        return None

    def ledger(
        self, caller: Scope, operation: str, attempt: int, data: dict[str, Any], answer: Any = None
    ) -> int:
        """Enter an effect into the ledger, on behalf of a caller; tell whoever wants to know."""
        world = self.world
        world.effects += 1
        index = world.record(
            "effect",
            self.name,
            operation=operation,
            entity=caller.entity,
            attempt=attempt,
            cause=caller.cause,
            data=data,
        )
        for tell in self.on_effect:
            tell(caller, index, {**data, "answer": plain(answer)})
        return index

    def _named(self, method: str, arguments: Any, keywords: Any) -> dict[str, Any]:
        function = getattr(self.server, method)
        if _is_written(function):
            words = None if keywords else _words_of(function.__func__)
            if words is not None:  # the call went well: so all that was given has a name
                return dict(zip(words, plain(arguments), strict=False))
            signature = _signature_of(function.__func__)
            arguments = (function.__self__, *arguments)
            named = list(signature.bind(*arguments, **keywords).arguments.items())[1:]
        else:
            signature = inspect.signature(function)
            named = list(signature.bind(*arguments, **keywords).arguments.items())
        return {_word(name): plain(value) for name, value in named}


def _is_written(function: Any) -> bool:
    """Say whether it is a method as classes have them: of its function all is known for good."""
    return type(function) is MethodType and type(function.__func__) is FunctionType


@lru_cache(maxsize=1_024)
def _taken_by(function: FunctionType) -> inspect.Signature:
    """Return what a method takes besides its object."""
    return inspect.signature(MethodType(function, object()))


@lru_cache(maxsize=1_024)
def _read_hints(function: Any) -> dict[str, Any]:
    return get_type_hints(function)


def _hints_of(function: Any) -> dict[str, Any]:
    """Return annotations; nothing where they cannot be read, which is asked anew each time."""
    try:
        return (_read_hints if type(function) is FunctionType else get_type_hints)(function)
    except Exception:
        return {}


@lru_cache(maxsize=1_024)
def _signature_of(function: FunctionType) -> inspect.Signature:
    """Return the signature of a function, which takes its object first."""
    return inspect.signature(function)


@lru_cache(maxsize=1_024)
def _words_of(function: FunctionType) -> tuple[str, ...] | None:
    """Return what a ledger calls the arguments of a method; None where not all are just named."""
    parameters = _signature_of(function).parameters.values()
    if any(one.kind is not one.POSITIONAL_OR_KEYWORD for one in parameters):
        return None
    return tuple(_word(one.name) for one in parameters)[1:]


def _word(argument: str) -> str:
    """Return what a ledger calls an argument: `method` is what was asked for."""
    return "method_" if argument == "method" else argument


class Client:
    """A service's access to a third party: its methods, which block or are awaited."""

    def __init__(self, external: OpenExternal) -> None:
        self._external = external

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith("_"):
            raise AttributeError(method)
        external = self._external
        function = getattr(external.server, method, None)
        if not callable(function):
            there = self if external.server is None else external.server
            words = no_method(external.name, there, method, "call")
            raise InvalidDefinition(f"{words}{asked_at()}")

        def request(*arguments: Any, **keywords: Any) -> Any:
            words = {"method": method, "arguments": plain(arguments)}
            for name, value in keywords.items():
                words[_word(name)] = plain(value)
            action = f"{external.name}.{method}"
            return call(action, external, (method, arguments, keywords), words)

        return request
