"""Redis Streams by redis-py: a connection's stream commands, at the broker `Redis`.

Each command is a site of the broker, with the faults of its rows; an entry's delivery is a site of
its own, as for `env.consume`. What a client repeats by itself is its own doing, so that `Duplicate`
does not strike here: a lost reply does it.

Source:
    redis.io, "Redis Streams" and the pages of the commands; redis-py 5 to 8, `commands/core.py`.
    XREADGROUP with BLOCK as long as `socket_timeout`, or longer: the client gives up first.

Not modelled:
    XREADGROUP, XREAD, XCLAIM and XAUTOCLAIM inside of a pipeline; stream commands in scripts; what
    `commands.py` leaves out.
"""

from __future__ import annotations

from typing import Any, Final, cast

import attrs

from chaosharness.adapters.databases.commands import (
    OF_OTHER_KEYS,
    Command,
    Reading,
    Refused,
    Unknown,
    is_of_streams,
    too_short,
    understood,
)
from chaosharness.adapters.databases.replies import as_entries, reply_of
from chaosharness.adapters.databases.waiting import Wait, readers_of
from chaosharness.adapters.frames import users_frame
from chaosharness.adapters.spoken import note_spoken
from chaosharness.brokers.message import NO_HEADERS, Message, encode
from chaosharness.brokers.redis.desk import Held
from chaosharness.brokers.redis.errors import RedisError
from chaosharness.brokers.redis.redis import OpenRedis
from chaosharness.brokers.redis.rows import SURFACES
from chaosharness.errors import InvalidDefinition
from chaosharness.faults import Duplicate
from chaosharness.handlers.clocks import MILLISECONDS, clock_read
from chaosharness.handlers.places import asked_at, asked_or_awaited_at
from chaosharness.handlers.port import Surface, call_off, careful
from chaosharness.handlers.script import Script
from chaosharness.kernel.scope import Scope
from chaosharness.machines.machine import Refusal
from chaosharness.machines.redis import StreamId, ids, refusals
from chaosharness.machines.redis import operations as op
from chaosharness.stores.redis.commands import Request

ALONE: Final = (Reading, op.Claim, op.AutoClaim)
"""What hands entries out: not in a pipeline."""


def _once(surface: Surface) -> Surface:
    """Return a surface without what a client does by itself."""

    def left(kinds: Any) -> Any:
        return tuple(one for one in kinds if one is not Duplicate)

    return attrs.evolve(
        surface,
        before=left(surface.before),
        after=left(surface.after),
        searched_before=left(surface.searched_before),
        searched_after=left(surface.searched_after),
    )


def mentions_streams(connection: Any, scope: Scope, request: Request) -> bool:
    """Say whether what is sent is the broker's to answer, or some of it.

    Raises:
        InvalidDefinition: Another command would overwrite a stream, which calls the run off.
    """
    desk: OpenRedis = connection.streams
    found = False
    for words in request.words:
        if _is_of_streams(connection, words):
            found = True
        elif len(words) > 1 and (name := words[1].decode("utf-8", "replace")) in desk.streams:
            verb = words[0].decode()
            if name in desk.machine.streams and verb.lower() in OF_OTHER_KEYS:
                found = True
            elif name in desk.machine.streams or connection.store.name not in scope.world.states:
                call_off(
                    InvalidDefinition(
                        f"redis: {verb.upper()} of the stream {name!r} is not modelled"
                        f"{asked_at()}: of {desk.name}, a broker, it knows the commands of "
                        "streams alone"
                    )
                )
    return found


def _is_of_streams(connection: Any, words: tuple[bytes, ...]) -> bool:
    desk: OpenRedis = connection.streams
    streams = desk.streams
    if words[0].lower() in (b"exists", b"type"):
        streams = tuple(one for one in streams if not _is_stored(connection, one))
    return is_of_streams(words, streams)


def _is_stored(connection: Any, name: str) -> bool:
    """Say whether there is a key of this name that is no stream."""
    if name in connection.streams.machine.streams:
        return False
    item = connection.store.server.dbs.get(connection.db, {}).get(name.encode())
    return item is not None


def _commanded(connection: Any, words: tuple[bytes, ...]) -> Command | None:
    """Return a command of streams, or one that a stream is no key for; None for the store's own."""
    desk: OpenRedis = connection.streams
    if not _is_of_streams(connection, words):
        name = words[1].decode("utf-8", "replace") if len(words) > 1 else ""
        verb = words[0].decode().lower()
        if name not in desk.machine.streams or verb not in OF_OTHER_KEYS:
            return None
        return Command(f"{verb} {name}", "manage", Refused(name, refusals.WRONG_TYPE))
    if (short := too_short(words)) is not None:
        return short
    command = _read(words)
    for name in command.streams:
        if not isinstance(command.asked, op.Exists | op.Type) and _is_stored(connection, name):
            return Command(command.action, "manage", Refused(name, refusals.WRONG_TYPE))
    return command


