"""A host name, and what stands behind it: a third party with routes, or web applications."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, Literal

import attrs
import msgspec

from chaosharness.adapters.http.aiohttp_web import AiohttpWeb, is_aiohttp
from chaosharness.adapters.http.asgi import Asgi
from chaosharness.adapters.http.endpoints import endpoint_of
from chaosharness.adapters.http.message import Answer, Request
from chaosharness.adapters.http.replicas import Front, Replica
from chaosharness.adapters.http.routes import Route, routes_of, split
from chaosharness.adapters.http.wsgi import Wsgi
from chaosharness.adapters.libraries import speak
from chaosharness.errors import InvalidDefinition
from chaosharness.externals.external import OpenExternal
from chaosharness.handlers.colours import innermost
from chaosharness.handlers.places import asked_at, at_line, words_of
from chaosharness.handlers.port import call_off
from chaosharness.handlers.threads import SERVED
from chaosharness.kernel import allowed
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import World

MET: Final = (
    *("ssl", "anyio", "asgiref", "httpx", "urllib3", "requests"),
    *("stripe", "aiohttp", "flask", "django"),
)
"""The packages that are met: clients, and what applications run on."""

_KEY: Final = {"key": "idempotency-key"}
"""Parameters that are sent as headers under another name."""

Reply = Callable[..., None]


class Said(Exception):
    """An answer that says no: its client gets it as an answer, the history as a failure."""

    answer: Answer

    @classmethod
    def of(cls, answer: Answer) -> Said:
        """Return it, as an error that is called after its status."""
        made = _said(answer.status)(answer.reason)
        made.answer = answer
        return made


@lru_cache(maxsize=512)
def _said(status: int) -> type[Said]:
    return type(f"HTTP{status}", (Said,), {})


def _host(web: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, str) or not value or set(value) & set("/ ,\n"):
        right = 'a host name, with its port if that is not the usual one: "api.bank.example"'
        raise allowed.refused("Web", attribute.name, right, value)


def _refused(web: Any, attribute: Any, value: Any) -> None:
    if value != "connection" and not (allowed.is_whole(value, 500) and value < 600):
        right = 'a status from 500 to 599, or "connection"'
        raise allowed.refused("Web", attribute.name, right, value)


def _errors(web: Any, attribute: Any, value: Any) -> None:
    right = "{Declined: 402}: classes of errors, and the status each is answered with"
    if not isinstance(value, Mapping):
        raise allowed.refused("Web", attribute.name, right, value)
    for kind, status in value.items():
        good = isinstance(kind, type) and issubclass(kind, Exception)
        if not good or not (allowed.is_whole(status, 400) and status < 600):
            raise allowed.refused("Web", attribute.name, right, {kind: status})


@attrs.frozen
class Web:
    """A host name, and what stands behind it.

    Requests that user code makes with httpx, requests, urllib3, aiohttp or what is built on them
    (stripe, say) get there in virtual time. Each is a call, as by `env.client`: a site with the
    same faults, which the code sees as its library tells them.

    Args:
        host: The name that URLs have: `api.bank.example`, or `localhost:8080`.
        part: The third party that answers (an `External`, a `Gateway`), a part of the system; None
            where services do.
        routes: Which of its methods answers which request: `{"POST /charges": "charge", "GET
            /charges/{order}": "find"}`. A method is called with what it takes, by name: parts of
            the path, fields of the query and of the body (JSON or a form), and headers (the
            `Idempotency-Key` as `idempotency_key` or `key`). What it returns is sent as JSON,
            with status 200; an `Answer` has a status of its own.
        errors: The status of an error that a method raises: `{Declined: 402}`.
        refused: What a client sees that is told to come back later (`ErrorReply`): a status, or
            `"connection"` for a connection that is refused.
        latency_ms: There and back, to services; a third party has its own.

    Source:
        RFC 9110, sections 9 (methods) and 15 (status codes). How clients tell trouble: the
        documentation of each library.

    Not modelled:
        TLS, connections (how many, kept alive, of HTTP/2), answers that come in pieces, bodies that
        are sent in pieces, trailers, upgrades, redirects by the host.
    """

    host: str = attrs.field(validator=_host)
    part: Any = None
    routes: Mapping[str, str] = attrs.field(factory=dict, kw_only=True)
    errors: Mapping[type[Exception], int] = attrs.field(
        factory=dict, validator=_errors, kw_only=True
    )
    refused: int | Literal["connection"] = attrs.field(
        default=503, validator=_refused, kw_only=True
    )
    latency_ms: int = attrs.field(default=2, validator=allowed.whole(0), kw_only=True)
    _table: tuple[Route, ...] = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_table", routes_of(self.routes))
        if (self.part is None) != (not self.routes):
            raise InvalidDefinition(
                f"Web({self.host!r}) needs both a third party and its routes, or neither, where "
                f"services answer{asked_at()}"
            )
        self.prepare()

    @property
    def name(self) -> str:
        """What the system knows it by: a service may be called as its host is."""
        return f"web:{self.host}"

    @property
    def speaks(self) -> tuple[str, ...]:
        """The client libraries that it meets."""
        return ("aiohttp", "httpx", "requests", "stripe", "urllib3")

    def prepare(self) -> None:
        """Have client libraries met, before a run begins."""
        speak(MET)

    def open(self, world: World) -> OpenWeb:
        """Return it for one run.

        Raises:
            InvalidDefinition: The third party is no part of the system, or lacks a method.
        """
        if self.part is None:
            return OpenWeb(self, world, None)
        state = world.states.get(getattr(self.part, "name", ""))
        if not isinstance(state, OpenExternal) or state.definition is not self.part:
            raise InvalidDefinition(
                f"Web({self.host!r}) speaks for {self.part!r}, which is no third party of this "
                "system: add(...) that first, an External or a Gateway"
            )
        for route in self._table:
            state.signature(route.answers)  # raises where it has none
        return OpenWeb(self, world, state)


@attrs.frozen
class Reached:
    """Where a request gets to.

    Attributes:
        action: What the caller does, as sites call it: `bank.charge`.
        words: What the history shows of it.
        peer: Who answers, as reports call it.
        latency_ms: There and back.
        behind: What the one who answers needs.
    """

    action: str
    words: dict[str, Any]
    peer: str
    latency_ms: int
    behind: Any


class OpenWeb:
    """A host name during one run."""

    def __init__(self, definition: Web, world: World, part: OpenExternal | None) -> None:
        self.definition = definition
        self.name = definition.host
        self.world = world
        self.latency_ms = definition.latency_ms
        self._part = part
        self._front = Front()

    def app(
        self,
        incarnation: Incarnation,
        service: str,
        application: Any,
        colour_of: Callable[[Any], Any],
    ) -> Any:
        """Have an incarnation answer with an application; return its main loop, or None.

        Raises:
            InvalidDefinition: Somebody else answers for this host.
        """
        if self._part is not None or self._front.service not in ("", service):
            who = self._part.name if self._part is not None else self._front.service
            raise InvalidDefinition(
                f"service {service!r} cannot answer for {self.name!r}: {who} does{asked_at()}"
            )
        if not callable(application):
            raise InvalidDefinition(
                f"service {service!r} answers for {self.name!r} with {application!r}, which is no "
                f"application: give it the ASGI or WSGI application{asked_at()}"
            )
        if (takes := _misfit(application)) is not None:
            shown = getattr(application, "__name__", None) or repr(application)
            raise InvalidDefinition(
                f"service {service!r} answers for {self.name!r} with {shown}{takes}, which no "
                "server can call: WSGI has (environ, start_response), ASGI has (scope, receive, "
                f"send). If it makes the application, give what it returns: {shown}(){asked_at()}"
            )
        runner = _runner(application)
        colour = SERVED if isinstance(runner, Wsgi) else colour_of(runner.answer)
        replica = Replica(incarnation, service, runner, colour)
        self._front.add(replica, application)
        if isinstance(runner, Wsgi):
            return None

        async def lifespan() -> None:
            await runner.lifespan(replica.ready)

        return lifespan

    def reach(self, request: Request) -> Reached:
        """Return where a request gets to.

        Raises:
            InvalidDefinition: No route leads anywhere, which calls the run off.
        """
        part = self._part
        if part is None:
            return self._to_service(request)
        for route in self.definition._table:
            found = route.match(request.method, split(request.path))
            if found is not None:
                taken = _taken(part, route, request, found)
                wanted = taken if isinstance(taken, Answer) else part.asked(route.answers, taken)
                words = (
                    {"method": route.answers, "unread": wanted.body["error"]}
                    if isinstance(wanted, Answer)
                    else wanted[1]
                )
                action = f"{part.name}.{route.answers}"
                return Reached(action, words, part.name, part.latency_ms, wanted)
        known = ", ".join(map(str, self.definition._table))
        call_off(
            InvalidDefinition(
                f"{request}{asked_at()} is no route of Web({self.name!r}), which has: {known}. Add "
                "it to the routes, with the method that answers"
            )
        )

    def _to_service(self, request: Request) -> Reached:
        front = self._front
        if not front.service:
            call_off(
                InvalidDefinition(
                    f"{request}{asked_at()} reaches nobody: no service answers for {self.name!r}. "
                    "One does with env.app(web, application)"
                )
            )
        endpoint = endpoint_of(front.application, request.method, request.path)
        action = f"{front.service}.{endpoint}"
        words = {
            "service": front.service,
            "endpoint": endpoint,
            "method": request.method,
            "path": request.path,
            "value": request.body,
        }
        behind = (f"{front.service}.{endpoint}", request)
        return Reached(action, words, front.service, self.latency_ms, behind)

    def serve(
        self, reached: Reached, caller: Scope, operation: str, attempt: int, reply: Reply
    ) -> None:
        """Have the third party answer, or a service."""
        part = self._part
        if part is None:
            place, request = reached.behind
            self._front.handle(caller, place, request, reply)
            return
        if isinstance(reached.behind, Answer):
            reply(reached.behind, None, happened=False)
            return

        def back(value: Any, error: BaseException | None, happened: bool = True) -> None:
            if error is None:
                answer = value if isinstance(value, Answer) else Answer(200, value)
                reply(answer, None, happened)
                return
            status = self._status(error)
            if status:
                reply(Answer(status, {"error": str(error)}), None, happened)

        part.serve(caller, operation, attempt, reached.behind[0], back)

    def receiver(self, reached: Reached, entity: int) -> str:
        """Return who will get a request for a workload item: a replica, or the third party."""
        replica = self._front.choose(entity) if self._part is None else None
        return reached.peer if replica is None else replica.incarnation.label

    def _status(self, error: BaseException) -> int:
        """Return the status of an error; 0 if nobody said one, which ends the run."""
        for kind, status in self.definition.errors.items():
            if isinstance(error, kind):
                return status
        name = type(error).__name__
        self.world.refuse(
            InvalidDefinition(
                f"the model behind Web({self.name!r}) raised {words_of(error)}{at_line(error)}, "
                f"and nothing says how HTTP tells that: Web(..., errors={{{name}: 400}}) does, or "
                "the model is wrong"
            )
        )
        return 0


def _runner(application: Any) -> Asgi | AiohttpWeb | Wsgi:
    """Return what calls an application as its server would."""
    if is_aiohttp(application):
        return AiohttpWeb(application)
    return Asgi(application) if is_asgi(application) else Wsgi(application)


def _misfit(application: Any) -> str | None:
    """Return what an application takes, where that is not what a server calls it with."""
    if is_aiohttp(application):
        return None
    try:
        takes = inspect.signature(application)
    except (TypeError, ValueError):  # written in C, and says nothing
        return None
    try:
        takes.bind(*[None] * (3 if is_asgi(application) else 2))
    except TypeError:
        return f"({', '.join(takes.parameters)})"
    return None


def is_asgi(application: Any) -> bool:
    """Say whether an application is called as ASGI has it: it is async, and takes three things."""
    inner = innermost(application)
    return inspect.iscoroutinefunction(inner)


def _taken(
    part: OpenExternal, route: Route, request: Request, found: dict[str, Any]
) -> dict[str, Any] | Answer:
    """Return what a method is called with; or the answer to a request that it cannot be."""
    try:
        fields = {**request.fields(), **found}
    except (ValueError, msgspec.DecodeError):
        return Answer(400, {"error": "the body cannot be read"})
    takes = part.signature(route.answers).parameters
    for name in takes:
        header = request.headers.get(_KEY.get(name, name.replace("_", "-")))
        if name not in fields and header is not None:
            fields[name] = header
    if not any(one.kind is one.VAR_KEYWORD for one in takes.values()):
        for name in fields:
            if name not in takes:
                call_off(_unknown(part, route, request, name, list(takes)))
    for name, one in takes.items():
        needed = one.default is one.empty and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
        if needed and name not in fields:
            return Answer(422, {"error": f"{name} is missing"})
    try:
        return {name: _as(part, route.answers, name, value) for name, value in fields.items()}
    except msgspec.ValidationError as error:
        return Answer(422, {"error": str(error)})


def _unknown(
    part: OpenExternal, route: Route, request: Request, name: str, takes: list[str]
) -> InvalidDefinition:
    return InvalidDefinition(
        f"{request}{asked_at()} sends {name!r}, which {part.name}.{route.answers} does not take: "
        f"it takes {', '.join(takes) or 'nothing'}. Give that method a parameter of this name, or "
        "**rest for what does not matter"
    )


def _as(part: OpenExternal, method: str, name: str, value: Any) -> Any:
    """Return a value as the method's annotation has it: all that a path or a form holds is text."""
    hint = part.hints(method).get(name)
    if hint is None or typing.get_origin(hint) is typing.Annotated:
        return value
    try:
        return msgspec.convert(value, hint, strict=False)
    except TypeError:  # no type that comes over a line
        return value
