"""What a consumer of confluent-kafka and its cluster must say alike: refused where they do not."""

from __future__ import annotations

from typing import Any, Final

from chaosharness.adapters.kafka.confluent.message import LIBRARY
from chaosharness.adapters.kafka.confluent.settings import Settings
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.places import asked_at
from chaosharness.handlers.port import call_off

_SAME: Final = {
    "session.timeout.ms": ("session_timeout_ms", 45_000),
    "max.poll.interval.ms": ("max_poll_interval_ms", 300_000),
}
"""Properties that the cluster's definition has, for all members of its groups alike."""
STRATEGIES: Final = {
    "range": "range",
    "round-robin": "roundrobin",
    "sticky": "sticky",
    "cooperative-sticky": "cooperative-sticky",
}
"""What librdkafka calls the ways in which a cluster's groups share out."""
NO_848: Final = (
    LIBRARY + ": this consumer has group.protocol=consumer{}: groups whose cluster shares out by "
    "itself (KIP-848) are not modelled. Leave it at classic for the test: "
    "assignment='cooperative-sticky' is nearest to it"
)


def check_agreed(settings: Settings, cluster: Any) -> None:
    """Refuse what contradicts the cluster, which has it for all members alike.

    Raises:
        InvalidDefinition: Something does, which calls the run off.
    """
    protocol = settings.get("group.protocol", "classic")
    if str(protocol).lower() != "classic":
        call_off(InvalidDefinition(NO_848.format(asked_at())))
    for name, (option, default) in _SAME.items():
        mine = round(settings.number(name, default))
        theirs = getattr(cluster.definition, option)
        if settings.get(name) is not None and mine != theirs:
            call_off(
                InvalidDefinition(
                    f"{LIBRARY}: this consumer has {name}={mine}{asked_at()}, and its cluster "
                    f"{option}={theirs}: say Kafka(..., {option}={mine})"
                )
            )
    wanted = settings.get("partition.assignment.strategy")
    theirs = cluster.definition.assignment
    if wanted is not None and wanted.split(",")[0].strip() != STRATEGIES[theirs]:
        words = f"and its cluster assignment={theirs!r}: both must say the same"
        call_off(
            InvalidDefinition(
                f"{LIBRARY}: this consumer has partition.assignment.strategy={wanted!r}"
                f"{asked_at()}, {words}"
            )
        )