def script(connection: Any, scope: Scope, request: Request, line: Any) -> Script[None]:
    """Do what a connection sends, and have its answers read there.

    Args:
        connection: A connection of ours.
        scope: Who sends it.
        request: What: one command of streams at least.
        line: The server as this connection sees it.
    """
    desk: OpenRedis = connection.streams
    commands = [_commanded(connection, words) for words in request.words]
    for one in commands:
        if one is not None:
            desk.know(one.streams)
    first = commands[0]
    if len(commands) == 1 and first is not None and isinstance(first.asked, Reading):
        note_spoken(scope, "redis", f"{desk.name}.read")
        connection.usable()
        reply = yield from _reading(connection, scope, first.asked, line)
        connection.answer(reply)
        return
    if len(commands) == 1 and first is not None:
        action, at = first.action, first.at
    else:
        _refuse_handing_out(commands)
        action, at = request.verb, "manage"
    action = f"{desk.name}.{action}"
    operation = f"{scope.place}/{action}"
    note_spoken(scope, "redis", action)
    world = scope.world
    attempt = world.reach(operation, scope.entity, scope.message)
    if operation not in world.surfaces:
        world.meet(operation, _once(SURFACES[desk.profile, at]))
    work = _Work(connection, desk, request, commands)
    if operation in world.armed or world.unreachable:
        yield from careful(scope, operation, attempt, work.effect, None, line)
    else:
        work.effect(scope, operation, attempt, None)


def _read(words: tuple[bytes, ...]) -> Command:
    try:
        return understood(words)
    except (Unknown, ValueError) as error:
        verb = words[0].decode().upper()
        why = f" {error}" if isinstance(error, Unknown) and str(error) else ""
        call_off(InvalidDefinition(f"redis: {verb}{why} is not modelled{asked_or_awaited_at()}"))


def _refuse_handing_out(commands: list[Command | None]) -> None:
    for one in commands:
        if one is not None and isinstance(one.asked, ALONE):
            call_off(
                InvalidDefinition(
                    f"redis: {one.action} in a pipeline is not modelled"
                    f"{asked_or_awaited_at()}: send it alone"
                )
            )


@attrs.frozen(eq=False)
class _Work:
    """What one request does: commands of streams at the broker, all others at the store."""

    connection: Any
    desk: OpenRedis
    request: Request
    commands: list[Command | None]

    def effect(self, scope: Scope, operation: str, attempt: int, _: Any) -> None:
        """Do it, and have the answers read at the connection."""
        connection = self.connection
        connection.usable()
        if self.request.words[0][0].upper() == b"MULTI":
            self._transaction(scope, operation, attempt)
            return
        for words, command in zip(self.request.words, self.commands, strict=True):
            if command is None:
                connection.feed(words)
            else:
                connection.answer(self._done(scope, operation, attempt, command))

    def _transaction(self, scope: Scope, operation: str, attempt: int) -> None:
        """Do all of it, or nothing: what the store did of it first."""
        connection = self.connection
        rest = [
            words
            for words, one in zip(self.request.words, self.commands, strict=True)
            if one is None
        ]
        stored = connection.asked(rest)  # OK, QUEUED for each, and what EXEC answers
        results = stored[-1]
        if not isinstance(results, list):  # a key that was watched has changed
            for _ in self.request.words[:-1]:
                connection.answer(b"QUEUED")
            connection.answer(results)
            return
        left = iter(results)
        answers = [
            next(left) if one is None else self._done(scope, operation, attempt, one)
            for one in self.commands[1:-1]
        ]
        connection.answer(b"OK")
        for _ in answers:
            connection.answer(b"QUEUED")
        connection.answer(answers)

    def _done(self, scope: Scope, operation: str, attempt: int, command: Command) -> Any:
        """Do one command; return the answer as it goes over the wire."""
        asked = command.asked
        desk = self.desk
        if isinstance(asked, Refused):
            return reply_of(asked, asked.why)
        if isinstance(asked, op.Add):
            return reply_of(asked, self._added(scope, operation, attempt, asked))
        if isinstance(asked, op.Claim | op.AutoClaim):
            return self._claimed(scope, operation, asked)
        answer = desk.do(asked, scope, operation, attempt)
        if isinstance(asked, op.Ack):
            hand = in_hand(desk, scope)
            hand.difference_update((asked.stream, asked.group, one) for one in asked.ids)
        elif isinstance(asked, op.PendingRange):
            if asked.min_idle_ms:
                desk.foresee((asked.stream, asked.group), asked.min_idle_ms)
            else:
                clock_read(users_frame(), MILLISECONDS)  # who looks at idle times waits for one
        elif isinstance(asked, op.Consumers):
            clock_read(users_frame(), MILLISECONDS)
        return reply_of(asked, answer, self.connection)

    def _added(self, scope: Scope, operation: str, attempt: int, add: op.Add) -> Any:
        body = _body_of(add.fields)
        message = Message(add.stream, None, NO_HEADERS, body, scope.entity, scope.hops + 1)
        try:
            return self.desk.store(scope, operation, attempt, (message, add, scope.message))
        except RedisError as error:
            return Refusal(error.code, error.text)

    def _claimed(self, scope: Scope, operation: str, asked: op.Claim | op.AutoClaim) -> Any:
        desk = self.desk
        [reader] = readers_of(desk, scope, [asked.stream], (asked.group, asked.consumer))
        mine = attrs.evolve(asked, holder=reader)
        try:
            answer, held = desk.handed(reader, mine, {}, operation)
        except RedisError as error:
            return reply_of(asked, Refusal(error.code, error.text))
        _take_up(self.connection, scope, asked.stream, asked.group, held)
        return reply_of(asked, answer)


