"""What is declared on a RabbitMQ broker: queues with their arguments, exchanges with bindings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.kernel import allowed

Kind = Literal["classic", "quorum"]
Version = Literal["3.10", "4.0", "4.3"]
VERSIONS: Final = ("3.10", "4.0", "4.3")
NO_LIMIT: Final = -1
KINDS: Final = ("classic", "quorum")
EXCHANGE_KINDS: Final = ("direct", "topic", "fanout")

_flag: Final = allowed.flag()
_name: Final = allowed.text_or_none()
_optional_count: Final = allowed.whole_or_none(0)


@attrs.frozen
class Queue:
    """A queue and its arguments. All queues are durable, shared and without an end.

    Args:
        kind: `classic` or `quorum`. It decides where a message goes that comes back: to
            its original place (classic), or to a list of returned messages that is served
            first, or to the tail (quorum; see `QuorumOrder`).
        dead_letter: Name of the queue that dead letters go to: short for an exchange of
            `""` and this routing key.
        dead_letter_exchange: Exchange that dead letters are published to; None drops them.
        dead_letter_routing_key: Replaces the routing key of dead letters.
        delivery_limit: How often a message may come back (quorum); one more and it is
            dead-lettered. -1 for no limit. By default none in 3.x, 20 from 4.0 on.
        ttl_ms: How long a message may wait. It expires at the head of its queue only.
        length_max: How many messages may be ready. In a quorum queue the limit is soft:
            with `reject-publish` one more gets in.
        overflow: What gives way when the queue is full: `drop-head` dead-letters the
            oldest, `reject-publish` refuses the new one.
        priority_max: Messages of higher priority go first (classic).
        single_active_consumer: Only the first consumer receives, until it goes.

    Raises:
        ValueError: A count is negative.
        InvalidDefinition: The arguments contradict each other, as RabbitMQ would say.

    Source:
        RabbitMQ 4.3 documentation, pages "Queues", "Quorum Queues", "Dead Letter
        Exchanges", "Time-To-Live", "Queue Length Limit", "Consumers".

    Not modelled:
        Exclusive, auto-delete and expiring queues; streams; policies; `length_max` in
        bytes; `reject-publish-dlx`; priorities and delayed retries of quorum queues;
        at-least-once dead-lettering; consumer priorities.
    """

    kind: Kind = attrs.field(default="classic", validator=allowed.one_of(*KINDS))
    dead_letter: str | None = attrs.field(default=None, validator=_name, kw_only=True)
    dead_letter_exchange: str | None = attrs.field(default=None, validator=_name, kw_only=True)
    dead_letter_routing_key: str | None = attrs.field(default=None, validator=_name, kw_only=True)
    delivery_limit: int | None = attrs.field(
        default=None,
        validator=allowed.whole_or_none(NO_LIMIT),
        kw_only=True,
    )
    ttl_ms: int | None = attrs.field(default=None, validator=_optional_count, kw_only=True)
    length_max: int | None = attrs.field(default=None, validator=_optional_count, kw_only=True)
    overflow: Literal["drop-head", "reject-publish"] = attrs.field(
        default="drop-head",
        validator=allowed.one_of("drop-head", "reject-publish"),
        kw_only=True,
    )
    priority_max: int | None = attrs.field(default=None, validator=_optional_count, kw_only=True)
    single_active_consumer: bool = attrs.field(default=False, validator=_flag, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.dead_letter is not None and self.dead_letter_exchange is not None:
            raise InvalidDefinition(
                "a queue has either dead_letter (a queue) or dead_letter_exchange, not both"
            )
        if self.kind == "classic" and self.delivery_limit is not None:
            raise InvalidDefinition("a classic queue has no delivery_limit: use kind='quorum'")
        if self.kind == "quorum" and self.priority_max is not None:
            raise InvalidDefinition("a quorum queue has no priority_max: use kind='classic'")

    def dead_letters(self) -> tuple[str, str | None] | None:
        """Return exchange and routing key (None: the message's own) of dead letters."""
        if self.dead_letter is not None:
            return "", self.dead_letter
        if self.dead_letter_exchange is None:
            return None
        return self.dead_letter_exchange, self.dead_letter_routing_key


def _bindings(bindings: Any) -> dict[str, tuple[str, ...]]:
    if isinstance(bindings, str):
        bindings = (bindings,)
    if not isinstance(bindings, Mapping):
        bindings = {"": bindings}
    return {str(key): _bound(queues) for key, queues in bindings.items()}


def _bound(queues: Any) -> tuple[str, ...]:
    """Read what is bound by one key: a queue, or several."""
    found = (queues,) if isinstance(queues, str) else queues
    if not isinstance(found, Iterable) or not all(isinstance(one, str) for one in found):
        right = '{"order.*": "billing", "#": ["audit"]}; for a fanout the names of queues'
        raise allowed.refused("Exchange", "bindings", right, queues)
    return tuple(found)


@attrs.frozen
class Exchange:
    """An exchange and its bindings.

    >>> Exchange("topic", {"order.*": "billing", "#": ["audit"]})
    >>> Exchange("fanout", ["billing", "audit"])

    Args:
        kind: `direct` (routing key is the binding key), `topic` (`*` stands for one word,
            `#` for any number of words) or `fanout` (the key does not matter).
        bindings: Queue, or queues, of each binding key; for a fanout just the queues.

    Source:
        RabbitMQ 4.3 documentation, page "Exchanges".

    Not modelled:
        Headers exchanges, bindings between exchanges, alternate exchanges.
    """

    kind: Literal["direct", "topic", "fanout"] = attrs.field(
        validator=allowed.one_of(*EXCHANGE_KINDS)
    )
    bindings: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict, converter=_bindings)

    def __attrs_post_init__(self) -> None:
        if self.kind != "fanout" and "" in self.bindings and len(self.bindings) == 1:
            raise InvalidDefinition(
                f"a {self.kind} exchange binds by key: write {{'order.created': 'billing'}}"
            )

    def route(self, key: str) -> tuple[str, ...]:
        """Return the queues that a message with this routing key goes to: each once."""
        found: dict[str, None] = {}
        for pattern, queues in self.bindings.items():
            if self._matches(pattern, key):
                found.update(dict.fromkeys(queues))
        return tuple(found)

    def _matches(self, pattern: str, key: str) -> bool:
        if self.kind == "fanout":
            return True
        if self.kind == "direct":
            return pattern == key
        return topic_matches(_words(pattern), _words(key))


