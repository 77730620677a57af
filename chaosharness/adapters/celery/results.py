"""Celery's results in Redis: its backend as it is, on a `RedisStore`.

Storing, reading, forgetting and the counting of chords are Celery's own commands and scripts, each
a site of the store. Ours is how a result that somebody waits for is told: `PUBLISH` wakes whoever
has subscribed, and `get()` waits until then, or until its time-out, and not second by second.

Source:
    Celery 5.7, `backends/redis.py` (`ResultConsumer`, `on_chord_part_return`),
    `backends/asynchronous.py` (`Drainer.drain_events_until`), `result.py`.

What is stored of results is no part of what a run leaves behind: it is Celery's own book, with an
entry for each task that was sent, however often.

Not modelled:
    Subscriptions that are lost and made anew: a result that was told meanwhile is not missed.
    `on_interval` of `get()` is called when something is told, and not each second. Sentinel.
"""

from __future__ import annotations

from typing import Any, Final

from chaosharness.adapters.amqp.reading import Inbox
from chaosharness.adapters.databases.redis import Connection, taken
from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.handlers.port import current_scope
from chaosharness.kernel.scope import Incarnation
from chaosharness.stores.redis.redis import OpenRedis


class Subscriber:
    """What one backend of one process has subscribed to, and what it was told."""

    def __init__(self, incarnation: Incarnation) -> None:
        self.incarnation = incarnation
        self.keys: dict[bytes, None] = {}
        self.inbox = Inbox()


class Channels:
    """Who is told of what is published in a store."""

    def __init__(self, store: OpenRedis) -> None:
        self.subscribers: list[Subscriber] = []
        store.heard.append(self._heard)

    def _heard(self, scope: Any, operation: str, attempt: int, request: Any) -> None:
        for words in request.words:
            if words[0].upper() == b"PUBLISH":
                for one in self.subscribers:
                    if words[1] in one.keys and one.incarnation.alive:
                        one.inbox.put(words[2])


def _subscriber(consumer: Any) -> Subscriber:
    scope = current_scope("celery.results")
    found = vars(consumer).get("_chaosharness")
    if found is None:
        found = Subscriber(scope.incarnation)
        connection = taken(consumer.backend.client.connection_pool, Connection)
        store = connection.store
        channels = store.kept.get("celery results")
        if channels is None:
            channels = store.kept["celery results"] = Channels(store)
            backend = consumer.backend
            keys = (backend.task_keyprefix, backend.group_keyprefix)
            store.aside |= {one.decode() if isinstance(one, bytes) else one for one in keys}
        channels.subscribers.append(found)
        consumer._chaosharness = found
    return found  # type: ignore[no-any-return]


def _key(consumer: Any, task_id: str) -> bytes:
    key = consumer._get_key_for_task(task_id)
    return key.encode() if isinstance(key, str) else bytes(key)


def _consume_from(real: Any, self: Any, task_id: str) -> None:
    _subscriber(self).keys.setdefault(_key(self, task_id))


def _cancel_for(real: Any, self: Any, task_id: str) -> None:
    found = vars(self).get("_chaosharness")
    if found is not None:
        found.keys.pop(_key(self, task_id), None)


def _stop(real: Any, self: Any) -> None:
    found = vars(self).get("_chaosharness")
    if found is not None:
        found.keys.clear()


def _drain(real: Any, self: Any, timeout: float | None = None) -> None:
    """Take what was told, or wait for it."""
    scope = current_scope("celery.results")
    inbox = _subscriber(self).inbox
    if not inbox:
        due_ms = None if timeout is None else scope.world.now + max(round(timeout * 1000), 1)
        scope.colour.block(inbox.waiting(scope, due_ms), scope)
    for told in inbox.take():
        self.on_state_change(self._decode_result(told), {"type": "message", "data": told})


def _until(
    real: Any,
    self: Any,
    p: Any,
    timeout: float | None = None,
    interval: float = 1,
    on_interval: Any = None,
    wait: Any = None,
) -> Any:
    """Wait until a result is there, or until a moment.

    Raises:
        TimeoutError: It is not there in time.
    """
    world = current_scope("celery.results").world
    until_ms = None if timeout is None else world.now + max(round(timeout * 1000), 0)
    wait = wait or self.result_consumer.drain_events
    while not p.ready:
        if until_ms is not None and world.now >= until_ms:
            raise TimeoutError
        yield wait(timeout=None if until_ms is None else (until_ms - world.now) / 1000)
        if on_interval:
            on_interval()


_CONSUMER: Final = "celery.backends.redis:ResultConsumer"

LIBRARY: Final = Library(
    "celery",
    part="results in Redis",
    tested=">=5.7,<6",
    seams=(
        Seam(f"{_CONSUMER}.consume_from", ("self", "task_id"), _consume_from),
        Seam(f"{_CONSUMER}.cancel_for", ("self", "task_id"), _cancel_for),
        Seam(f"{_CONSUMER}.stop", ("self",), _stop),
        Seam(f"{_CONSUMER}.drain_events", ("self", "timeout"), _drain),
        Seam(
            "celery.backends.asynchronous:Drainer.drain_events_until",
            ("self", "p", "timeout", "interval", "on_interval", "wait"),
            _until,
        ),
    ),
)
