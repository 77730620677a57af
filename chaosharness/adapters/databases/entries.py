"""Entries of a stream as redis-py hands them on: going to one says whose it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chaosharness.adapters.aws.received import Received
from chaosharness.brokers.redis.desk import Held
from chaosharness.handlers.attribution import adopt, takes_by_itself
from chaosharness.kernel.scope import Scope


def told_whose(scope: Scope, answer: Any, held: dict[str, Held]) -> Any:
    """Return what a client made of an answer, with lists that say whose entry they come to.

    Args:
        scope: Whose code goes through it.
        answer: Lists or dicts, with lists of entries inside: `[(id, fields), ...]`.
        held: The entries that were handed out, by id.
    """
    if not takes_by_itself(scope):
        return answer
    if isinstance(answer, dict):
        return {name: told_whose(scope, one, held) for name, one in answer.items()}
    if not isinstance(answer, list):
        return answer
    if answer and all(_is_entry(one) for one in answer):
        return Received(answer, _follow(scope, answer, held))
    return [told_whose(scope, one, held) for one in answer]


def _is_entry(one: Any) -> bool:
    return isinstance(one, tuple) and len(one) >= 2 and isinstance(one[1], dict)


def _follow(scope: Scope, entries: list[Any], held: dict[str, Held]) -> Callable[[int], None]:
    words = [one[0].decode() if isinstance(one[0], bytes) else one[0] for one in entries]

    def go_to(index: int) -> None:
        one = held.get(words[index])
        if one is not None:
            message = one.message
            adopt(
                scope,
                entity=message.entity,
                message=message.name,
                cause=one.cause,
                hops=message.hops,
            )

    return go_to