def _body_of(fields: list[tuple[bytes, bytes]]) -> bytes:
    """Return what consumers by ports get of an entry: its field `value`, or all as an object."""
    found = dict(fields)
    if b"value" in found:
        return found[b"value"]
    text = {
        name.decode("utf-8", "replace"): value.decode("utf-8", "replace") for name, value in fields
    }
    return encode(text, "")


def in_hand(desk: OpenRedis, scope: Scope) -> set[tuple[str, str, str]]:
    """Return what a process was handed and has not acknowledged."""
    found: set[tuple[str, str, str]] = desk.clients.setdefault(scope.incarnation, set())
    return found


def _take_up(connection: Any, scope: Scope, stream: str, group: str, held: list[Held]) -> None:
    in_hand(connection.streams, scope).update((stream, group, one.words) for one in held)
    connection.handed = {**(connection.handed or {}), **{one.words: one for one in held}}


# ---- reading


def _reading(connection: Any, scope: Scope, asked: Reading, line: Any) -> Script[Any]:
    """Read; return the answer as it goes over the wire."""
    desk: OpenRedis = connection.streams
    refusal = _refused(desk, asked)
    if refusal is not None:
        return reply_of(asked, refusal)
    readers = readers_of(desk, scope, [name for name, _ in asked.streams], asked.group)
    again = False
    for reader, (stream, start) in zip(readers, asked.streams, strict=True):
        reader.count, reader.no_ack = asked.count, asked.no_ack
        if asked.group is None:
            reader.behind = _position(desk, stream, start)
        else:
            reader.history = None if start == ">" else start
            again |= start != ">"
    held = bool(in_hand(desk, scope))
    wait = Wait(desk, scope, readers, line.timeout_ms)
    block_ms = None if again else asked.block_ms  # what is pending never waits
    found = yield from wait.until(block_ms, users_frame(), holds=held)
    if found is None:
        raise line.lost("")
    answer = []
    for reader, (stream, start) in zip(readers, asked.streams, strict=True):
        entries = found.get(reader, [])
        of_history = asked.group is not None and start != ">"
        if asked.group is None or asked.no_ack:
            connection.handed = {**(connection.handed or {}), **{it.words: it for it in entries}}
        else:
            _take_up(connection, scope, stream, asked.group[0], entries)
        if entries or of_history:
            answer.append((stream, _entries_of(desk, reader, entries, start if of_history else "")))
        reader.history = None
    return as_entries(answer, connection)


def _refused(desk: OpenRedis, asked: Reading) -> Refusal | None:
    """Return why a read is refused, as the machine says it."""
    for stream, start in asked.streams:
        if asked.group is None:
            if start != "$" and ids.read(start) is None:
                return refusals.BAD_ID
            continue
        group, consumer = asked.group
        there = desk.machine.streams.get(stream)
        wrong = start != ">" and ids.read(start) is None
        if there is None or group not in there.groups or wrong:
            answer = desk.machine.apply(op.ReadGroup(stream, group, consumer, start), 0)
            return cast(Refusal, answer)
    return None


def _position(desk: OpenRedis, stream: str, start: str) -> StreamId:
    there = desk.machine.streams.get(stream)
    last = ids.ZERO if there is None else there.last
    found = last if start == "$" else ids.read(start)
    assert found is not None
    return found


def _entries_of(desk: OpenRedis, reader: Any, held: list[Held], start: str) -> list[op.Entry]:
    """Return what is answered; of what was pending and is deleted, the id alone."""
    stream, group = reader.place
    there = desk.machine.streams[stream]
    found: dict[StreamId, op.Entry] = {}
    for one in held:
        kept = there.get(one.id)
        fields = None if kept is None else kept.fields
        found[one.id] = op.Entry(one.id, fields, one.message, one.times)
    if not start:
        return list(found.values())
    behind = ids.read(start)
    assert behind is not None
    for pending in there.groups[group].of(reader.name, ids.after(behind)):
        if there.get(pending.id) is None:
            found[pending.id] = op.Entry(pending.id, None)
    return [found[one] for one in sorted(found)][: reader.count or None]
