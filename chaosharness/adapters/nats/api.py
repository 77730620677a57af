"""What code asks of JetStream's API: streams and consumers, made, changed, told of, and gone.

What the system declares is what code makes at its start: whoever makes it first is answered, if it
is the same, and called off by name, if it is another one. What code makes that is not declared
comes into being, and from then on all is as a server has it.

Source:
    nats-server 2.15, `server/jetstream_api.go`; nats-py 2.16, `js/manager.py`.

Not modelled:
    Consumers that are paused or reset, templates, accounts. See `configs.py` for options.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

import attrs

from chaosharness.adapters.nats import configs
from chaosharness.adapters.nats.buckets import called as spelled
from chaosharness.adapters.nats.buckets import know_bucket
from chaosharness.adapters.nats.configs import Config, Wrong, told
from chaosharness.adapters.nats.server import code_of, left_out
from chaosharness.brokers.message import NO_HEADERS
from chaosharness.brokers.nats.nats import OpenNATS
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.spans import EPOCH_MS
from chaosharness.machines.machine import Refusal
from chaosharness.machines.nats import operations as op
from chaosharness.machines.nats import refusals
from chaosharness.machines.nats.stream import Record
from chaosharness.machines.nats.subjects import matches

PREFIX: Final = "$JS.API."
DIRECT: Final = "$JS.API.DIRECT.GET."
NS_A_MS: Final = 1_000_000
NAME_IN_USE: Final = Refusal("10013", "consumer name already in use")
OTHER_NAME: Final = "consumer name in subject does not match durable name in request"
OTHER_FILTER: Final = "Consumer create request did not match filtered subject from create subject"
_PAGE: Final = {"offset": 0, "limit": 256}

Key = tuple[str, str]


@attrs.define
class Push:
    """A consumer that hands out by itself, to whoever listens where it delivers.

    Attributes:
        key: Its stream, and its name.
        group: One of each such queue group is handed a message.
        ears: Who listens there.
    """

    key: Key
    group: str
    ears: list[Any] = attrs.field(factory=list)

    def is_bound(self) -> bool:
        """Say whether somebody listens there now."""
        return any(one.listens() for one in self.ears)


@attrs.define
class Asked:
    """One request of the API: who asks, and at which site."""

    desk: OpenNATS
    scope: Scope
    site: str
    attempt: int

    def do(self, operation: Any) -> Any:
        """Have the machine do something that is a change.

        Raises:
            Wrong: It refuses.
        """
        found = self.desk.do(operation, self.scope, self.site, self.attempt)
        if isinstance(found, Refusal):
            raise Wrong(found)
        self.desk.world.effects += found is None or found > 0
        return found


def answer(asked: Asked, subject: str, payload: bytes) -> Config:
    """Return what JetStream answers a request of its API."""
    words = subject.removeprefix(PREFIX).split(".")
    given: Config = json.loads(payload) if payload else {}
    about = ANSWERS.get(".".join(words[:2]))
    if about is None and ".".join(words[:3]) in ANSWERS:
        about, words = ANSWERS[".".join(words[:3])], words[1:]
    if about is None:
        left_out(f"{'.'.join(words[:2])} of JetStream's API")
    try:
        return about(asked, words[2:], given)
    except Wrong as error:
        code, text = int(error.refusal.code), error.refusal.text
        return {"error": {"code": code_of(code), "err_code": code, "description": text}}


# ---- what code has made


def streams_of(desk: OpenNATS) -> dict[str, Config]:
    """Return the settings of the streams that code has made, by name."""
    found: dict[str, Config] = desk.clients.setdefault("streams", {})
    return found


def consumers_of(desk: OpenNATS) -> dict[Key, Config]:
    """Return the settings of the consumers that code has made."""
    found: dict[Key, Config] = desk.clients.setdefault("consumers", {})
    return found


def pushes(desk: OpenNATS) -> dict[str, Push]:
    """Return the push consumers that code has made, by where they deliver."""
    found: dict[str, Push] = desk.clients.setdefault("pushes", {})
    return found


def pushed(desk: OpenNATS, key: Key) -> tuple[str, Push] | None:
    """Return where a consumer delivers, if it is one that does."""
    return next((one for one in pushes(desk).items() if one[1].key == key), None)


def is_declared(desk: OpenNATS, key: Key) -> bool:
    """Say whether a consumer is one that the system declares, and that no code has made yet."""
    return key in desk.machine.consumers and key not in consumers_of(desk)


def _stream_config(desk: OpenNATS, name: str) -> Config:
    made = streams_of(desk).get(name)
    return made or configs.stream_config(name, desk.machine.streams[name].settings)


def _consumer_config(desk: OpenNATS, key: Key) -> Config:
    made = consumers_of(desk).get(key)
    return made or configs.consumer_config(key[1], desk.machine.consumers[key].settings)


def _stamp(ms: int) -> str:
    since = datetime.fromtimestamp((EPOCH_MS + ms) / 1_000, UTC)
    return since.isoformat().replace("+00:00", "Z")


# ---- streams


def _names(asked: Asked, words: list[str], given: Config) -> Config:
    subject = given.get("subject")
    found = [
        name
        for name, one in sorted(asked.desk.machine.streams.items())
        if subject is None
        or any(
            pattern == subject or matches(pattern, subject) or matches(subject, pattern)
            for pattern in one.settings.subjects
        )
    ]
    return {"total": len(found), **_PAGE, "streams": found}


def _list(asked: Asked, words: list[str], given: Config) -> Config:
    found = [_told_of(asked.desk, name) for name in sorted(asked.desk.machine.streams)]
    return {"total": len(found), **_PAGE, "streams": found}


def _info(asked: Asked, words: list[str], given: Config) -> Config:
    _check_stream(asked.desk, words[0])
    return _told_of(asked.desk, words[0])


def _check_stream(desk: OpenNATS, name: str) -> None:
    if name not in desk.machine.streams:
        raise Wrong(refusals.NO_STREAM)


def _told_of(desk: OpenNATS, name: str) -> Config:
    state = desk.machine.apply(op.InspectStream(name), desk.world.now)
    stream = desk.machine.streams[name]
    config = _stream_config(desk, name)
    return {
        "config": told(config, always=configs.TOLD_OF_A_STREAM),
        "created": _stamp(desk.clients.get(("created", name), 0)),
        "state": {
            "messages": state.messages,
            "bytes": stream.bytes_kept(),
            "first_seq": state.first,
            "last_seq": state.last,
            "consumer_count": len(desk.machine.of[name]),
        },
    }


def _create_stream(asked: Asked, words: list[str], given: Config) -> Config:
    desk, name = asked.desk, words[0]
    config = configs.stream_of(name, given)
    there = desk.machine.streams.get(name)
    if there is None:
        asked.do(op.CreateStream(name, configs.stream_settings(config)))
        streams_of(desk)[name] = config
        desk.clients["created", name] = desk.world.now
        desk.know_stream(name)
        know_bucket(desk, name)
        return {**_told_of(desk, name), "did_create": True}
    made = streams_of(desk).get(name)
    if made is None:
        _adopt_stream(desk, name, config)
    elif config != made:
        raise Wrong(refusals.NAME_TAKEN)
    return _told_of(desk, name)


def _adopt_stream(desk: OpenNATS, name: str, config: Config) -> None:
    """Take a stream that is declared for the one that code makes: it must be the same."""
    there = desk.machine.streams[name]
    mine = configs.stream_config(name, there.settings)
    for option in configs.SAID_OF_A_STREAM:
        theirs, own = config[option], mine[option]
        if (sorted(theirs) != sorted(own)) if option == "subjects" else theirs != own:
            _differs(desk, f"a stream {name!r}", option, theirs, own)
    know_bucket(desk, name)
    streams_of(desk)[name] = {**config, "subjects": mine["subjects"]}
    there.change(configs.stream_settings(streams_of(desk)[name]))


def _differs(desk: OpenNATS, what: str, option: str, theirs: Any, mine: Any) -> NoReturn:
    left_out(
        f"{what} with {option}={theirs} where {desk.name} has {mine}",
        ": declare it as the code makes it, or leave it out of the system, and the code makes it",
    )


def _update_stream(asked: Asked, words: list[str], given: Config) -> Config:
    desk, name = asked.desk, words[0]
    settings_of = configs.sealed_of if given.get("sealed") else configs.stream_of
    config = settings_of(name, given)
    _check_stream(desk, name)
    there = _stream_config(desk, name)
    configs.check_update(config, there)
    if config == there:
        return _told_of(desk, name)
    asked.do(op.UpdateStream(name, configs.stream_settings(config)))
    streams_of(desk)[name] = config
    desk.know_stream(name)
    return _told_of(desk, name)


def _delete_stream(asked: Asked, words: list[str], given: Config) -> Config:
    desk, name = asked.desk, words[0]
    asked.do(op.DeleteStream(name))
    streams_of(desk).pop(name, None)
    for key in [one for one in consumers_of(desk) if one[0] == name]:
        forget(desk, key, by_somebody=True)
    return {"success": True}


def _purge(asked: Asked, words: list[str], given: Config) -> Config:
    desk, name = asked.desk, words[0]
    there = desk.machine.streams.get(name)
    if there is not None and not there.settings.sealed and _stream_config(desk, name)["deny_purge"]:
        raise configs.wrong(10110, "stream purge not permitted")
    subject = given.get("filter") or None
    purge = op.PurgeStream(name, subject, given.get("seq") or 0, given.get("keep") or 0)
    return {"success": True, "purged": asked.do(purge)}


def _delete_message(asked: Asked, words: list[str], given: Config) -> Config:
    desk, name = asked.desk, words[0]
    if name in desk.machine.streams and _stream_config(desk, name)["deny_delete"]:
        raise configs.wrong(10057, "message delete not permitted")
    asked.do(op.DeleteMessage(name, given.get("seq") or 0))
    return {"success": True}


def _message(asked: Asked, words: list[str], given: Config) -> Config:
    if not any(given.get(word) for word in ("seq", "last_by_subj", "next_by_subj")):
        raise Wrong(refusals.BAD_REQUEST)
    _check_stream(asked.desk, words[0])
    found = _found(asked.desk, words[0], given)
    if found is None:
        raise Wrong(refusals.NO_MESSAGE)
    headers = found.message.headers
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    raw = f"NATS/1.0\r\n{lines}\r\n".encode() if headers is not NO_HEADERS else b""
    said = {"subject": found.subject, "seq": found.sequence, "time": _stamp(found.stored_ms)}
    data = {"data": base64.b64encode(found.body).decode()} if found.body else {}
    return {
        "message": {**said, **data, **({"hdrs": base64.b64encode(raw).decode()} if raw else {})}
    }


def _found(desk: OpenNATS, stream: str, given: Config) -> Record | None:
    """Return the message of a stream that a request means."""
    desk.machine.tick(desk.world.now)
    records = desk.machine.streams[stream].records
    if (last := given.get("last_by_subj")) is not None:
        return next((one for one in reversed(records.values()) if matches(last, one.subject)), None)
    if (subject := given.get("next_by_subj")) is not None:
        since = given.get("seq") or 0
        later = (one for one in records.values() if one.sequence >= since)
        return next((one for one in later if matches(subject, one.subject)), None)
    return records.get(given.get("seq") or 0)


def direct(desk: OpenNATS, subject: str, payload: bytes) -> tuple[dict[str, str], bytes] | None:
    """Return what is answered to a direct get: headers and a body; None where nobody answers."""
    stream, _, last = subject.removeprefix(DIRECT).partition(".")
    if stream not in desk.machine.streams or not _stream_config(desk, stream)["allow_direct"]:
        return None
    given: Config = json.loads(payload) if payload else {}
    if last:
        given = {"last_by_subj": last}
    if not given:
        return {"Status": "408", "Description": "Empty Request"}, b""
    found = _found(desk, stream, given)
    if found is None:
        return {"Status": "404", "Description": "Message Not Found"}, b""
    said = {
        "Nats-Stream": stream,
        "Nats-Subject": found.subject,
        "Nats-Sequence": str(found.sequence),
        "Nats-Time-Stamp": _stamp(found.stored_ms),
    }
    return {**found.message.headers, **said}, found.body


# ---- consumers


def _consumer_names(asked: Asked, words: list[str], given: Config) -> Config:
    _check_stream(asked.desk, words[0])
    found = sorted(one.name for one in asked.desk.machine.of[words[0]])
    return {"total": len(found), **_PAGE, "consumers": found}


def _consumer_list(asked: Asked, words: list[str], given: Config) -> Config:
    names = _consumer_names(asked, words, given)["consumers"]
    found = [_consumer(asked.desk, (words[0], name)) for name in names]
    return {"total": len(found), **_PAGE, "consumers": found}


def _consumer_info(asked: Asked, words: list[str], given: Config) -> Config:
    desk, key = asked.desk, (words[0], words[1])
    _check_stream(desk, key[0])
    awaited = is_declared(desk, key) and key in desk.clients.get("to be pushed", ())
    if key not in desk.machine.consumers or awaited:  # declared, and made by who listens first
        raise Wrong(refusals.NO_CONSUMER)
    return _consumer(desk, key)


def _consumer(desk: OpenNATS, key: Key) -> Config:
    push = pushed(desk, key)
    state = desk.machine.apply(op.InspectConsumer(*key), desk.world.now)
    return {
        "name": key[1],
        "stream_name": key[0],
        "created": _stamp(desk.clients.get(("created", key), 0)),
        "config": told(_consumer_config(desk, key), always=configs.TOLD_OF_A_CONSUMER),
        **({"push_bound": True} if push is not None and push[1].is_bound() else {}),
        "delivered": {"consumer_seq": state.delivered[0], "stream_seq": state.delivered[1]},
        "ack_floor": {"consumer_seq": state.floor[0], "stream_seq": state.floor[1]},
        "num_ack_pending": state.ack_pending,
        "num_redelivered": state.redelivered,
        "num_pending": state.pending,
        "num_waiting": 0,
    }


def _create_consumer(asked: Asked, words: list[str], given: Config) -> Config:
    desk, stream, rest = asked.desk, words[0], words[1:]
    config = given.get("config", {})
    durable = config.get("durable_name") or ""
    if given.get("stream_name", stream) != stream:
        raise configs.wrong(10056, "stream name in subject does not match request")
    name = rest[0] if rest else durable or config.get("name") or _made_up(desk)
    if durable and durable != name:
        raise configs.wrong(10017, OTHER_NAME)
    if len(rest) > 1 and ".".join(rest[1:]) != config.get("filter_subject"):
        raise configs.wrong(10131, OTHER_FILTER)
    _check_stream(desk, stream)
    kept = desk.machine.streams[stream].settings.subjects
    wanted = configs.consumer_of(name, config, kept)
    if not (rest or durable or config.get("name")):
        wanted["name"] = ""  # the server made it up, and does not say it here
    key, action = (stream, name), given.get("action") or ""
    if is_declared(desk, key):
        check_consumer(desk, key, config)
    elif key in desk.machine.consumers:
        there = consumers_of(desk)[key]
        _check_there(desk, key, wanted, there, action)
        wanted["durable_name"] = wanted["durable_name"] or there["durable_name"]
        if wanted != there:
            asked.do(op.CreateConsumer(*key, configs.consumer_settings(wanted), or_update=True))
    elif action == "update":
        raise configs.wrong(10149, "consumer does not exist")
    else:
        _make_consumer(asked, key, wanted)
    adopt_consumer(desk, key, wanted)
    return _consumer(desk, key)


def _create_durable(asked: Asked, words: list[str], given: Config) -> Config:
    return _create_consumer(asked, words[1:], given)


def _made_up(desk: OpenNATS) -> str:
    """Return a name for a consumer that has none: a server makes one up."""
    number = desk.clients["nameless"] = desk.clients.get("nameless", 0) + 1
    return f"nameless{number}"


def _check_there(desk: OpenNATS, key: Key, wanted: Config, there: Config, action: str) -> None:
    """Refuse what a consumer that is there cannot become."""
    if action == "create" and wanted != there:
        raise Wrong(refusals.CONSUMER_TAKEN)
    configs.check_change(wanted, there)
    push = pushed(desk, key)
    moves = push is not None and push[0] != wanted["deliver_subject"]
    if moves and push is not None and push[1].is_bound():
        raise Wrong(NAME_IN_USE)


def _make_consumer(asked: Asked, key: Key, wanted: Config) -> None:
    """Make a consumer that is not there."""
    desk, stream = asked.desk, key[0]
    filters = configs.filters_of(wanted)
    if wanted["durable_name"]:
        called = place = key[1]
        others = {name for of, name in desk.machine.consumers if of != stream}
        if key[1] in others:
            called = place = f"{stream}.{key[1]}"
    else:
        incarnation = asked.scope.incarnation
        called = ",".join(map(spelled, filters)) or stream
        place = f"{called} by {incarnation.service}#{incarnation.replica}"
    asked.do(op.CreateConsumer(*key, configs.consumer_settings(wanted), place))
    desk.know_consumer(key, called)
    desk.clients["created", key] = desk.world.now


def adopt_consumer(desk: OpenNATS, key: Key, config: Config) -> None:
    """Have a consumer be as code made it; know where it delivers."""
    consumers_of(desk)[key] = config
    subject, group = config["deliver_subject"], config["deliver_group"]
    before = pushed(desk, key)
    if before is not None and before[0] != subject:
        del pushes(desk)[before[0]]
    if subject:
        pushes(desk).setdefault(subject, Push(key, group)).group = group


def _delete_consumer(asked: Asked, words: list[str], given: Config) -> Config:
    desk, key = asked.desk, (words[0], words[1])
    _check_stream(desk, key[0])
    asked.do(op.DeleteConsumer(*key))
    forget(desk, key, by_somebody=True)
    return {"success": True}


def forget(desk: OpenNATS, key: Key, *, by_somebody: bool = False) -> None:
    """Know of a consumer no longer: it is gone, with nobody having asked its listeners."""
    config = consumers_of(desk).pop(key, None)
    push = pushed(desk, key)
    if push is not None:
        del pushes(desk)[push[0]]
        for ear in push[1].ears:
            if by_somebody:
                ear.miss(config)


def make_again(desk: OpenNATS, scope: Scope, was: Key, config: Config, start: int) -> Key | None:
    """Make an ordered consumer again that somebody has deleted; None where its stream is gone.

    Args:
        desk: Its broker.
        scope: Of whoever listens.
        was: What it was.
        config: How it was made.
        start: The sequence that it goes on with.
    """
    if was[0] not in desk.machine.streams:
        return None
    key = was[0], _made_up(desk)
    begins = {"deliver_policy": "by_start_sequence", "opt_start_seq": start}
    asked = Asked(desk, scope, f"{desk.name}.api", 0)
    _make_consumer(asked, key, {**config, **begins, "opt_start_time": ""})
    adopt_consumer(desk, key, {**config, **begins})
    return key


def check_consumer(desk: OpenNATS, key: Key, given: Config) -> None:
    """Call the run off where code makes a consumer other than the declared one."""
    stream, name = key
    kept = desk.machine.streams[stream].settings.subjects
    wanted = configs.consumer_of(name, given, kept)
    mine = configs.consumer_config(name, desk.machine.consumers[key].settings)
    for option in configs.SAID_OF_A_CONSUMER:
        if wanted[option] != mine[option]:
            _differs(desk, f"a consumer {name!r}", option, wanted[option], mine[option])
    _check_filters(desk, key, configs.filters_of(wanted))


def _check_filters(desk: OpenNATS, key: Key, asked: list[str]) -> None:
    """Call the run off where code makes a consumer that wants other subjects."""
    kept = desk.machine.streams[key[0]].settings.subjects
    theirs = {*asked}
    mine = {*(desk.machine.consumers[key].settings.filters or kept)}
    if not theirs or all(any(matches(word, subject) for word in theirs) for subject in kept):
        theirs = {*kept}
    if theirs != mine and not (theirs <= mine <= {*kept}):
        _differs(
            desk,
            f"a consumer {key[1]!r}",
            "filters",
            ", ".join(sorted(theirs)),
            ", ".join(sorted(mine)),
        )


def reply_to(held: Any) -> str:
    """Return the reply subject of a delivery: what settling it takes."""
    one = held.handle
    stamp = (EPOCH_MS + held.stored_ms) * NS_A_MS
    words = f"{one.stream}.{one.consumer}.{one.times}.{one.sequence}.{one.delivery}"
    return f"$JS.ACK.{words}.{stamp}.{held.pending}"


Answer = Callable[[Asked, list[str], Config], Config]
ANSWERS: Final[dict[str, Answer]] = {
    "STREAM.NAMES": _names,
    "STREAM.LIST": _list,
    "STREAM.INFO": _info,
    "STREAM.CREATE": _create_stream,
    "STREAM.UPDATE": _update_stream,
    "STREAM.DELETE": _delete_stream,
    "STREAM.PURGE": _purge,
    "STREAM.MSG.GET": _message,
    "STREAM.MSG.DELETE": _delete_message,
    "CONSUMER.NAMES": _consumer_names,
    "CONSUMER.LIST": _consumer_list,
    "CONSUMER.INFO": _consumer_info,
    "CONSUMER.CREATE": _create_consumer,
    "CONSUMER.DURABLE": _create_durable,
    "CONSUMER.DELETE": _delete_consumer,
}
