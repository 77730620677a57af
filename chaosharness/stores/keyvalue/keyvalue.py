"""A durable key-value store: the smallest thing that survives a crash.

Not modelled:
    Transactions over several keys; expiry; the network (an outage is the only way not to
    reach it). For Redis, run fakeredis behind an `External`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import attrs
import msgspec

from chaosharness.errors import RefusedValue, UnserialisablePayload
from chaosharness.handlers.port import READ, call_off, operate, refuse_stranger
from chaosharness.kernel import allowed
from chaosharness.kernel.rest import COMMITS_MIN
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import World
from chaosharness.stores.durable import OpenStore
from chaosharness.stores.repeats import Repeats

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode

PUT: Final = "put"
PUT_IF_ABSENT: Final = "put_if_absent"
DELETE: Final = "delete"
VERBS: Final = ("get", "has", "items", PUT, PUT_IF_ABSENT, DELETE)


@attrs.frozen(eq=False)
class KeyValue:
    """A durable key-value store: `env.connect(kv)` returns a `KeyValueConnection`.

    Each write is atomic and durable by itself, and a site: `payments.on_order/kv.put`.

    Args:
        name: What sites and reports call it.
        synced: Whether a write is on the disk when it returns. If not, a power failure
            (`LostWrites`) takes those of the last `unsynced_ms`.
        unsynced_ms: In virtual time, from 1. Redis with `appendfsync everysec`: 1 s.

    Source:
        Redis documentation, "Persistence" (append-only file, fsync policies), for what a
        store that is not synced may lose.
    """

    name: str = attrs.field(validator=allowed.text())
    synced: bool = attrs.field(default=True, validator=allowed.flag(), kw_only=True)
    unsynced_ms: int = attrs.field(default=1_000, validator=allowed.whole(1), kw_only=True)

    def open(self, world: World) -> OpenKeyValue:
        """Return this store, empty, for one run."""
        return OpenKeyValue(self, world)


class OpenKeyValue(OpenStore):
    """A key-value store during one run. Values are kept as JSON, so nobody shares them."""

    def __init__(self, definition: KeyValue, world: World) -> None:
        super().__init__(
            definition.name,
            world,
            timeout_ms=1,
            synced=definition.synced,
            unsynced_ms=definition.unsynced_ms,
        )
        self.data: dict[str, bytes] = {}
        self._log: list[tuple[int, str, bytes | None]] = []
        self._repeats = Repeats()
        self._changes = 0
        self.actions = _actions(definition.name)

    def connect(self, incarnation: Incarnation) -> KeyValueConnection:
        """Return an incarnation's access to the store."""
        self.owners[incarnation] = None
        return KeyValueConnection(self, incarnation)

    # ---- effects

    def get(self, scope: Scope, operation: str, attempt: int, argument: Any) -> Any:
        """Return the value of a key, or the default."""
        owner, key, default = argument
        if scope.incarnation is not owner or self.down or scope.struck:
            self._refuse(scope, operation, attempt, owner, "get", self.verdict(scope))
        body = self.data.get(key)
        data = {"store": self.name, "verb": "get", "key": key, "found": body is not None}
        scope.record("read", operation, attempt, data)
        return default if body is None else _decode(body)

    def has(self, scope: Scope, operation: str, attempt: int, argument: Any) -> bool:
        """Say whether a key has a value."""
        owner, key = argument
        if scope.incarnation is not owner or self.down or scope.struck:
            self._refuse(scope, operation, attempt, owner, "has", self.verdict(scope))
        found = key in self.data
        data = {"store": self.name, "verb": "has", "key": key, "found": found}
        scope.record("read", operation, attempt, data)
        return found

    def items(self, scope: Scope, operation: str, attempt: int, owner: Any) -> Any:
        """Return all keys and values, by key."""
        if scope.incarnation is not owner or self.down or scope.struck:
            self._refuse(scope, operation, attempt, owner, "items", self.verdict(scope))
        data = {"store": self.name, "verb": "items", "count": len(self.data)}
        scope.record("read", operation, attempt, data)
        return [(key, _decode(body)) for key, body in sorted(self.data.items())]

    def change(self, scope: Scope, operation: str, attempt: int, argument: Any) -> Any:
        """Set or delete the value of a key, or find that there is nothing to do."""
        verb, owner, key, body = argument
        outcome = None
        if scope.incarnation is not owner or self.down or scope.struck:
            outcome = self.verdict(scope)
            self._refuse(scope, operation, attempt, owner, verb, outcome)
        values = self.data
        old = values.get(key)
        if verb is not PUT and (old is None) is (verb is DELETE):
            data = {"store": self.name, "verb": verb, "key": key, "found": old is not None}
            scope.record("read", operation, attempt, data)
            return False
        if self.keeps:
            self._log.append((self.world.now, key, old))
        if body is None:
            del values[key]
        else:
            values[key] = body
        if body != old:
            self._changes += 1
            if self._changes < COMMITS_MIN or not self._repeats.unchanged(scope, self._decoded):
                self.world.effects += 1
        data = {"store": self.name, "verb": verb, "key": key, "value": body}
        if outcome is not None:
            data["outcome"] = "unknown"
        scope.record("commit", operation, attempt, data)
        if outcome is not None:
            raise TimeoutError(f"{self.name}.{verb} {key}: no answer; it may have happened")
        return None if verb is PUT else True

    def _decoded(self) -> dict[str, Any]:
        return {key: _decode(body) for key, body in self.data.items()}

    def _refuse(
        self,
        scope: Scope,
        operation: str,
        attempt: int,
        owner: Incarnation,
        verb: str,
        outcome: str | None = None,
    ) -> None:
        """Raise for another's connection, during an outage, and for a write that failed."""
        if scope.incarnation is not owner:
            refuse_stranger(scope, f"a connection to {self.name!r}", owner)
        if not self.down and outcome != "rolled-back":
            return
        why = "out of order" if self.down else "the write failed; nothing was stored"
        words = f"{self.name}.{verb}: {why}"
        kind = "read" if verb in ("get", "has", "items") else "commit"
        data = {"store": self.name, "verb": verb, "error": f"ConnectionError: {words}"}
        scope.record(kind, operation, attempt, data)
        raise ConnectionError(words)

    # ---- the end

    def forget(self, since_ms: int) -> int:
        """Go back to the state before the first write at or after a moment."""
        lost = [entry for entry in self._log if entry[0] >= since_ms]
        for _, key, old in reversed(lost):
            if old is None:
                self.data.pop(key, None)
            else:
                self.data[key] = old
        del self._log[len(self._log) - len(lost) :]
        return len(lost)

    def final(self) -> dict[str, Any]:
        """Return what is stored: `{"items": {key: value}}`, by key."""
        return {"items": {key: _decode(body) for key, body in sorted(self.data.items())}}


