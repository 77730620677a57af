"""What code asks of JetStream at its start: is there this stream, this consumer; make it.

Streams and consumers are those of the broker's definition. Code that makes one that is there is
answered as a server answers it; another one is refused by name.

Source:
    nats-server 2.15, `server/jetstream_api.go`; nats-py 2.16, `js/manager.py`.
"""

from __future__ import annotations

import json
from typing import Any, Final

import attrs

from chaosharness.adapters.nats.server import left_out
from chaosharness.brokers.nats.nats import NATSConsumer, OpenNATS
from chaosharness.kernel.spans import EPOCH_MS
from chaosharness.machines.nats import operations as op
from chaosharness.machines.nats.settings import UNLIMITED
from chaosharness.machines.nats.subjects import matches


@attrs.define
class Push:
    """A consumer that hands out by itself, to whoever listens where it delivers.

    Attributes:
        consumer: Its name.
        group: One of each such queue group is handed a message.
        ears: Who listens there.
    """

    consumer: str
    group: str
    ears: list[Any] = attrs.field(factory=list)

    def is_bound(self) -> bool:
        """Say whether somebody listens there now."""
        return any(one.listens() for one in self.ears)


PREFIX: Final = "$JS.API."
NO_STREAM: Final = {"code": 404, "err_code": 10059, "description": "stream not found"}
NO_CONSUMER: Final = {"code": 404, "err_code": 10014, "description": "consumer not found"}
IN_USE: Final = {"code": 400, "err_code": 10013, "description": "consumer name already in use"}
NS_A_MS: Final = 1_000_000
DEFAULTS: Final = {
    "ack_policy": "explicit",
    "deliver_policy": "all",
    "max_deliver": UNLIMITED,
    "backoff": None,
    "opt_start_seq": None,
}
"""What a consumer goes by where nothing else is declared; nothing: it has none."""
LEFT_OUT: Final = ("headers_only", "inactive_threshold", "pause_until", "rate_limit_bps")
STORES: Final = {"KV_": "the key-value store", "OBJ_": "the object store"}
"""What the streams are called that hold one."""
CREATED: Final = "2030-01-01T00:00:00Z"


def answer(desk: OpenNATS, subject: str, payload: bytes) -> dict[str, Any]:
    """Return what JetStream answers a request of its API."""
    words = subject.removeprefix(PREFIX).split(".")
    asked: dict[str, Any] = json.loads(payload) if payload else {}
    if words[0] == "STREAM" and len(words) > 2:
        for prefix, kind in STORES.items():
            if words[2].startswith(prefix):
                bucket = words[2].removeprefix(prefix)
                left_out(f"{kind} of JetStream ({bucket!r})", ": pass a double for it")
    match words:
        case ["STREAM", "NAMES"]:
            return {"streams": _names(desk, asked.get("subject"))}
        case ["STREAM", "INFO", name]:
            return _stream(desk, name) if name in desk.streams else {"error": NO_STREAM}
        case ["STREAM", "CREATE" | "UPDATE", name]:
            return _made_stream(desk, name, asked)
        case ["CONSUMER", "INFO", stream, name]:
            return _consumer(desk, stream, name)
        case ["CONSUMER", "CREATE" | "DURABLE", stream, *rest]:
            if words[1] == "DURABLE":
                stream, rest = rest[0], rest[1:]
            return _made_consumer(desk, stream, rest[0] if rest else "", asked.get("config", {}))
    left_out(f"{'.'.join(words[:2])} of JetStream's API")


def pushes(desk: OpenNATS) -> dict[str, Push]:
    """Return the push consumers that code has made, by where they deliver."""
    found: dict[str, Push] = desk.clients.setdefault("pushes", {})
    return found


def pushed(desk: OpenNATS, name: str) -> tuple[str, Push] | None:
    """Return where a consumer delivers, if it is one that does."""
    return next((one for one in pushes(desk).items() if one[1].consumer == name), None)


def _names(desk: OpenNATS, subject: str | None) -> list[str]:
    return [
        name
        for name, one in desk.streams.items()
        if subject is None
        or any(
            pattern == subject or matches(pattern, subject) or matches(subject, pattern)
            for pattern in one.subjects or (name,)
        )
    ]


def _stream(desk: OpenNATS, name: str) -> dict[str, Any]:
    state = desk.machine.apply(op.InspectStream(name), desk.world.now)
    one = desk.streams[name]
    return {
        "config": {"name": name, "subjects": [*(one.subjects or (name,))]},
        "created": CREATED,
        "state": {
            "messages": state.messages,
            "bytes": 0,
            "first_seq": state.first,
            "last_seq": state.last,
            "consumer_count": len(one.consumers),
        },
    }


def _made_stream(desk: OpenNATS, name: str, asked: dict[str, Any]) -> dict[str, Any]:
    there = desk.streams.get(name)
    subjects = tuple(asked.get("subjects") or (name,))
    if there is None:
        left_out(
            f"a stream {name!r} that {desk.name} has not",
            f": declare it: NATS({desk.name!r}, {{{name!r}: NATSStream(subjects={subjects!r})}})",
        )
    mine = there.subjects or (name,)
    if set(subjects) != set(mine):
        left_out(
            f"a stream {name!r} of {', '.join(subjects)} where {desk.name} has it of "
            f"{', '.join(mine)}",
            ": declare it as the code makes it",
        )
    return _stream(desk, name)


