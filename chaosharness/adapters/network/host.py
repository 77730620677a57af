"""An address on the network, and the third party that listens there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from chaosharness.adapters.libraries import speak
from chaosharness.adapters.network.streams import Stream
from chaosharness.adapters.network.wire import Wire
from chaosharness.errors import InvalidDefinition
from chaosharness.externals.external import OpenExternal
from chaosharness.handlers.places import asked_at
from chaosharness.kernel import allowed
from chaosharness.kernel.world import World

PORT_MAX = 65_535


def _address(host: Any, attribute: Any, value: Any) -> None:
    name, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not name or not port.isdecimal() or not 0 < int(port) <= PORT_MAX or set(name) & set("/ ,"):
        right = 'a name and a port: "ledger.internal:7000"'
        raise allowed.refused("Host", attribute.name, right, value)


def _wire(host: Any, attribute: Any, value: Any) -> None:
    if not callable(value):
        right = "what makes the server's end of a connection: a class with asked(data) and answer"
        raise allowed.refused("Host", attribute.name, right, value)


@attrs.frozen
class Host:
    """An address on the network, and the third party that listens there.

    For client code without an adapter of its own: it connects by `socket` (plain code, and `async`
    code that blocks its loop), or by the transports of asyncio (`open_connection`,
    `loop.create_connection`). What its bytes ask for is a call, as by `env.client`: a site with the
    same faults. An answer that never comes is a time-out of the socket; where it has none, the
    connection is lost after the third party's own `timeout_ms`.

    Args:
        address: Name and port: `"ledger.internal:7000"`.
        part: The third party that answers, an `External` that is a part of the system.
        wire: Makes what speaks the server's protocol, for each connection: see `Wire`.

    Source:
        RFC 9293, 3.10.7 (a reset ends a connection); POSIX, `connect`, `recv` (errors); Python
        documentation, "socket", "asyncio streams".

    Not modelled:
        Messages that a server sends unasked, but for its greeting; time and faults of connecting,
        and of single packets; `select` and `poll` on such a socket; trio's own streams; UDP, Unix
        sockets. TLS is left out: `wrap_socket` gives the socket as it is. Plain code waits for the
        answer where it sends, and not where it receives.
    """

    address: str = attrs.field(validator=_address)
    part: Any
    wire: Callable[[], Wire] = attrs.field(validator=_wire, kw_only=True)

    @property
    def name(self) -> str:
        """What the system knows it by."""
        return f"host:{self.address}"

    @property
    def speaks(self) -> tuple[str, ...]:
        """The client libraries that it meets."""
        return ("socket",)

    @property
    def at(self) -> tuple[str, int]:
        """Name and port."""
        name, _, port = self.address.rpartition(":")
        return name, int(port)

    def prepare(self) -> None:
        """Have sockets met, before a run begins."""
        speak(("socket",))

    def open(self, world: World) -> OpenHost:
        """Return it for one run.

        Raises:
            InvalidDefinition: The third party is no part of the system.
        """
        state = world.states.get(getattr(self.part, "name", ""))
        if not isinstance(state, OpenExternal) or state.definition is not self.part:
            raise InvalidDefinition(
                f"Host({self.address!r}) speaks for {self.part!r}, which is no third party of this "
                "system: add(...) that first, an External or a Gateway"
            )
        return OpenHost(self, world, state)


class OpenHost:
    """An address during one run."""

    def __init__(self, definition: Host, world: World, part: OpenExternal) -> None:
        self.definition = definition
        self.name = definition.address
        self.at = definition.at
        self.world = world
        self.part = part

    def connect_stream(self, protocol: Any, loop: Any) -> Any:
        """Return the transport of a connection that asyncio code has made."""

        return Stream(self, protocol, loop)

    def wire(self) -> Wire:
        """Return the server's end of a new connection.

        Raises:
            InvalidDefinition: It cannot speak.
        """
        made = self.definition.wire()
        for name in ("asked", "answer"):
            if not callable(getattr(made, name, None)):
                raise InvalidDefinition(
                    f"Host({self.name!r}): the wire {made!r} has no method {name}{asked_at()}: it "
                    "needs asked(data) and answer(method, value)"
                )
        return made


def host_at(world: World, address: Any) -> OpenHost | None:
    """Return who listens at an address in a run, if anybody does."""
    for one in world.states.values():
        if isinstance(one, OpenHost) and one.at == tuple(address[:2]):
            return one
    return None


def is_host(world: World, name: Any) -> bool:
    """Say whether a name is that of a machine of this system."""
    name = name.decode("latin-1") if isinstance(name, bytes) else name
    return any(isinstance(one, OpenHost) and one.at[0] == name for one in world.states.values())
