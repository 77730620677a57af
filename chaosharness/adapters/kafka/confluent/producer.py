"""A producer of confluent-kafka: it sends in a thread of its own, and reports later."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from confluent_kafka import KafkaError

from chaosharness.adapters.kafka.confluent.message import LIBRARY, Message, refusal
from chaosharness.adapters.kafka.confluent.settings import Settings
from chaosharness.adapters.kafka.servers import cluster_at
from chaosharness.adapters.kafka.unwaited import standing, unwaited
from chaosharness.adapters.spoken import note_spoken
from chaosharness.adapters.unmodelled import not_modelled
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.blocking import blocking
from chaosharness.handlers.fingerprint import of_stack
from chaosharness.handlers.places import asked_at
from chaosharness.handlers.port import call_off, current_scope, wait_of
from chaosharness.handlers.script import Resume, Script
from chaosharness.kernel.scope import Scope

BACKOFF_MS: Final = 100
SECOND_MS: Final = 1_000

Report = Callable[[KafkaError | None, Message], Any]


class Draft:
    """One record on its way, and who wants to hear of it."""

    __slots__ = ("due_ms", "frame", "headers", "key", "report", "scope", "since", "topic", "value")

    def __init__(
        self,
        scope: Scope,
        topic: str,
        value: Any,
        key: Any,
        headers: Any,
        report: Report | None,
        due_ms: int,
    ) -> None:
        self.scope = scope
        self.topic = topic
        self.value = value
        self.key = key
        self.headers = headers
        self.report = report
        self.due_ms = due_ms
        self.since = 0


class Producer:
    """What stands for `confluent_kafka.Producer` inside a run."""

    def __init__(self, *given: Any, **options: Any) -> None:
        settings = Settings("Producer", given, options)
        scope = current_scope("confluent_kafka.Producer")
        self._cluster = cluster_at(scope, LIBRARY, settings.get("bootstrap.servers"))
        if settings.get("transactional.id"):
            settings.leave_out("transactional.id")
        self._settings = settings
        self._world = scope.world
        self._idempotent = settings.flag("enable.idempotence", False)
        self._publish = self._cluster.publisher(idempotent=self._idempotent)
        self._linger_ms = round(settings.number("linger.ms", 5))
        self._timeout_ms = round(settings.number("message.timeout.ms", 300_000))
        self._most = round(settings.number("queue.buffering.max.messages", 100_000))
        self._report: Report | None = settings.get("on_delivery")
        self._under_way = 0
        self._reports: deque[tuple[Report | None, KafkaError | None, Message]] = deque()
        self._waiting: Resume | None = None
        self._world.know_duration(self._linger_ms)

    def __getattr__(self, name: str) -> Any:
        not_modelled(LIBRARY, "Producer", name)

    def __len__(self) -> int:
        return self._under_way + len(self._reports)

    def __bool__(self) -> bool:
        return True

    # ---- producing

    def produce(
        self,
        topic: str,
        value: Any = None,
        key: Any = None,
        partition: int = -1,
        on_delivery: Report | None = None,
        timestamp: int = 0,
        headers: Any = None,
        *,
        callback: Report | None = None,
    ) -> None:
        """Hand over a record, which is sent a little later."""
        scope = current_scope("produce", self._world)
        for what, one in (("value", value), ("key", key)):
            if one is not None and not isinstance(one, str | bytes | bytearray):
                raise TypeError(f"{what} must be str or bytes, not {type(one).__name__}")
        if partition != -1:
            call_off(
                InvalidDefinition(
                    f"{LIBRARY}: produce(partition={partition!r}) is not modelled{asked_at()}: "
                    "give a key, which decides the log partition"
                )
            )
        if len(self) >= self._most:
            raise BufferError("Local: Queue full")
        self._cluster.check((topic,))
        note_spoken(scope, LIBRARY, f"{self._cluster.name}.publish {topic}")
        due_ms = scope.world.now + self._timeout_ms
        report = callback or on_delivery or self._report
        draft = Draft(
            standing(scope, scope.colour), topic, value, key, _by_name(headers), report, due_ms
        )
        self._under_way += 1
        self._send(draft, self._linger_ms)

    def _send(self, draft: Draft, after_ms: int) -> None:
        draft.since = len(self._world.raw)

        def port() -> Any:
            value = bytes(draft.value) if isinstance(draft.value, bytearray) else draft.value
            return self._publish(draft.topic, value, key=draft.key, headers=draft.headers)

        def done(_: Any, error: BaseException | None) -> None:
            self._sent(draft, error)

        unwaited(draft.scope, port, done, after_ms=after_ms)

    def _sent(self, draft: Draft, error: BaseException | None) -> None:
        """Take note that a record is stored; else send it again, as the client does."""
        world = self._world
        stored = self._stored(draft)
        if error is not None and isinstance(error, OSError):  # refused, or not answered
            if not (stored and self._idempotent):
                if world.now + BACKOFF_MS < draft.due_ms:
                    self._send(draft, BACKOFF_MS)
                    return
            else:
                error = None  # the broker recognises it when it comes again
        elif error is not None:
            world.refuse(error if isinstance(error, InvalidDefinition) else _mistake(error))
            return
        message = self._message(draft, stored)
        failed = None if error is None else KafkaError(KafkaError._MSG_TIMED_OUT)
        self._under_way -= 1
        self._reports.append((draft.report, failed, message))
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            world.after(0, waiting)

    def _stored(self, draft: Draft) -> dict[str, Any] | None:
        """Return what the history holds of a record that is stored."""
        scope = draft.scope
        for raw in self._world.raw[draft.since :]:
            if raw[1] == "publish" and raw[2] == scope.incarnation.label:
                data: dict[str, Any] = raw[7]
                if data.get("topic") == draft.topic and raw[4] == scope.entity:
                    return data
        return None

    def _message(self, draft: Draft, stored: dict[str, Any] | None) -> Message:
        found = stored or {}
        return Message(
            draft.topic,
            partition=found.get("partition", -1),
            offset=found.get("offset"),
            key=draft.key.encode() if isinstance(draft.key, str) else draft.key,
            value=draft.value.encode() if isinstance(draft.value, str) else draft.value,
        )

    # ---- hearing of it

    def poll(self, timeout: float | None = None) -> int:
        """Call back for what has been delivered; return how often."""
        seconds = -1.0 if timeout is None else timeout
        if not self._reports and seconds != 0:
            self._wait(None if seconds < 0 else round(seconds * SECOND_MS), sys._getframe(1))
        return self._serve()

    def flush(self, timeout: float | None = None) -> int:
        """Wait until all is delivered, and call back; return how much is not."""
        world = self._world
        seconds = -1.0 if timeout is None else timeout
        due_ms = None if seconds < 0 else world.now + round(seconds * SECOND_MS)
        self._serve()
        while self._under_way:
            left_ms = None if due_ms is None else due_ms - world.now
            if left_ms is not None and left_ms <= 0:
                break
            self._wait(left_ms, sys._getframe(1))
            self._serve()
        return len(self)

    def _serve(self) -> int:
        served = 0
        while self._reports:
            report, error, message = self._reports.popleft()
            served += 1
            if report is not None:
                report(error, message)
        return served

    @blocking
    def _wait(self, most_ms: int | None, at: FrameType) -> None:
        scope = current_scope("poll", self._world)
        scope.colour.drive(self._until_reported(scope, most_ms, at), scope)

    def _until_reported(self, scope: Scope, most_ms: int | None, at: FrameType) -> Script[None]:
        world = self._world
        if self._under_way:
            nap: Any = None
        elif most_ms is None:
            raise refusal(KafkaError._FAIL, "poll() for ever, with nothing under way")
        else:
            nap = wait_of(scope, most_ms, of_stack, at)
        timer: Any = None

        def give_up(_: Any) -> None:
            if nap is not None:
                nap.woke()
            waiting, self._waiting = self._waiting, None
            if waiting is not None:
                waiting(None)

        def keep(resume: Resume) -> None:
            nonlocal timer
            self._waiting = resume
            if most_ms is not None:
                timer = world.timer(max(most_ms, 0), give_up, None, nap)

        try:
            yield keep
        finally:
            if timer is not None:
                world.agenda.cancel(timer)

    def close(self) -> None:
        """Wait until all is delivered."""
        self.flush()


class SerializingProducer(Producer):
    """What stands for `confluent_kafka.SerializingProducer` inside a run."""

    def produce(  # type: ignore[override]
        self,
        topic: str,
        key: Any = None,
        value: Any = None,
        partition: int = -1,
        on_delivery: Report | None = None,
        timestamp: int = 0,
        headers: Any = None,
    ) -> None:
        """Hand over a record, written by the serializers of the configuration."""
        key = self._settings.serialized("key", key, topic, headers)
        value = self._settings.serialized("value", value, topic, headers)
        super().produce(topic, value, key, partition, on_delivery, timestamp, headers)


def _by_name(headers: Any) -> dict[str, Any] | None:
    return dict(headers) if headers else None


def _mistake(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else InvalidDefinition(str(error))
