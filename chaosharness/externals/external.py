"""A third party that users model themselves: an ordinary class, called over a network."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import deepcopy
from functools import lru_cache
from types import FunctionType, MethodType
from typing import Any

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.externals.request import call
from chaosharness.kernel.history import plain
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.world import World


@attrs.frozen
class Unchanged:
    """The answer to a request that changed nothing this time."""

    value: Any


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
            it as `method_`. A call that is made again, with the same arguments, and leaves the
            object's attributes as they were, where the first such call changed them, is none
            either: the third party knew it, and did nothing.
        latency_ms: There and back.
        timeout_ms: How long a caller waits for an answer.
        timeout_error: What a caller sees when no answer comes.
        refused_error: What a caller sees when it is told to come back later.
    """

    name: str = attrs.field(validator=attrs.validators.instance_of(str))
    server: Callable[[], Any] = attrs.field(validator=attrs.validators.is_callable())
    reads: tuple[str, ...] = attrs.field(default=(), converter=tuple, kw_only=True)
    latency_ms: int = attrs.field(default=20, validator=attrs.validators.ge(0), kw_only=True)
    timeout_ms: int = attrs.field(default=10_000, validator=attrs.validators.ge(1), kw_only=True)
    timeout_error: Callable[[str], BaseException] = attrs.field(default=TimeoutError, kw_only=True)
    refused_error: Callable[[str], BaseException] = attrs.field(
        default=ConnectionError, kw_only=True
    )

    def open(self, world: World) -> OpenExternal:
        """Return this third party, new, for one run."""
        return OpenExternal(self, world, self.server())

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
        return deepcopy(vars(server))
    except Exception:
        return object()


class OpenExternal:
    """A third party during one run."""

    def __init__(self, definition: External, world: World, server: Any) -> None:
        self.definition = definition
        self.name = definition.name
        self.latency_ms = definition.latency_ms
        self.timeout_ms = definition.timeout_ms
        self.world = world
        self.server = server
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
            self.ledger(caller, operation, attempt, data)
        reply(value, None)

    def _knew(self, request: Any, before: Any) -> bool:
        """Say whether the object took a request for one that it had done already.

        It is as it was before; and the first time, it was not: it is no mere stub.
        """
        changed = before != _state(self.server)
        first = self._changed.setdefault(repr(plain(request)), changed)
        return first and not changed

    def ledger(self, caller: Scope, operation: str, attempt: int, data: dict[str, Any]) -> int:
        """Enter an effect into the ledger, on behalf of a caller."""
        world = self.world
        world.effects += 1
        return world.record(
            "effect",
            self.name,
            operation=operation,
            entity=caller.entity,
            attempt=attempt,
            cause=caller.cause,
            data=data,
        )

    def _named(self, method: str, arguments: Any, keywords: Any) -> dict[str, Any]:
        function = getattr(self.server, method)
        if type(function) is MethodType and type(function.__func__) is FunctionType:
            signature = _signature_of(function.__func__)
            arguments = (function.__self__, *arguments)
            named = list(signature.bind(*arguments, **keywords).arguments.items())[1:]
        else:
            signature = inspect.signature(function)
            named = list(signature.bind(*arguments, **keywords).arguments.items())
        return {_word(name): plain(value) for name, value in named}


@lru_cache(maxsize=1_024)
def _signature_of(function: FunctionType) -> inspect.Signature:
    """Return the signature of a function, which takes its object first."""
    return inspect.signature(function)


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
            raise InvalidDefinition(f"{external.name} has no method {method!r} to call")

        def request(*arguments: Any, **keywords: Any) -> Any:
            words = {
                "method": method,
                "arguments": [plain(value) for value in arguments],
                **{_word(name): plain(value) for name, value in keywords.items()},
            }
            action = f"{external.name}.{method}"
            return call(action, external, (method, arguments, keywords), words)

        return request
