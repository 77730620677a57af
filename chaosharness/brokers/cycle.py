"""Naming an event cycle: messages that cause each other round and round."""

from __future__ import annotations

from chaosharness.kernel.history import History


def cycle(history: History, published: int, hops: int) -> str:
    """Name the topics that the causes of a message go round and round in.

    Args:
        history: The run so far.
        published: Event that published the message.
        hops: How many messages in a row there were, with this one.
    """
    topics: list[str] = []
    for event in history.causes(published):
        if event.kind == "publish":
            if event.data["topic"] in topics:
                break
            topics.append(event.data["topic"])
    ring = " → ".join([*reversed(topics), topics[-1]])
    return f"an event cycle: {ring}, {hops - 1} messages in a row"