def _consumer(desk: OpenNATS, stream: str, name: str) -> dict[str, Any]:
    if stream not in desk.streams:
        return {"error": NO_STREAM}
    if desk.consumers.get(name) != (stream, name):
        return {"error": NO_CONSUMER}
    push = pushed(desk, name)
    if push is None and name in desk.clients.get("to be pushed", ()):
        return {"error": NO_CONSUMER}  # declared, and made by whoever listens first
    state = desk.machine.apply(op.InspectConsumer(stream, name), desk.world.now)
    one = desk.streams[stream].consumers[name]
    return {
        "name": name,
        "stream_name": stream,
        "created": CREATED,
        "config": {
            "durable_name": name,
            **_config(one),
            **({} if push is None else {"deliver_subject": push[0]}),
            **({"deliver_group": push[1].group} if push is not None and push[1].group else {}),
        },
        "push_bound": push is not None and push[1].is_bound(),
        "delivered": {"consumer_seq": state.delivered[0], "stream_seq": state.delivered[1]},
        "ack_floor": {"consumer_seq": state.floor[0], "stream_seq": state.floor[1]},
        "num_ack_pending": state.ack_pending,
        "num_redelivered": state.redelivered,
        "num_pending": state.pending,
        "num_waiting": 0,
    }


def _made_consumer(
    desk: OpenNATS, stream: str, name: str, config: dict[str, Any]
) -> dict[str, Any]:
    name = name or config.get("durable_name") or config.get("name") or ""
    if config.get("idle_heartbeat") or config.get("flow_control"):
        left_out("a consumer with heartbeats or flow control", ": leave them out")
    if stream not in desk.streams:
        return {"error": NO_STREAM}
    one = desk.streams[stream].consumers.get(name)
    if not name:
        left_out("a consumer without a name", ": durable=, and declare it")
    if one is None:
        left_out(
            f"a consumer {name!r} of {stream!r} that {desk.name} has not",
            f": declare it: NATSStream(consumers={{{name!r}: NATSConsumer(...)}})",
        )
    check_consumer(desk, stream, name, config)
    subject = config.get("deliver_subject")
    if subject:
        before = pushed(desk, name)
        if before is not None and before[0] != subject:
            if before[1].is_bound():
                return {"error": IN_USE}
            del pushes(desk)[before[0]]
        pushes(desk).setdefault(subject, Push(name, config.get("deliver_group") or ""))
    return _consumer(desk, stream, name)


def _config(one: NATSConsumer) -> dict[str, Any]:
    """Return the options of a consumer that is declared, as a server says them."""
    words: dict[str, Any] = {
        "ack_policy": one.ack,
        "deliver_policy": one.deliver,
        "max_deliver": one.deliver_max,
    }
    if one.ack != "none":
        words["ack_wait"] = (one.backoff_ms or (one.ack_wait_ms,))[0] * NS_A_MS
        words["max_ack_pending"] = one.ack_pending_max
    if one.backoff_ms:
        words["backoff"] = [wait_ms * NS_A_MS for wait_ms in one.backoff_ms]
    if one.deliver == "by_start_sequence":
        words["opt_start_seq"] = one.start
    if len(one.filters) == 1:
        words["filter_subject"] = one.filters[0]
    elif one.filters:
        words["filter_subjects"] = [*one.filters]
    return words


def check_consumer(desk: OpenNATS, stream: str, name: str, config: dict[str, Any]) -> None:
    """Call the run off where code makes a consumer other than the declared one."""
    one = desk.streams[stream].consumers[name]
    mine = {**DEFAULTS, **_config(one)}
    for option in (*DEFAULTS, "ack_wait", "max_ack_pending"):
        theirs = config.get(option)
        if theirs in (None, 0) or (one.backoff_ms and option == "ack_wait"):
            continue  # nobody said anything, or BackOff takes its place
        if theirs != mine.get(option, theirs):
            left_out(
                f"a consumer {name!r} with {option}={theirs} where {desk.name} has {mine[option]}",
                ": declare it as the code makes it",
            )
    for option in LEFT_OUT:
        if config.get(option):
            left_out(f"a consumer with {option}={config[option]!r}", f": leave {option} out")
    _check_filters(desk, stream, name, config)


def _check_filters(desk: OpenNATS, stream: str, name: str, config: dict[str, Any]) -> None:
    """Call the run off where code makes a consumer that wants other subjects."""
    one = desk.streams[stream]
    kept = one.subjects or (stream,)
    asked = config.get("filter_subjects") or [config.get("filter_subject")]
    theirs = {word for word in asked if word}
    mine = {*(one.consumers[name].filters or kept)}
    if not theirs or all(any(matches(word, subject) for word in theirs) for subject in kept):
        theirs = {*kept}
    if theirs != mine and not (theirs <= mine <= {*kept}):
        left_out(
            f"a consumer {name!r} of {', '.join(sorted(theirs))} where {desk.name} has it of "
            f"{', '.join(sorted(mine))}",
            ": declare it as the code makes it",
        )


def reply_to(held: Any) -> str:
    """Return the reply subject of a delivery: what settling it takes."""
    one = held.handle
    stamp = (EPOCH_MS + held.stored_ms) * NS_A_MS
    words = f"{one.stream}.{one.consumer}.{one.times}.{one.sequence}.{one.delivery}"
    return f"$JS.ACK.{words}.{stamp}.{held.pending}"
