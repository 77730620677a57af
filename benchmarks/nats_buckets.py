"""Buckets of nats-py and ordered consumers, in a run and on a running nats-server: what code sees.

python -m benchmarks.nats_buckets             # 500 programs
python -m benchmarks.nats_buckets 2000 7      # so many, from another seed

A program is a list of what code asks of key-value stores, of object stores, and of a stream with an
ordered consumer. It runs as it is on both sides, by nats-py, and each answer or error, class and
words, must be the same. What each side makes up is not compared: times, and names of parts. A
difference is made as short as it can be by leaving out steps; one that is not seen a second time is
counted apart.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import count
from random import Random
from typing import Any, Final

import attrs

from benchmarks import nats_server

PROGRAMS: Final = 500
STEPS: Final = 30
KEYS: Final = ("a", "a.b", "c", ".bad")
VALUES: Final = (b"", b"1", b"22", b"x" * 40)
FILES: Final = ("one", "two")
SIZES: Final = (0, 5, 300, 900)
HEADERS: Final[tuple[dict[str, str], ...]] = (
    {},
    {"Nats-Rollup": "sub"},
    {"Nats-Rollup": "all"},
    {"Nats-Rollup": "any"},
    {"Nats-TTL": "1h"},
    {"Nats-TTL": "soon"},
    {"Nats-Msg-Id": "m"},
    {"Nats-Msg-Id": "m", "Nats-Rollup": "all"},
    {"Nats-Expected-Last-Subject-Sequence": "3", "Nats-Rollup": "sub"},
    {"Nats-Rollup": "any", "Nats-TTL": "soon", "Nats-Expected-Last-Sequence": "1"},
)
KINDS: Final = {
    "key-value": (
        *("put", "put", "get", "get", "create", "create", "update", "update", "delete"),
        *("purge", "history", "keys", "watch", "status", "revision", "headers", "purge deletes"),
        *("delete last", "ttl", "raw"),
    ),
    "object": ("file", "file", "read", "read", "remove", "list", "info", "state", "meta", "seal"),
    "ordered": (
        *("say", "say", "say", "next", "next", "listen", "listen only", "told", "cut", "headers"),
        "again",
    ),
}
NAMES: Final = count(1)
MADE_UP: Final = re.compile(
    r"'Nats-Time-Stamp': '[^']*'|nuid='\w+'|\w*time='[^']*'|digest='[^']*'|metadata=\{[^}]*\}"
    r"|datetime\.datetime\([^)]*\)+"
)


@attrs.frozen
class Step:
    """One thing that code asks for; the numbers say which key, value, revision or file."""

    verb: str
    one: int = 0
    two: int = 0


@attrs.frozen
class Program:
    """What is made, and what is asked of it."""

    kind: str
    options: dict[str, Any]
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return "\n".join([f"  {self.kind} {self.options}", *(f"  {step}" for step in self.steps)])


def drawn(chance: Random) -> Program:
    """Draw a program."""
    kind = chance.choice(("key-value", "key-value", "object", "ordered"))
    options: dict[str, Any] = {}
    if kind == "key-value":
        options = {"history": chance.choice((1, 1, 2, 5)), "direct": chance.random() < 0.5}
        if chance.random() < 0.2:
            options["max_bytes"] = chance.choice((150, 400))
        if chance.random() < 0.2:
            options["max_value_size"] = 30
        if chance.random() < 0.2:
            options["ttl"] = 3_600
    elif kind == "ordered":
        options = {"max_msgs_per_subject": chance.choice((-1, -1, 2))}
    verbs = [one for one in KINDS[kind] if one != "seal" or chance.random() < 0.5]
    steps = [
        Step(chance.choice(verbs), chance.randrange(10), chance.randrange(10)) for _ in range(STEPS)
    ]
    return Program(kind, options, tuple(steps))


async def said(awaitable: Any) -> Any:
    """Return what is answered, or what is raised, in words."""
    try:
        return await awaitable
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def plain(found: Any, name: str) -> str:
    """Return an answer in words, without what each side makes up."""
    return MADE_UP.sub("*", repr(found)).replace(name, "NAME")


async def heard(program: Program, address: str, name: str) -> list[str]:
    """Run a program; return what it heard, step by step."""
    import nats

    connection = await nats.connect(address)
    js = connection.jetstream()
    play = {"key-value": Entries, "object": Files, "ordered": Listener}[program.kind]
    found: list[str] = []
    try:
        player = play(js, name)
        found.append(plain(await said(player.make(program.options)), name))
        for step in program.steps:
            found.append(plain(await said(player.take(step)), name))
            found.append(plain(await player.state(), name))
        await js.delete_stream(player.stream)
    finally:
        await connection.close()
    return found


class Player:
    """Who takes the steps of a program."""

    PREFIX = ""

    def __init__(self, js: Any, name: str) -> None:
        self.js = js
        self.name = name
        self.stream = self.PREFIX + name

    async def state(self) -> Any:
        """Return what the stream says of itself."""
        info = await self.js.stream_info(self.stream)
        state = info.state
        return state.messages, state.bytes, state.first_seq or 1, state.last_seq


class Entries(Player):
    """One bucket of keys and values."""

    PREFIX = "KV_"
    bucket: Any

    async def make(self, options: dict[str, Any]) -> Any:
        """Make the bucket; return what its stream is like."""
        self.bucket = await self.js.create_key_value(bucket=self.name, **options)
        return (await self.js.stream_info(self.stream)).config

    async def take(self, step: Step) -> Any:
        """Take one step."""
        bucket, key = self.bucket, KEYS[step.one % len(KEYS)]
        value = VALUES[step.two % len(VALUES)]
        match step.verb:
            case "put":
                return await bucket.put(key, value)
            case "get":
                return await bucket.get(key)
            case "revision":
                return await bucket.get(key, revision=step.two)
            case "create":
                return await bucket.create(key, value)
            case "ttl":
                return await bucket.create(key, value, msg_ttl=(-1, 0, 3600)[step.two % 3])
            case "update":
                return await bucket.update(key, value, last=step.two)
            case "delete":
                return await bucket.delete(key)
            case "delete last":
                return await bucket.delete(key, last=step.two)
            case "purge":
                return await bucket.purge(key)
            case "purge deletes":
                return await bucket.purge_deletes(olderthan=(0, 1800)[step.two % 2])
            case "history":
                return await bucket.history(key)
            case "keys":
                return await bucket.keys(filters=["a"] if step.two % 2 else None)
            case "status":
                status = await bucket.status()
                return status.values, status.history, status.ttl, status.marker_ttl
            case "raw":
                return await self.js.get_msg(self.stream, seq=step.two, direct=step.one % 2 == 0)
            case "headers":
                headers = dict(HEADERS[step.two % len(HEADERS)])
                return await self.js.publish(f"$KV.{self.name}.a", value, headers=headers)
        return await self._watched(step)

    async def _watched(self, step: Step) -> Any:
        options = ({}, {"include_history": True}, {"ignore_deletes": True}, {"meta_only": True})
        watcher = await self.bucket.watch(("a", "a.*", ">")[step.one % 3], **options[step.two % 4])
        found = []
        while (update := await watcher.updates(timeout=1)) is not None:
            found.append(update)
        await self.bucket.put("a", b"seen")
        if step.one % 3 != 1:
            found.append(await watcher.updates(timeout=1))
        await watcher.stop()
        return found


class Files(Player):
    """One bucket of objects."""

    PREFIX = "OBJ_"
    bucket: Any

    async def make(self, options: dict[str, Any]) -> Any:
        """Make the bucket; return what its stream is like."""
        self.bucket = await self.js.create_object_store(self.name, **options)
        return (await self.js.stream_info(self.stream)).config

    async def take(self, step: Step) -> Any:
        """Take one step."""
        from nats.js.api import ObjectMeta, ObjectMetaOptions

        bucket, file = self.bucket, FILES[step.one % len(FILES)]
        match step.verb:
            case "file":
                options = ObjectMetaOptions(max_chunk_size=200)
                meta = ObjectMeta(name=file, options=options)
                return await bucket.put(file, b"f" * SIZES[step.two % len(SIZES)], meta=meta)
            case "read":
                return await asyncio.wait_for(bucket.get(file, show_deleted=step.two % 3 == 0), 1)
            case "info":
                return await bucket.get_info(file, show_deleted=step.two % 2 == 0)
            case "remove":
                return await bucket.delete(file)
            case "list":
                return await bucket.list(ignore_deletes=step.two % 2 == 0)
            case "state":
                return (await bucket.status()).sealed
            case "meta":
                other = FILES[step.two % len(FILES)]
                return await bucket.update_meta(file, ObjectMeta(name=other, description="d"))
        return await bucket.seal()

    async def state(self) -> Any:
        """Return what the stream says of itself: how long the words of a part are is made up."""
        state = (await self.js.stream_info(self.stream)).state
        return state.messages, state.first_seq or 1, state.last_seq


class Listener(Player):
    """A stream, and an ordered consumer of it."""

    sub: Any = None
    miscounts = False
    """What waits for one that began with the last of each subject, or to which nobody listens,
    2.15.1 counts wrongly."""

    async def make(self, options: dict[str, Any]) -> Any:
        """Make the stream."""
        words = {"allow_rollup_hdrs": True, "allow_msg_ttl": True, **options}
        info = await self.js.add_stream(name=self.stream, subjects=[f"{self.name}.*"], **words)
        self.sub = await self.js.subscribe(f"{self.name}.*", ordered_consumer=True)
        return info.config

    async def take(self, step: Step) -> Any:
        """Take one step."""
        from nats.js.api import DeliverPolicy

        subject = f"{self.name}.{'ab'[step.one % 2]}"
        match step.verb:
            case "say":
                return await self._say(subject, VALUES[step.two % len(VALUES)], None)
            case "headers":
                headers = dict(HEADERS[step.two % len(HEADERS)])
                return await self._say(subject, b"h", headers)
            case "next":
                message = await self.sub.next_msg(timeout=0.15)
                told = message.metadata
                return (
                    *(message.subject, message.data, message.headers),
                    *(told.sequence, told.num_pending, told.num_delivered),
                )
            case "told" if self.miscounts:
                return None
            case "told":
                await asyncio.sleep(0.05)
                info = await self.sub.consumer_info()
                return info.config.deliver_policy, info.num_pending, info.delivered.consumer_seq
            case "cut":
                return await self.js.purge_stream(self.stream, keep=step.two % 3)
            case "again":
                await asyncio.sleep(0.02)  # what was said has made its way
                self.miscounts = True
                await self.sub.unsubscribe()
                message = await self.sub.next_msg(timeout=0.02)
                return message.subject, message.data
        await self.sub.unsubscribe()
        policy = (None, DeliverPolicy.LAST_PER_SUBJECT, DeliverPolicy.NEW, DeliverPolicy.LAST)
        self.sub = await self.js.subscribe(
            subject if step.verb == "listen only" else f"{self.name}.*",
            ordered_consumer=True,
            deliver_policy=policy[step.two % 4],
            headers_only=step.one > 7 or None,
        )
        self.miscounts = step.two % 4 == 1
        await asyncio.sleep(0.02)
        return None

    async def _say(self, subject: str, value: bytes, headers: Any) -> Any:
        found = await self.js.publish(subject, value, headers=headers)
        await asyncio.sleep(0.01)  # what was said has made its way
        return found


# ---- both sides


def in_a_run(program: Program, name: str) -> list[str]:
    """Return what a program hears in a run, on a server that has nothing."""
    from chaosharness import NATS, System

    found: list[list[str]] = []
    system = System("shop")
    system.add(NATS("bus", {}))

    @system.entry(examples=["o1"])
    async def ask(env: Any, order: str) -> None:
        found.append(await heard(program, "nats://bus:4222", name))

    run = system.run()
    assert run.ending.verdict == "quiet", run.ending
    return found[0]


def difference(program: Program, port: int) -> tuple[int, str] | None:
    """Return where the two sides differ first, and how; None for nowhere."""
    name = f"b{next(NAMES)}"
    theirs = asyncio.run(heard(program, f"nats://127.0.0.1:{port}", name))
    for at, (one, other) in enumerate(zip(in_a_run(program, name), theirs, strict=True)):
        if one != other:
            step = program.steps[(at - 1) // 2] if at else "made"
            return (at + 1) // 2, f"{step}\n    run:    {one}\n    server: {other}"
    return None


def shortest(program: Program, port: int) -> str:
    """Leave out steps as long as the two sides differ; return what is left, in words."""
    at, words = 0, ""
    while (found := difference(program, port)) is not None:
        last, words = found
        program = attrs.evolve(program, steps=program.steps[:last])
        while at < last - 1:
            fewer = attrs.evolve(program, steps=program.steps[:at] + program.steps[at + 1 :])
            if difference(fewer, port) is not None:
                program = fewer
                break
            at += 1
        else:
            break
    return f"{words}\n  after\n{program}"


@attrs.define
class Found:
    """What came of a comparison."""

    programs: int = 0
    unrepeated: int = 0
    verbs: Counter[str] = attrs.field(factory=Counter)
    differences: list[str] = attrs.field(factory=list)


def compared(port: int, number: int, seed: int = 0) -> Found:
    """Compare so many programs."""
    chance, found = Random(seed), Found()
    for _ in range(number):
        program = drawn(chance)
        found.programs += 1
        found.verbs.update(step.verb for step in program.steps)
        if difference(program, port) is not None:
            words = shortest(program, port)
            if words.startswith("\n"):
                found.unrepeated += 1  # a busy machine: it was not seen again
                continue
            found.differences.append(words)
            print(words, flush=True)
    return found


def main(*words: str) -> int:
    """Compare, and print what differs."""
    lacks = nats_server.missing()
    if lacks is not None:
        print(f"not compared: {lacks}")
        return 3
    numbers = [int(one) for one in words]
    number, seed = (*numbers, *(PROGRAMS, 0)[len(numbers) :])
    logging.getLogger("nats").setLevel(logging.ERROR)
    with nats_server.running() as port:
        found = compared(port, number, seed)
    steps = sum(found.verbs.values())
    print(
        f"{found.programs:,} programs, {steps:,} steps, {len(found.differences)} differ, "
        f"{found.unrepeated} once and not again"
    )
    return int(bool(found.differences))


def missed(verbs: Sequence[str]) -> list[str]:
    """Return which verbs none of these is."""
    return [one for kind in KINDS.values() for one in kind if one not in verbs]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
