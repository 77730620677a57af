"""The server as one client of nats-py sees it: which broker stands for it, and its errors."""

from __future__ import annotations

from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

import attrs
import nats
from nats.js.errors import APIError, ServiceUnavailableError

from chaosharness.brokers.nats.errors import NATSError
from chaosharness.brokers.nats.nats import OpenNATS
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.places import asked_at, asked_or_awaited_at
from chaosharness.handlers.port import call_off
from chaosharness.kernel.scope import Scope

CODES: Final = {
    **dict.fromkeys((10014, 10037, 10059), 404),
    **dict.fromkeys((10012, 10052, 10057, 10110, 10111), 500),
    10077: 503,
}
"""What JetStream answers, by the numbers of its errors; where nothing stands, 400."""


def code_of(err_code: int) -> int:
    """Return the code that goes with a number of an error."""
    return CODES.get(err_code, 400)


@attrs.frozen
class Line:
    """A server as one call sees it: with the time-out of that call, and nats-py's errors."""

    name: str
    timeout_ms: int

    def lost(self, operation: str) -> BaseException:
        """Return that no answer came."""
        return nats.errors.TimeoutError()

    def refused(self, operation: str) -> BaseException:
        """Return that JetStream has no leader just now."""
        words = "JetStream system temporarily unavailable"
        return ServiceUnavailableError(code=503, err_code=10008, description=words)

    def lose_writes(self, scope: Scope) -> None:
        """Lose nothing."""


def line_to(desk: OpenNATS, timeout: float | None) -> Line:
    """Return a server for a call that waits so many seconds."""
    return Line(desk.name, desk.timeout_ms if timeout is None else max(round(timeout * 1000), 1))


def error_of(error: NATSError) -> BaseException:
    """Return what nats-py raises where JetStream refuses."""
    if error.err_code == 503:
        return nats.errors.NoRespondersError()
    said = {
        "code": code_of(error.err_code),
        "err_code": error.err_code,
        "description": error.description,
    }
    try:
        APIError.from_error(said)
    except APIError as found:
        return found
    raise AssertionError(said)


def desk_of(scope: Scope, uris: list[Any]) -> OpenNATS:
    """Return the broker that stands for all the addresses of a client.

    Raises:
        InvalidDefinition: They are of several, which calls the run off.
    """
    first = desk_at(scope, uris[0])
    for uri in uris[1:]:
        other = desk_at(scope, uri)
        if other is not first:
            names = " and ".join(sorted((repr(first.name), repr(other.name))))
            call_off(
                InvalidDefinition(
                    f"nats: {scope.place} connects to servers of {names}{asked_at()}: a client has "
                    "one. Connect to each by itself, or have one NATS stand for all its servers"
                )
            )
    return first


def desk_at(scope: Scope, uri: Any) -> OpenNATS:
    """Return the broker that stands for an address.

    Raises:
        InvalidDefinition: None does, or several, which calls the run off.
    """
    host = uri.hostname or ""
    all_of_it = [one for one in scope.world.states.values() if isinstance(one, OpenNATS)]
    found = [one for one in all_of_it if one.url is None or _host(one.url) in ("", host)]
    if len(found) == 1:
        return found[0]
    if found:
        names = " and ".join(repr(one.name) for one in found)
        words = f"may mean {names}: say with url= what each of them stands for"
    else:
        words = (
            "is no server of this system: add what stands behind it: "
            f'NATS("bus", ["orders"], url="nats://{host}")'
        )
    call_off(
        InvalidDefinition(f"nats: {scope.place} connects to {host}{asked_at()}, which {words}")
    )


def _host(url: str) -> str:
    return urlsplit(url if "://" in url else f"nats://{url}").hostname or ""


def left_out(what: str, instead: str = "") -> NoReturn:
    """Say that something is not modelled, and call the run off."""
    call_off(InvalidDefinition(f"nats: {what} is not modelled{asked_or_awaited_at()}{instead}"))
