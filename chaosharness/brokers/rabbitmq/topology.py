"""What is declared on a RabbitMQ broker: queues with their arguments, exchanges with bindings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.kernel import allowed
from chaosharness.machines.rabbitmq.exchanges import (
    EXCHANGE_KINDS,
    MATCH,
    MATCHES,
    Binding,
    ExchangeKind,
    OpenExchange,
)
from chaosharness.machines.rabbitmq.kept import Kind
from chaosharness.machines.rabbitmq.versions import NO_LIMIT

KINDS: Final = ("classic", "quorum", "stream")
STRATEGIES: Final = ("at-most-once", "at-least-once")
OVERFLOWS: Final = ("drop-head", "reject-publish", "reject-publish-dlx")

_flag: Final = allowed.flag()
_name: Final = allowed.text_or_none()
_optional_count: Final = allowed.whole_or_none(0)


@attrs.frozen
class Queue:
    """A queue and its arguments. Unless told otherwise it is durable, shared and without an end.

    Args:
        kind: `classic` or `quorum`. It decides where a message goes that comes back: to
            its original place (classic), or to a list of returned messages that is served
            first, or to the tail (quorum; see `QuorumOrder`). Or `stream`: a log, from which
            nothing is taken out; each consumer says where it begins.
        dead_letter: Name of the queue that dead letters go to: short for an exchange of
            `""` and this routing key.
        dead_letter_exchange: Exchange that dead letters are published to; None drops them.
        dead_letter_routing_key: Replaces the routing key of dead letters.
        dead_letter_strategy: `at-least-once` (quorum, with `overflow="reject-publish"`; otherwise
            it counts for nothing) keeps a dead letter until each queue that it goes to has taken
            it, also where there is none yet. With `at-most-once` it is gone then.
        delivery_limit: How often a message may come back (quorum); one more and it is
            dead-lettered. -1 for no limit. By default none in 3.x, 20 from 4.0 on.
        ttl_ms: How long a message may wait. It expires at the head of its queue only.
        length_max: How many messages may be ready. In a quorum queue the limit is soft:
            with `reject-publish` one more gets in.
        overflow: What gives way when the queue is full: `drop-head` dead-letters the
            oldest, `reject-publish` refuses the new one, `reject-publish-dlx` also
            dead-letters it (classic).
        priority_max: Messages of higher priority go first (classic). A quorum queue needs no
            such argument: from 4.0 on it tells two priorities apart, from 4.3 on 32.
        single_active_consumer: Only the first consumer receives, until it goes.
        durable: Whether it outlives the node, with its persistent messages.
        exclusive: Whether it is of the connection that consumes it, and goes with that: each
            connection makes it anew, empty.
        auto_delete: Whether it goes with its last consumer.
        expires_ms: How long it may be without consumers, until it goes.

    Raises:
        ValueError: A count is negative.
        InvalidDefinition: The arguments contradict each other, as RabbitMQ would say.

    Source:
        RabbitMQ 4.3 documentation, pages "Queues", "Quorum Queues", "Dead Letter
        Exchanges", "Time-To-Live", "Queue Length Limit", "Consumers", "Streams".

    Not modelled:
        Policies; `length_max` in bytes; delayed retries of quorum queues; that
        `at-least-once` tries again every three minutes (here it is at once, when there is a queue
        or room in it), and that it may send a letter twice; how long a stream keeps its messages.
    """

    kind: Kind = attrs.field(default="classic", validator=allowed.one_of(*KINDS))
    dead_letter: str | None = attrs.field(default=None, validator=_name, kw_only=True)
    dead_letter_exchange: str | None = attrs.field(default=None, validator=_name, kw_only=True)
    dead_letter_routing_key: str | None = attrs.field(default=None, validator=_name, kw_only=True)
    dead_letter_strategy: Literal["at-most-once", "at-least-once"] = attrs.field(
        default="at-most-once", validator=allowed.one_of(*STRATEGIES), kw_only=True
    )
    delivery_limit: int | None = attrs.field(
        default=None,
        validator=allowed.whole_or_none(NO_LIMIT),
        kw_only=True,
    )
    ttl_ms: int | None = attrs.field(default=None, validator=_optional_count, kw_only=True)
    length_max: int | None = attrs.field(default=None, validator=_optional_count, kw_only=True)
    overflow: Literal["drop-head", "reject-publish", "reject-publish-dlx"] = attrs.field(
        default="drop-head", validator=allowed.one_of(*OVERFLOWS), kw_only=True
    )
    priority_max: int | None = attrs.field(default=None, validator=_optional_count, kw_only=True)
    single_active_consumer: bool = attrs.field(default=False, validator=_flag, kw_only=True)
    durable: bool = attrs.field(default=True, validator=_flag, kw_only=True)
    exclusive: bool = attrs.field(default=False, validator=_flag, kw_only=True)
    auto_delete: bool = attrs.field(default=False, validator=_flag, kw_only=True)
    expires_ms: int | None = attrs.field(
        default=None, validator=allowed.whole_or_none(1), kw_only=True
    )

    def __attrs_post_init__(self) -> None:
        if self.dead_letter is not None and self.dead_letter_exchange is not None:
            raise InvalidDefinition(
                "a queue has either dead_letter (a queue) or dead_letter_exchange, not both"
            )
        if self.kind != "quorum" and self.delivery_limit is not None:
            raise InvalidDefinition(f"a {self.kind} queue has no delivery_limit: use kind='quorum'")
        if self.kind != "quorum" and self.dead_letter_strategy != "at-most-once":
            raise InvalidDefinition(
                f"a {self.kind} queue has no dead_letter_strategy: use kind='quorum'"
            )
        if self.kind == "quorum" and self.priority_max is not None:
            raise InvalidDefinition("a quorum queue has no priority_max: use kind='classic'")
        if self.kind != "classic":
            self._check_replicated()

    def _check_replicated(self) -> None:
        """Refuse what only classic queues have, as the broker does with 406."""
        plain = {
            "durable=False": not self.durable,
            "exclusive": self.exclusive,
            "auto_delete": self.auto_delete,
            "overflow='reject-publish-dlx'": self.overflow == "reject-publish-dlx",
        }
        if self.kind == "stream":
            plain |= {
                "dead letters": self.dead_letters() is not None,
                "ttl_ms": self.ttl_ms is not None,
                "length_max": self.length_max is not None,
                "priority_max": self.priority_max is not None,
                "single_active_consumer": self.single_active_consumer,
            }
        for what, asked in plain.items():
            if asked:
                raise InvalidDefinition(
                    f"a {self.kind} queue has no {what}: RabbitMQ refuses it; use kind='classic'"
                )

    def dead_letters(self) -> tuple[str, str | None] | None:
        """Return exchange and routing key (None: the message's own) of dead letters."""
        if self.dead_letter is not None:
            return "", self.dead_letter
        if self.dead_letter_exchange is None:
            return None
        return self.dead_letter_exchange, self.dead_letter_routing_key


def _bindings(bindings: Any) -> dict[str, Any]:
    if isinstance(bindings, str):
        bindings = (bindings,)
    if not isinstance(bindings, Mapping):
        bindings = {"": bindings}
    return {
        str(key): dict(bound) if isinstance(bound, Mapping) else _bound(bound)
        for key, bound in bindings.items()
    }


def _bound(names: Any) -> tuple[str, ...]:
    """Read what is bound by one key: a queue or an exchange, or several."""
    found = (names,) if isinstance(names, str) else names
    if not isinstance(found, Iterable) or not all(isinstance(one, str) for one in found):
        right = '{"order.*": "billing", "#": ["audit"]}; for a fanout the names of queues'
        raise allowed.refused("Exchange", "bindings", right, names)
    return tuple(found)


@attrs.frozen
class Exchange:
    """An exchange and its bindings.

    >>> Exchange("topic", {"order.*": "billing", "#": ["audit"]})
    >>> Exchange("fanout", ["billing", "audit"])
    >>> Exchange("headers", {"billing": {"x-match": "any", "format": "pdf", "paid": True}})
    >>> Exchange("topic", {"order.*": "billing"}, exchanges={"#": "audit"}, alternate="unrouted")

    Args:
        kind: `direct` (routing key is the binding key), `topic` (`*` stands for one word,
            `#` for any number of words), `fanout` (the key does not matter) or `headers`.
        bindings: Queue, or queues, of each binding key; for a fanout just the queues; for a
            headers exchange the headers that each queue asks for.
        exchanges: The same for other exchanges that get what comes here.
        alternate: The exchange for what goes nowhere from here. One that is not there drops it.
        durable: Whether it outlives the node.

    Source:
        RabbitMQ 4.3 documentation, pages "Exchanges", "Exchange to Exchange Bindings" and
        "Alternate Exchanges".
    """

    kind: ExchangeKind = attrs.field(validator=allowed.one_of(*EXCHANGE_KINDS))
    bindings: Mapping[str, Any] = attrs.field(factory=dict, converter=_bindings)
    exchanges: Mapping[str, Any] = attrs.field(factory=dict, converter=_bindings, kw_only=True)
    alternate: str | None = attrs.field(default=None, validator=_name, kw_only=True)
    durable: bool = attrs.field(default=True, validator=_flag, kw_only=True)

    def __attrs_post_init__(self) -> None:
        for bindings in (self.bindings, self.exchanges):
            if self.kind == "headers":
                for bound in bindings.values():
                    check_headers(bound)
            elif any(isinstance(bound, Mapping) for bound in bindings.values()):
                right = '{"order.*": "billing"}: names by key; headers are for kind="headers"'
                raise allowed.refused("Exchange", "bindings", right, bindings)
            elif self.kind != "fanout" and "" in bindings and len(bindings) == 1:
                raise InvalidDefinition(
                    f"a {self.kind} exchange binds by key: write {{'order.created': 'billing'}}"
                )

    def leads_to(self) -> Iterator[Binding]:
        """Return its bindings one by one."""
        destinations: tuple[tuple[Literal["queue", "exchange"], Mapping[str, Any]], ...] = (
            ("queue", self.bindings),
            ("exchange", self.exchanges),
        )
        for destination, bindings in destinations:
            for key, bound in bindings.items():
                if isinstance(bound, Mapping):
                    yield Binding(destination, key, "", bound)
                    continue
                for name in bound:
                    yield Binding(destination, name, key)

    def route(self, key: str, headers: Mapping[str, Any] | None = None) -> tuple[str, ...]:
        """Return the queues that are bound here for such a message: each once."""
        bindings = self.open("").matching(key, headers or {})
        names = (one.name for one in bindings if one.destination == "queue")
        return tuple(dict.fromkeys(names))

    def open(self, name: str) -> OpenExchange:
        """Return it, as it is when a run begins."""
        return OpenExchange(
            name, self.kind, self.leads_to(), alternate=self.alternate, durable=self.durable
        )


def check_headers(bound: Any) -> None:
    """Refuse what no headers exchange can be bound by.

    Raises:
        InvalidValue: It is no mapping, or its `x-match` is none.
    """
    right = f'{{"billing": {{"x-match": "all", "format": "pdf"}}}}; x-match: {", ".join(MATCHES)}'
    if not isinstance(bound, Mapping) or bound.get(MATCH, "all") not in MATCHES:
        raise allowed.refused("Exchange", "bindings", right, bound)


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
        for one in exchange.leads_to():
            among = queues if one.destination == "queue" else exchanges
            _known((one.name,), among, f"exchange {name!r} is bound to {one.destination}")
        if exchange.alternate is not None:
            _known((exchange.alternate,), exchanges, f"the alternate of exchange {name!r} is")
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
            raise InvalidDefinition(
                f"{what} {name!r}, which is not declared; declared: {declared}. Say it in "
                "queues= or exchanges=, also where the code under test declares it by itself, later"
            )