class KeyValueConnection:
    """A service's access to a key-value store. In an `async` handler, await each method.

    Keys are text. Values are what JSON can hold; what is read is a copy.

    Every method raises ConnectionError where the store is out of order, or refuses: then
    nothing was stored. A write raises TimeoutError where it may have been stored.
    """

    __slots__ = ("_owner", "_store")

    def __init__(self, store: OpenKeyValue, owner: Incarnation) -> None:
        self._store = store
        self._owner = owner

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or the default."""
        store = self._store
        return operate(store.actions["get"], store.get, (self._owner, key, default), store, READ)

    def put(self, key: str, value: Any) -> Any:
        """Set the value of a key.

        Raises:
            UnserialisablePayload: The value has no JSON form.
        """
        store = self._store
        argument = (PUT, self._owner, key, _body(store, key, value))
        return operate(store.actions[PUT], store.change, argument, store, store.surface)

    def put_if_absent(self, key: str, value: Any) -> Any:
        """Set the value of a key that has none, atomically; return whether it had none.

        Raises:
            UnserialisablePayload: The value has no JSON form.
        """
        store = self._store
        argument = (PUT_IF_ABSENT, self._owner, key, _body(store, key, value))
        return operate(store.actions[PUT_IF_ABSENT], store.change, argument, store, store.surface)

    def delete(self, key: str) -> Any:
        """Delete a key; return whether it was there."""
        store = self._store
        argument = (DELETE, self._owner, key, None)
        return operate(store.actions[DELETE], store.change, argument, store, store.surface)

    def items(self) -> Any:
        """Return all keys and values as a list of pairs, by key."""
        store = self._store
        return operate(store.actions["items"], store.items, self._owner, store, READ)

    def __contains__(self, key: object) -> bool:
        """Say whether a key has a value. Never awaited: it blocks, as `in` does."""
        store = self._store
        argument = (self._owner, key)
        return bool(operate(store.actions["has"], store.has, argument, store, READ, True))


@lru_cache(maxsize=1_024)
def _actions(name: str) -> dict[str, str]:
    """Return what each verb is called at a site: it is asked for in every run."""
    return {verb: f"{name}.{verb}" for verb in VERBS}


def _body(store: OpenKeyValue, key: object, value: Any) -> bytes:
    if not isinstance(key, str):
        call_off(RefusedValue(f"a key of {store.name!r} must be text, not {key!r}"))
    try:
        return _encode(value)
    except (TypeError, ValueError, OverflowError) as error:
        words = f"the value of {key!r} cannot be stored in {store.name!r}: {error}. "
        advice = "Give it as dicts, lists, text and numbers."
        call_off(UnserialisablePayload(words + advice))