def _words(key: str) -> tuple[str, ...]:
    """Return the words of a routing key: an empty one has none."""
    return tuple(key.split(".")) if key else ()


@lru_cache(maxsize=4096)
def topic_matches(pattern: tuple[str, ...], words: tuple[str, ...]) -> bool:
    """Say whether the words of a routing key match a topic pattern."""
    if not pattern:
        return not words
    first, rest = pattern[0], pattern[1:]
    if first == "#":
        return topic_matches(rest, words) or (bool(words) and topic_matches(pattern, words[1:]))
    return bool(words) and first in ("*", words[0]) and topic_matches(rest, words[1:])


def queues_of(queues: Any) -> dict[str, Queue]:
    """Read the queues of a broker: names, or names with a `Queue` or its kind."""
    if isinstance(queues, str | bytes) or not isinstance(queues, Mapping | Iterable):
        right = "names, or a mapping of names to Queue(...)"
        raise allowed.refused("RabbitMQ", "queues", right, queues)
    if not isinstance(queues, Mapping):
        queues = dict.fromkeys(queues, "classic")
    return {_named(name): _queue(name, queue) for name, queue in queues.items()}


def _queue(name: str, queue: Any) -> Queue:
    if isinstance(queue, Queue):
        return queue
    if queue in KINDS:
        return Queue(queue)
    raise InvalidDefinition(
        f"queue {name!r} must be a Queue(...), 'classic' or 'quorum', not {queue!r}"
    )


def exchanges_of(exchanges: Any) -> dict[str, Exchange]:
    """Read the exchanges of a broker: names with an `Exchange`."""
    if not isinstance(exchanges, Mapping):
        right = '{"orders": Exchange("topic", {"order.*": "billing"})}: names with an Exchange each'
        raise allowed.refused("RabbitMQ", "exchanges", right, exchanges)
    for name, exchange in exchanges.items():
        if not isinstance(exchange, Exchange):
            raise InvalidDefinition(
                f"exchange {name!r} must be an Exchange(kind, bindings), not {exchange!r}"
            )
    return {_named(name): exchange for name, exchange in exchanges.items()}


def _named(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise InvalidDefinition(f"{name!r} cannot be the name of a queue or an exchange")
    return name


def check(queues: Mapping[str, Queue], exchanges: Mapping[str, Exchange]) -> None:
    """See to it that whatever is named is declared.

    Raises:
        InvalidDefinition: A binding or a dead-letter target names nothing.
    """
    for name, exchange in exchanges.items():
        for bound in exchange.bindings.values():
            _known(bound, queues, f"exchange {name!r} is bound to queue")
    for name, queue in queues.items():
        target = queue.dead_letters()
        if target is None:
            continue
        if target[0]:
            _known(target[:1], exchanges, f"dead letters of queue {name!r} go to exchange")
        elif target[1] is not None:
            _known((target[1],), queues, f"dead letters of queue {name!r} go to queue")


def _known(names: Sequence[str | None], among: Mapping[str, Any], what: str) -> None:
    for name in names:
        if name not in among:
            declared = ", ".join(sorted(among)) or "none"
            raise InvalidDefinition(f"{what} {name!r}, which is not declared; declared: {declared}")
