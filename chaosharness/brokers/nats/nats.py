"""NATS JetStream: streams that keep messages, and consumers that hand them out on lease.

Source:
    NATS documentation ("JetStream", "Streams", "Consumers", "JetStream model deep dive") and
    nats-server 2.15. See the machine, `chaosharness/machines/nats`, for the rules, and `rows.py`
    for what may strike where.

Not modelled:
    Core NATS: subjects that no stream keeps, request and reply, queue groups. Push consumers.
    Making, changing and deleting streams and consumers while a system runs, ordered consumers
    aside. Clients that repeat a publish by themselves (nats.go does where nobody answered, and
    then nothing was stored). What else the machine leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final, Literal

import attrs

from chaosharness.brokers.intake import Intake, check_options
from chaosharness.brokers.lane import Lane, Publish, in_turn, is_disturbed
from chaosharness.brokers.message import NO_HEADERS, POISON, Decode, Message, encode, key_of
from chaosharness.brokers.nats.core import Core
from chaosharness.brokers.nats.desk import Desk
from chaosharness.brokers.nats.errors import NATSError, answered
from chaosharness.brokers.nats.loop import LOOP_OPTIONS, Consumer
from chaosharness.brokers.nats.rows import PUBLISH
from chaosharness.brokers.nats.subscription import OPTIONS, Subscription
from chaosharness.brokers.trouble import one_of, refuse_words, wired_wrongly
from chaosharness.errors import InvalidDefinition
from chaosharness.faults import Poison
from chaosharness.handlers.later import LaterEffect
from chaosharness.handlers.port import Peer, Surface, current_scope, on_behalf
from chaosharness.kernel import allowed
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import World
from chaosharness.machines.machine import Refusal
from chaosharness.machines.nats import ConsumerSettings, NatsMachine, StreamSettings
from chaosharness.machines.nats import operations as op
from chaosharness.machines.nats.settings import numbers
from chaosharness.machines.nats.subjects import is_literal, matches, overlap

SKIP_OR_CRASH: Final = ("skip", "crash")
HANDLER_WITHOUT_ACKS: Final = {"on_error": SKIP_OR_CRASH, "on_unreadable": SKIP_OR_CRASH}
LOOP_WITHOUT_ACKS: Final = {"on_unreadable": ("raise", "skip")}
"""What a consumer can do that gives nothing back, an ordered one too; the first is its default."""

PAYLOAD_MAX: Final = 1 << 20
TOO_LARGE: Final = Refusal("0", "nats: maximum payload exceeded")
"""How many bytes a payload may have, and what a client says of a larger one.

