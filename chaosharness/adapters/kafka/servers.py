"""The address of a Kafka cluster: clients that are made for it talk to that cluster."""

from __future__ import annotations

from typing import Any

import attrs

from chaosharness.adapters.kafka import MET
from chaosharness.adapters.libraries import refuse_late, speak
from chaosharness.brokers.broker import declared
from chaosharness.brokers.kafka.kafka import Kafka, OpenKafka
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.places import asked_at
from chaosharness.handlers.port import call_off
from chaosharness.kernel import allowed
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.world import World


def _address(servers: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, str) or not value or set(value) & set("/ \n"):
        right = 'a server as clients name it: "kafka:9092", or several with commas between'
        raise allowed.refused("KafkaServers", attribute.name, right, value)


@attrs.frozen
class KafkaServers:
    """The address of a cluster, as its clients have it in `bootstrap.servers`.

    Producers and consumers that user code makes with confluent-kafka, aiokafka or kafka-python for
    this address talk to the cluster, in virtual time. Their operations are sites, with the faults
    of `Kafka`.

    Args:
        address: `kafka:9092`, or several with commas between; a client needs one of them.
        cluster: The `Kafka` behind it, a part of the system.
    """

    address: str = attrs.field(validator=_address)
    cluster: Any

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.cluster, Kafka):
            raise InvalidDefinition(
                f"KafkaServers({self.address!r}) needs the Kafka behind it, not "
                f"{self.cluster!r}{asked_at()}"
            )
        self.prepare()
        refuse_late(MET)

    @property
    def name(self) -> str:
        """What the system knows it by."""
        return f"kafka:{self.address.replace(',', '+')}"

    @property
    def speaks(self) -> tuple[str, ...]:
        """The client libraries that it meets."""
        return ("aiokafka", "confluent-kafka", "kafka-python")

    def prepare(self) -> None:
        """Have client libraries met, before a run begins."""
        speak(MET)

    def open(self, world: World) -> OpenServers:
        """Return it for one run.

        Raises:
            InvalidDefinition: The cluster is no part of the system.
        """
        state = world.states.get(self.cluster.name)
        if not isinstance(state, OpenKafka) or declared(state) is not self.cluster:
            raise InvalidDefinition(
                f"KafkaServers({self.address!r}) stands for {self.cluster.name!r}, which is no "
                "part of this system: add(...) that first"
            )
        return OpenServers(frozenset(self.address.split(",")), state)


@attrs.frozen(eq=False)
class OpenServers:
    """An address during one run."""

    addresses: frozenset[str]
    cluster: OpenKafka

    def close(self) -> None:
        """There is nothing to let go of."""


def cluster_at(scope: Scope, library: str, servers: Any) -> OpenKafka:
    """Return the cluster behind what a client has in `bootstrap.servers`.

    Raises:
        InvalidDefinition: There is none, which calls the run off.
    """
    asked = set(str(servers or "").replace(" ", "").split(","))
    found = [one for one in scope.world.states.values() if isinstance(one, OpenServers)]
    meant = [one for one in found if one.addresses & asked]
    if len({one.cluster.name for one in meant}) > 1:
        names = " and ".join(repr(one.cluster.name) for one in meant)
        call_off(
            InvalidDefinition(
                f"{library}: {scope.place} makes a client of bootstrap.servers={servers!r}"
                f"{asked_at()}, which are two clusters, {names}: make a client for each"
            )
        )
    if meant:
        return meant[0].cluster
    known = ", ".join(sorted(",".join(sorted(one.addresses)) for one in found)) or "none"
    call_off(
        InvalidDefinition(
            f"{library}: {scope.place} makes a client of bootstrap.servers={servers!r}"
            f"{asked_at()}, and this system has no such servers; it has: {known}. Add what "
            "stands behind them: "
            f'KafkaServers("{servers}", bus)'
        )
    )
