"""Replicas that had nothing to do: what two of them do at once was hardly tried then."""

from __future__ import annotations

from collections import Counter

from chaosharness.kernel.history import History


def idle_replicas(calm: History) -> tuple[str, ...]:
    """Say of which services one replica alone was handed all that came, in a run without faults.

    One sentence each; of services that are handed two messages at least, of two workload items.
    Keys decide who is handed what, or who asks first: with other keys, or with more than one
    receive takes (SQS) or one channel holds (RabbitMQ), both may work at once.
    """
    started = {calm.raw[at][2].partition("/")[0] for at in calm.places_of("start")}
    several = Counter(name.partition("#")[0] for name in started)
    handed: dict[str, dict[str, set[int]]] = {}
    for event in calm.of("deliver"):
        service, number, _ = str(event.data.get("to", "")).partition("#")
        if number and several[service] > 1:
            who = str(event.data["to"]).partition("/")[0]
            handed.setdefault(service, {}).setdefault(who, set()).add(event.entity)
    return tuple(
        f"{next(iter(whom))} was handed all that came for {service} without faults, "
        f"{_others(several[service])} nothing: what they do at once was hardly tried. Examples "
        "with other keys may spread them, or more of them than one takes at a time"
        for service, whom in handed.items()
        if len(whom) == 1 and len(next(iter(whom.values()))) > 1
    )


def _others(several: int) -> str:
    return "the other replica" if several == 2 else f"the other {several - 1} replicas"