*Source*: nats-server 2.15, `max_payload`, by default; nats-py, `MaxPayloadError`."""

FORBIDDEN: Final = frozenset(" .*>/\\")
Deliver = Literal["all", "last", "new", "by_start_sequence", "by_start_time", "last_per_subject"]


def _patterns(given: Any) -> Any:
    return (given,) if isinstance(given, str) else tuple(given)


@attrs.frozen(kw_only=True)
class NATSConsumer:
    """A durable consumer of a stream.

    Args:
        filters: The subject it wants, or several; none: all of its stream.
        ack: AckPolicy. `explicit`: each message is acknowledged. `all`: an acknowledgement is one
            of all messages before it too, handled or not. `none`: a message is done once it is
            sent, so that it is lost with whoever was to handle it.
        ack_wait_ms: How long a message may be held before it is handed out again: AckWait.
        deliver_max: How often a message is handed out; then it never is again: MaxDeliver. -1: no
            limit.
        ack_pending_max: Messages in hands, or on their way back, at a time: MaxAckPending.
        backoff_ms: AckWait of the first delivery, of the second, and so on: BackOff.
        deliver: Where it begins, if the stream has messages by then: DeliverPolicy.
        start: The sequence, or the time, of the two policies that take one.
        dead_subject: Where handlers publish what they put aside. JetStream itself has no dead
            letters.

    Raises:
        ValueError: A value is out of the range that the server accepts.
    """

    filters: tuple[str, ...] = attrs.field(default=(), converter=_patterns)
    ack: Literal["explicit", "all", "none"] = "explicit"
    ack_wait_ms: int = 30_000
    deliver_max: int = -1
    ack_pending_max: int = 1_000
    backoff_ms: tuple[int, ...] = attrs.field(default=(), converter=numbers)
    deliver: Deliver = "all"
    start: int | None = None
    dead_subject: str | None = None

    def __attrs_post_init__(self) -> None:
        _ = self.settings  # checks them

    @cached_property
    def settings(self) -> ConsumerSettings:
        """What the machine goes by."""
        words = attrs.asdict(self, recurse=False)
        del words["dead_subject"]
        return ConsumerSettings(**words)


@attrs.frozen(kw_only=True)
class NATSStream:
    """A stream: the subjects it keeps, for how long, and who consumes them.

    Args:
        subjects: What it keeps, wildcards and all; by default the subject of its own name.
        retention: `limits`: until a limit is reached. `interest`: until each consumer that wants
            it has acknowledged it. `workqueue`: until the one consumer that wants it has.
        msgs_max: Messages it keeps; -1: no limit.
        msgs_per_subject_max: Messages it keeps of each subject; -1: no limit.
        age_ms_max: How long it keeps a message; 0: no limit.
        discard: What gives way at `msgs_max`: the `old`est, or the `new` one, which is refused.
        duplicate_window_ms: How long a message id is recognised; by default two minutes.
        consumers: Its consumers by name: `{"billing": NATSConsumer(filters="orders.*")}`.

    Raises:
        ValueError: A value is out of the range that the server accepts.
    """

    subjects: tuple[str, ...] = attrs.field(default=(), converter=_patterns)
    retention: Literal["limits", "interest", "workqueue"] = "limits"
    msgs_max: int = -1
    msgs_per_subject_max: int = -1
    age_ms_max: int = 0
    discard: Literal["old", "new"] = "old"
    duplicate_window_ms: int | None = None
    consumers: Mapping[str, NATSConsumer] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.settings("any")  # checks them

    def settings(self, name: str) -> StreamSettings:
        """Return what the machine goes by."""
        words = attrs.asdict(self, recurse=False)
        del words["consumers"]
        words["subjects"] = self.subjects or (name,)
        return StreamSettings(**words)


def _streams(given: Any) -> dict[str, NATSStream]:
    if isinstance(given, str):
        given = (given,)
    if isinstance(given, list | tuple | set | frozenset):
        names = sorted(given) if isinstance(given, set | frozenset) else given
        given = {name: NATSStream(consumers={name: NATSConsumer()}) for name in names}
    if not isinstance(given, Mapping):
        right = 'names, or {"ORDERS": NATSStream(...)}'
        raise allowed.refused("NATS", "streams", right, given)
    for name, stream in given.items():
        _check_name("a stream", name)
        if not isinstance(stream, NATSStream):
            raise InvalidDefinition(f"stream {name!r} must be a NATSStream, not {stream!r}")
        for consumer, one in stream.consumers.items():
            _check_name(f"a consumer of {name!r}", consumer)
            if not isinstance(one, NATSConsumer):
                raise InvalidDefinition(
                    f"consumer {consumer!r} of stream {name!r} must be a NATSConsumer, not {one!r}"
                )
    return dict(given)


def _check_name(what: str, name: Any) -> None:
    if not isinstance(name, str) or not name or FORBIDDEN & {*name}:
        right = "text without spaces, dots, '*', '>' and slashes (as NATS has it)"
        raise allowed.refused("NATS", f"the name of {what}", right, name)


@attrs.frozen
class NATS:
    """The JetStream of an account.

    `env.publisher(nats)` gives `publish(subject, value, key=None, headers=None, message_id=None)`:
    one connection, whose messages keep their order. See `OpenNATS.publish`.

    `env.consume(nats, consumer, handler, ...)` takes `batch`, `acknowledge` (`after` or `before`),
    `on_error` (`retry`, `nak`, `skip`, `term`, `dead-letter`, `crash`), `retries_max`,
    `on_unreadable`, `backoff_ms` and `concurrency`; see `Subscription`. With `ordered=True` it
    takes a stream instead of a consumer: an ordered consumer for each process, from where `deliver`
    says (`all` or `new`), without acknowledgements; `on_error` is `skip` or `crash` then.

    `env.consumer(nats, consumer, on_unreadable=...)` gives a loop `fetch(most=1, wait_s=5)`,
    `ack(delivery)`, `ack_sync(delivery)`, `nak(delivery, delay_s=None)`, `in_progress(delivery)`,
    `term(delivery, reason="")`, `metadata(delivery)` and `get(stream, sequence)`; likewise with
    `ordered=True`.

    Args:
        name: What reports call it.
        streams: Names, each a stream of one subject with one consumer, all of that name; or a
            `NATSStream` for each name.
        latency_ms: From the server to a client that waits.
        timeout_ms: How long a caller waits for an answer.
        url: What code under test that uses nats-py connects to, where a system has several
            servers: `nats://nats.internal`. By default it stands for any.

    Raises:
        InvalidDefinition: The server would refuse a stream or a consumer; two consumers have one
            name.
    """

    name: str = attrs.field(validator=allowed.text())
    streams: Mapping[str, NATSStream] = attrs.field(converter=_streams)
    latency_ms: int = attrs.field(default=1, validator=allowed.whole(0), kw_only=True)
    timeout_ms: int = attrs.field(default=5_000, validator=allowed.whole(1), kw_only=True)
    url: str | None = attrs.field(
        default=None, validator=attrs.validators.optional(allowed.text()), kw_only=True
    )

    @property
    def speaks(self) -> tuple[str, ...]:
        """The libraries whose calls it is met by."""
        return ("nats",)

    def __attrs_post_init__(self) -> None:
        machine = NatsMachine()
        known: dict[str, str] = {}
        for stream, (settings, consumers) in self.settings.items():
            self._accept(machine, op.CreateStream(stream, settings), f"stream {stream!r}")
            for name, one in consumers.items():
                what = f"consumer {name!r} of stream {stream!r}"
                self._accept(machine, op.CreateConsumer(stream, name, one), what)
                for subject in one.filters:
                    if not any(overlap(subject, kept) for kept in settings.subjects):
                        raise InvalidDefinition(
                            f"{self.name}: {what} wants {subject!r}, and its stream keeps "
                            f"{', '.join(settings.subjects)}: it would never get anything"
                        )
                if name in known:
                    raise InvalidDefinition(
                        f"{self.name}: {what} has the name of one of stream {known[name]!r}; "
                        "services consume by this name, so give it another one"
                    )
                known[name] = stream
                self._check_dead_subject(what, self.streams[stream].consumers[name].dead_subject)

    def _accept(self, machine: NatsMachine, operation: Any, what: str) -> None:
        refusal = machine.apply(operation, 0)
        if isinstance(refusal, Refusal):
            raise InvalidDefinition(f"{self.name}: the server refuses {what}: {refusal}")

    def _check_dead_subject(self, what: str, subject: str | None) -> None:
        kept = [one for settings, _ in self.settings.values() for one in settings.subjects]
        if subject is not None and not any(matches(pattern, subject) for pattern in kept):
            raise InvalidDefinition(
                f"{self.name}: {what} puts messages aside on {subject!r}, but no stream keeps it; "
                f"they keep: {', '.join(kept)}"
            )

    @cached_property
    def settings(self) -> dict[str, tuple[StreamSettings, dict[str, ConsumerSettings]]]:
        """What the machine goes by: of each stream, and of its consumers."""
        return {
            name: (
                stream.settings(name),
                {consumer: one.settings for consumer, one in stream.consumers.items()},
            )
            for name, stream in self.streams.items()
        }

    def goes_to(self, topic: str | None, exchange: str) -> list[tuple[str, str]]:
        """Return the streams and consumers that want a subject, with this broker's name."""
        found = []
        for name, stream in self.streams.items():
            subjects = stream.subjects or (name,)
            if topic is None or any(matches(one, topic) for one in subjects):
                found.append((self.name, name))
                for each, consumer in stream.consumers.items():
                    if topic is None or any(matches(f, topic) for f in consumer.filters or (">",)):
                        found.append((self.name, each))
        return found

    def open(self, world: World) -> OpenNATS:
        """Return these streams, empty, for one run."""
        return OpenNATS(self, world)


