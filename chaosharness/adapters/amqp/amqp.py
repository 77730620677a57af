"""A host name behind which a broker listens, for client libraries that speak AMQP 0-9-1."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import attrs

from chaosharness.adapters.libraries import speak
from chaosharness.brokers.broker import declared
from chaosharness.brokers.rabbitmq.rabbitmq import OpenRabbitMQ, RabbitMQ
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.places import asked_or_awaited_at
from chaosharness.handlers.port import call_off
from chaosharness.kernel import allowed
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.world import World

MET: Final = (
    "ssl",
    "anyio",
    "pika",
    "aiormq",
    "aio_pika",
    "faststream",
    "amqp",
    "kombu.connection",
    "celery",
    "taskiq",
)
"""The packages that are met."""

PORTS: Final = (5671, 5672)


def _host(amqp: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, str) or not value or set(value) & set("/ ,\n@"):
        right = 'a host name, with its port if that is not the usual one: "rabbit.example"'
        raise allowed.refused("AMQP", attribute.name, right, value)


def _broker(amqp: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, RabbitMQ):
        raise allowed.refused("AMQP", attribute.name, 'a RabbitMQ, such as RabbitMQ("bus")', value)


@attrs.frozen
class AMQP:
    """A host name, and the RabbitMQ that listens there for client libraries.

    >>> bus = system.add(RabbitMQ("bus"))
    >>> system.add(AMQP("rabbit.example", bus))

    Code that connects there with pika, aio-pika, FastStream or Celery runs as it is, in virtual
    time. Each of its operations is a site, with the names and the faults that the ports of the
    broker have. What the code declares is declared; queues that it expects to be there stand in
    the `RabbitMQ`.

    Args:
        host: The name that URLs and connection parameters have: `localhost`, `rabbit:5673`.
        broker: The broker, a part of the system.

    Source:
        AMQP 0-9-1; the documentation and the source of each client, as its adapter says.

    Not modelled:
        Users, passwords and permissions; virtual hosts (there is one, whatever it is called); TLS.
    """

    host: str = attrs.field(validator=_host)
    broker: RabbitMQ = attrs.field(validator=_broker)

    def __attrs_post_init__(self) -> None:
        self.prepare()

    @property
    def name(self) -> str:
        """What the system knows it by."""
        return f"amqp:{self.host}"

    @property
    def speaks(self) -> tuple[str, ...]:
        """The client libraries that it meets."""
        return ("aio_pika", "aiormq", "amqp", "celery", "faststream", "pika", "taskiq")

    def prepare(self) -> None:
        """Have client libraries met, before a run begins."""
        speak(MET)

    def open(self, world: World) -> OpenAMQP:
        """Return it for one run.

        Raises:
            InvalidDefinition: The broker is no part of the system.
        """
        state = world.states.get(self.broker.name)
        if not isinstance(state, OpenRabbitMQ) or declared(state) is not self.broker:
            raise InvalidDefinition(
                f"AMQP({self.host!r}) speaks for {self.broker.name!r}, which is no part of this "
                "system: add(...) that RabbitMQ first"
            )
        state.declares_itself()
        return OpenAMQP(self.host, state)


@attrs.frozen(eq=False)
class OpenAMQP:
    """A host name during one run."""

    name: str
    broker: OpenRabbitMQ


def refuse_two(scope: Scope, library: str, addresses: Iterable[tuple[str, int | None]]) -> None:
    """Refuse a client that is given several addresses, if two brokers listen there.

    Several nodes of one broker are several `AMQP` for it.

    Raises:
        InvalidDefinition: It calls the run off.
    """
    known = {
        one.name: one.broker for one in scope.world.states.values() if isinstance(one, OpenAMQP)
    }
    found: dict[str, str] = {}
    for host, port in addresses:
        broker = known.get(host if port is None or port in PORTS else f"{host}:{port}")
        if broker is not None:
            found.setdefault(broker.name, host)
    if len(found) > 1:
        (one, first), (other, second), *_ = found.items()
        call_off(
            InvalidDefinition(
                f"{scope.place} gives one connection of {library} the addresses {first!r} and "
                f"{second!r}{asked_or_awaited_at()}, where two brokers listen, {one!r} and "
                f"{other!r}: make a connection for each, or, if they are nodes of one, add an "
                f'AMQP("{second}", {one}) for the same RabbitMQ'
            )
        )


def listening_at(scope: Scope, library: str, host: str, port: int | None) -> OpenRabbitMQ:
    """Return the broker that listens at an address.

    Raises:
        InvalidDefinition: Nobody does, which calls the run off.
    """
    address = host if port is None or port in PORTS else f"{host}:{port}"
    known = [one for one in scope.world.states.values() if isinstance(one, OpenAMQP)]
    for one in known:
        if one.name in (address, f"{host}:{port}"):
            return one.broker
    hosts = ", ".join(one.name for one in known) or "nobody"
    call_off(
        InvalidDefinition(
            f"{scope.place} connects to {address!r} with {library}"
            f"{asked_or_awaited_at()}, and nobody listens there in this system, only at: {hosts}. "
            f'Add the broker that does: AMQP("{address}", bus)'
        )
    )