Draft = tuple[Message, str | None, op.Expected | None, str, op.Asks | None]
"""A message to be published: its id, what it expects; the name of the one in hand; what it asks."""


class OpenNATS(Desk):
    """JetStream during one run, as services use it."""

    def __init__(self, definition: NATS, world: World) -> None:
        super().__init__(definition, world)
        self.streams = definition.streams
        self.url = definition.url
        self.clients: dict[Any, Any] = {}
        self.buckets: set[str] = set()
        self.core = Core(self)
        self.disturbed = is_disturbed(world, definition.name)

    # ---- publishing

    def publisher(self) -> Callable[..., Any]:
        """Return a publisher with a connection of its own. See `publish`."""
        return Publish(self.publish, lane=Lane())

    def publish(
        self,
        topic: str,
        value: Any,
        *,
        key: str | bytes | None = None,
        headers: Mapping[str, Any] | None = None,
        message_id: str | None = None,
        expected_sequence: int | None = None,
        lane: Lane,
        **unknown: Any,
    ) -> Any:
        """Publish a message on the subject `topic`, and wait for the stream's answer.

        In an `async` handler, await it.

        Args:
            topic: A subject that a stream keeps.
            value: Payload.
            key: Correlates the message with its workload item; NATS does not see it.
            headers: Headers.
            message_id: `Nats-Msg-Id`: what has the id of an earlier message, within the window of
                its stream, is accepted, and not stored.
            expected_sequence: The sequence that the last message of the stream must have.
            lane: Of its connection.

        Raises:
            NATSError: JetStream refuses: no stream keeps the subject, a stream is full. Or (0) the
                client does: the payload has more than 1 MiB, which is `max_payload`.
            UnserialisablePayload: The value has no JSON form.
            TimeoutError: No answer: it may have been stored.
            ConnectionError: Refused for now: it was not stored.
        """
        if unknown:
            refuse_words(self.publish, self.name, unknown)
        world = self.world
        scope = current_scope("publish", world)
        if not isinstance(topic, str) or not is_literal(topic):
            raise InvalidDefinition(
                f"{scope.place} publishes on {topic!r}: a subject is words between dots, without "
                "wildcards and spaces"
            )
        body = encode(value, topic)
        if len(body) > PAYLOAD_MAX:
            raise NATSError(f"{scope.place}/{self.name}.publish {topic}", TOO_LARGE)
        name, entity = None, scope.entity
        if key is not None:
            name = key_of(key, topic)
            entity = world.entity_for(name, entity)
        message = Message(topic, name, headers or NO_HEADERS, body, entity, scope.hops + 1)
        expected = None if expected_sequence is None else op.Expected(sequence=expected_sequence)
        draft = (message, message_id, expected, scope.message, None)
        return self.send(lane, scope, entity, draft, self)

    def send(
        self,
        lane: Lane,
        scope: Scope,
        entity: int,
        draft: Draft,
        peer: Peer,
        called: str = "",
        surface: Surface = PUBLISH,
    ) -> Any:
        """Pass the port of a publisher, on behalf of a workload item.

        Args:
            lane: Of its connection.
            scope: Who publishes.
            entity: The workload item.
            draft: What.
            peer: The server, with the errors that this client sees.
            called: What sites call the subject, where it is another one in each run.
            surface: What may strike.
        """
        world = self.world
        operation = f"{scope.place}/{self.name}.publish {called or draft[0].topic}"
        place = (operation, entity, scope.message)
        world.counts[place] = attempt = world.counts.get(place, 0) + 1
        if operation not in world.surfaces:
            world.meet(operation, surface)
        if self.disturbed or world.unreachable:
            script = in_turn(lane, scope, operation, attempt, self._store, draft, peer)
            return scope.colour.drive(on_behalf(scope, entity, scope.message, script), scope)
        if scope.colour.is_async:
            return LaterEffect(scope, entity, self._store, operation, attempt, draft)
        own = scope.entity
        if entity == own:
            return self._store(scope, operation, attempt, draft)
        scope.entity = entity
        try:
            return self._store(scope, operation, attempt, draft)
        finally:
            scope.entity = own

    def _store(self, scope: Scope, operation: str, attempt: int, draft: Draft) -> op.Published:
        """Publish a message at a site where a fault may have changed what is published."""
        message, message_id, expected, in_hand, asks = draft
        body = message.body
        name = self.world.publications.name
        message.name = name(operation, message.entity, in_hand, body)
        for fault in scope.struck:
            if isinstance(fault, Poison):
                self._poison(scope, message, fault)
        topic = message.topic
        publish = op.Publish(topic, body or b"", message, message_id, expected, asks)
        answer: op.Published = answered(operation, self.do(publish, scope, operation, attempt))
        if answer.stream in self.buckets:
            self.world.raw[message.published][-1]["kept"] = (
                True  # it is what its bucket holds, and no word to anybody
            )
        if not answer.duplicate:
            self.core.spread(message)
        return answer

    def _poison(self, scope: Scope, message: Message, fault: Poison) -> None:
        """Publish what nobody can read just ahead of another message."""
        body = POISON[fault.content]
        poison = Message(message.topic, None, NO_HEADERS, body, 0, message.hops)
        poison.name = self.world.publications.poison_at(message.name)
        own, scope.entity = scope.entity, 0
        self.do(op.Publish(message.topic, body, poison), scope)
        scope.entity = own

    # ---- consuming

    def consume(self, intake: Intake, source: str, *, service: str, **options: Any) -> None:
        """Have a handler called per message: see `Subscription` for the options."""
        try:
            check_options(options, OPTIONS)
            given = self._given(source, intake.place, options, HANDLER_WITHOUT_ACKS)
            limit = -1 if given["made"] else self._consumer(source).deliver_max
            subscription = Subscription(
                desk=self,
                intake=intake,
                source=source,
                service=service,
                deliver_max=limit,
                **given,
                **options,
            )
        except (TypeError, ValueError) as error:
            raise wired_wrongly(intake.place, repr(source), error) from None
        subscription.begin()

    def consumer(
        self,
        incarnation: Incarnation,
        sources: tuple[str, ...],
        decode: Decode,
        *,
        service: str,
        **options: Any,
    ) -> Any:
        """Return a consumer for a main loop: see `Consumer` for the options."""
        if len(sources) != 1:
            names = ", ".join(sources)
            raise InvalidDefinition(
                f"{service} consumes {names}: one consumer fetches from one; give one with filters"
            )
        source = sources[0]
        try:
            check_options(options, LOOP_OPTIONS)
            given = self._given(source, service, options, LOOP_WITHOUT_ACKS)
            return Consumer(self, incarnation, source, decode, service=service, **given, **options)
        except (TypeError, ValueError) as error:
            raise wired_wrongly(service, repr(source), error) from None

    def _consumer(self, source: str) -> NATSConsumer:
        return self.streams[self.consumers[source][0]].consumers[source]

    def _given(
        self,
        source: str,
        who: str,
        options: dict[str, Any],
        choices: Mapping[str, tuple[str, ...]],
    ) -> dict[str, Any]:
        """Return what a source brings along: where to put aside, how to make an ordered one."""
        ordered = options.pop("ordered", False)
        deliver = options.pop("deliver", None)
        known: Mapping[str, Any] = self.streams if ordered else self.consumers
        self._check(source, who, known, "stream" if ordered else "consumer")
        if ordered or not self.takes_acks(source):
            for option, words in choices.items():
                one_of(words, **{option: options.setdefault(option, words[0])})
        if ordered:
            made = ConsumerSettings(ack="none", deliver=deliver or "all")
            return {"dead_subject": None, "made": made}
        if deliver is not None:
            raise ValueError("deliver=... is for ordered=True; a NATSConsumer has its own")
        return {"dead_subject": self._consumer(source).dead_subject, "made": None}

    def _check(self, source: str, who: str, known: Mapping[str, Any], what: str) -> None:
        if source not in known:
            names = ", ".join(sorted(known)) or "none"
            raise InvalidDefinition(f"{who}: {self.name} has no {what} {source!r}; it has: {names}")
