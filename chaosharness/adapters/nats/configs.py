"""The settings of streams and consumers as clients write them, and as a server reads them.

What is left out takes the server's default, what it cannot be is refused in the server's words, and
what is not modelled calls the run off.

Source:
    nats-server 2.15: `server/stream.go` (`checkStreamCfg`), `server/consumer.go`
    (`setConsumerConfigDefaults`, `checkConsumerCfg`, `checkNewConsumerConfig`); each was asked of a
    running one.

Not modelled:
    `NOT_MODELLED_OF_A_STREAM`, `NOT_MODELLED_OF_A_CONSUMER`. What changes nothing that code could
    see is kept and told: descriptions, storage, replicas, compression, how many requests may wait.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from chaosharness.adapters.nats.server import left_out
from chaosharness.kernel.spans import EPOCH_MS
from chaosharness.machines.machine import Refusal
from chaosharness.machines.nats import ConsumerSettings, StreamSettings
from chaosharness.machines.nats.refusals import unchangeable, wrong_stream
from chaosharness.machines.nats.settings import ACK_WAIT_MS, DUPLICATE_WINDOW_MS, UNLIMITED
from chaosharness.machines.nats.subjects import is_literal, is_valid, matches, overlap

Config = dict[str, Any]

NS_A_MS: Final = 1_000_000
LEAST_NS: Final = 100 * NS_A_MS
REPLICAS_MAX: Final = 5
INACTIVE_NS: Final = 5_000 * NS_A_MS
"""How long a consumer without a durable name outlives whoever asks for its messages."""
WAITING_MAX: Final = 512
PENDING_MAX: Final = 1_000

NOT_MODELLED_OF_A_STREAM: Final = (
    *("allow_atomic", "allow_batched", "allow_msg_counter", "allow_msg_schedules"),
    *("consumer_limits", "discard_new_per_subject"),
    *("first_seq", "mirror", "no_ack", "republish", "sources", "subject_delete_marker_ttl"),
    *("subject_transform", "template_owner"),
)
NOT_MODELLED_OF_A_CONSUMER: Final = (
    *("max_batch", "max_bytes", "max_expires", "pause_until", "priority_groups"),
    "rate_limit_bps",
)
_COUNTS: Final = ("max_consumers", "max_msgs", "max_bytes", "max_msgs_per_subject", "max_msg_size")
_WORDS: Final = {
    "retention": ("limits", "interest", "workqueue"),
    "discard": ("old", "new"),
    "storage": ("file", "memory"),
    "deliver_policy": (
        *("all", "last", "new", "by_start_sequence", "by_start_time", "last_per_subject"),
    ),
    "ack_policy": ("none", "all", "explicit"),
    "replay_policy": ("instant", "original"),
}
SAID_OF_A_STREAM: Final = (
    *("subjects", "retention", "max_msgs", "max_msgs_per_subject", "max_age", "discard"),
    "duplicate_window",
)
"""What a declaration says of a stream: the rest is as the code has it that makes it first."""
SAID_OF_A_CONSUMER: Final = (
    *("ack_policy", "deliver_policy", "max_deliver", "backoff", "opt_start_seq"),
    *("opt_start_time", "ack_wait", "max_ack_pending"),
)
"""What a declaration says of a consumer, beside its filters."""


class Wrong(Exception):
    """A server refuses what is asked for."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


def wrong(code: int, text: str) -> Wrong:
    """Return a refusal, to be raised."""
    return Wrong(Refusal(str(code), text))


def _word(config: Config, name: str) -> None:
    if config[name] not in _WORDS[name]:
        value = config[name]
        raise wrong(10025, f'invalid JSON: can not unmarshal "\\"{value}\\""')


# ---- streams


def stream_of(name: str, asked: Config) -> Config:
    """Return all settings of a stream that is asked for.

    Raises:
        Wrong: The server refuses them.
    """
    if asked.get("name", name) != name:
        raise wrong(10056, "stream name in subject does not match request")
    if asked.get("sealed"):
        raise Wrong(wrong_stream("stream configuration for create can not be sealed"))
    for option in NOT_MODELLED_OF_A_STREAM:
        if asked.get(option):
            left_out(f"a stream with {option}={asked[option]!r}", f": leave {option} out")
    config: Config = {
        "name": name,
        "description": asked.get("description") or "",
        "subjects": asked.get("subjects") or [name],
        "retention": asked.get("retention") or "limits",
        **{one: max(asked.get(one) or 0, 0) or UNLIMITED for one in _COUNTS},
        "max_age": asked.get("max_age") or 0,
        "discard": asked.get("discard") or "old",
        "storage": asked.get("storage") or "file",
        "num_replicas": asked.get("num_replicas") or 1,
        "duplicate_window": asked.get("duplicate_window") or 0,
        "placement": asked.get("placement") or {},
        "compression": asked.get("compression") or "none",
        "allow_direct": bool(asked.get("allow_direct")),
        "mirror_direct": bool(asked.get("mirror_direct")),
        "sealed": False,
        "allow_rollup_hdrs": bool(asked.get("allow_rollup_hdrs")),
        "allow_msg_ttl": bool(asked.get("allow_msg_ttl")),
        "consumer_limits": {},
        "deny_delete": bool(asked.get("deny_delete")),
        "deny_purge": bool(asked.get("deny_purge")),
        "metadata": _own_words(asked.get("metadata")),
    }
    for word in ("retention", "discard", "storage"):
        _word(config, word)
    _check_times(config)
    if config["num_replicas"] > REPLICAS_MAX:
        raise Wrong(wrong_stream(f"maximum replicas is {REPLICAS_MAX}"))
    _check_subjects(config["subjects"])
    return config


def _own_words(metadata: Config | None) -> Config:
    """Return what code says of its own; the server adds to it."""
    return {word: text for word, text in (metadata or {}).items() if not word.startswith("_nats.")}


def _check_times(config: Config) -> None:
    age, window = config["max_age"], config["duplicate_window"]
    if age < 0:
        raise Wrong(wrong_stream("max age can not be negative"))
    if 0 < age < LEAST_NS:
        raise Wrong(wrong_stream("max age needs to be >= 100ms"))
    if window < 0:
        raise Wrong(wrong_stream("duplicates window can not be negative"))
    if not window:
        most = DUPLICATE_WINDOW_MS * NS_A_MS
        config["duplicate_window"] = window = min(age or most, most)
    if 0 < age < window:
        raise Wrong(wrong_stream("duplicates window can not be larger then max age"))
    if window < LEAST_NS:
        raise Wrong(wrong_stream("duplicates window needs to be >= 100ms"))


def _check_subjects(subjects: list[str]) -> None:
    for index, one in enumerate(subjects):
        if not is_valid(one):
            raise Wrong(wrong_stream("invalid subject"))
        if one == ">":
            raise Wrong(wrong_stream("capturing all subjects requires no-ack to be true"))
        if overlap(one, "$JS.API.>"):
            raise Wrong(
                wrong_stream("subjects that overlap with jetstream api require no-ack to be true")
            )
        for other in subjects[index + 1 :]:
            if overlap(one, other):
                raise Wrong(wrong_stream(f'subject "{one}" overlaps with "{other}"'))


def sealed_of(name: str, asked: Config) -> Config:
    """Return all settings of a stream that is asked to become one to which nothing comes.

    *Source*: nats-server 2.15, `server/stream.go` (`checkStreamCfg`).
    """
    config = stream_of(name, {**asked, "sealed": False})
    fixed = {"max_age": 0, "discard": "new", "deny_delete": True, "deny_purge": True}
    return {**config, **fixed, "sealed": True, "allow_rollup_hdrs": False}


def check_update(config: Config, there: Config) -> None:
    """Refuse what a stream cannot become.

    Raises:
        Wrong: The server refuses it.
    """
    if there["sealed"] and not config["sealed"]:
        raise Wrong(wrong_stream("stream configuration update can not unseal a sealed stream"))
    kept = {config["retention"], there["retention"]}
    if len(kept) > 1 and "workqueue" in kept:
        return  # refused as that
    for option, what in (("deny_delete", "message deletes"), ("deny_purge", "purge")):
        if there[option] and not config[option]:
            raise Wrong(wrong_stream(f"stream configuration update can not cancel deny {what}"))
    if kept == {"limits", "interest"}:
        left_out(
            f"a stream whose retention becomes {config['retention']!r}",
            ": make it anew, or leave its retention as it is",
        )


def stream_settings(config: Config) -> StreamSettings:
    """Return what the machine goes by."""
    return StreamSettings(
        subjects=tuple(config["subjects"]),
        retention=config["retention"],
        msgs_max=config["max_msgs"],
        msgs_per_subject_max=config["max_msgs_per_subject"],
        age_ms_max=config["max_age"] // NS_A_MS,
        discard=config["discard"],
        duplicate_window_ms=config["duplicate_window"] // NS_A_MS,
        bytes_max=config["max_bytes"],
        message_bytes_max=config["max_msg_size"],
        storage=config["storage"],
        consumers_max=config["max_consumers"],
        rolls_up=config["allow_rollup_hdrs"] and not config["deny_purge"],
        takes_ttl=config["allow_msg_ttl"],
        sealed=config["sealed"],
    )


def stream_config(name: str, settings: StreamSettings) -> Config:
    """Return the settings of a stream that is declared, as a server says them."""
    asked = {
        "subjects": [*settings.subjects],
        "retention": settings.retention,
        "max_msgs": settings.msgs_max,
        "max_msgs_per_subject": settings.msgs_per_subject_max,
        "max_age": settings.age_ms_max * NS_A_MS,
        "discard": settings.discard,
        "duplicate_window": settings.window_ms * NS_A_MS,
    }
    return {**stream_of(name, {}), **asked}


def told(config: Config, *, always: Iterable[str]) -> Config:
    """Return settings as a server says them: most that are empty it leaves out."""
    return {word: value for word, value in config.items() if value or word in always}


TOLD_OF_A_STREAM: Final = (
    *("max_age", "allow_direct", "mirror_direct", "sealed", "deny_delete", "deny_purge"),
    *("metadata", "allow_rollup_hdrs", "allow_msg_ttl", "consumer_limits"),
)
TOLD_OF_A_CONSUMER: Final = ("num_replicas", "metadata")


# ---- consumers


def consumer_of(name: str, asked: Config, subjects: Iterable[str]) -> Config:
    """Return all settings of a consumer that is asked for.

    Args:
        name: Its name.
        asked: What a client says.
        subjects: What its stream keeps.

    Raises:
        Wrong: The server refuses them.
    """
    ack, durable = asked.get("ack_policy") or "none", asked.get("durable_name") or ""
    acks, push = ack != "none", asked.get("deliver_subject") or ""
    backoff = asked.get("backoff") or []
    wait = backoff[0] if backoff else asked.get("ack_wait") or 0
    pending = asked.get("max_ack_pending") or 0
    config: Config = {
        "durable_name": durable,
        "name": name,
        "description": asked.get("description") or "",
        "deliver_policy": asked.get("deliver_policy") or "all",
        "opt_start_seq": asked.get("opt_start_seq") or 0,
        "opt_start_time": asked.get("opt_start_time") or "",
        "ack_policy": ack,
        "ack_wait": wait or (ACK_WAIT_MS * NS_A_MS if acks else 0),
        "max_deliver": max(asked.get("max_deliver") or 0, 0) or UNLIMITED,
        "backoff": [*backoff],
        "filter_subject": asked.get("filter_subject") or "",
        "filter_subjects": asked.get("filter_subjects") or [],
        "replay_policy": asked.get("replay_policy") or "instant",
        "sample_freq": asked.get("sample_freq") or "",
        "max_waiting": 0 if push else max(asked.get("max_waiting") or 0, 0) or WAITING_MAX,
        "max_ack_pending": max(pending, UNLIMITED) or (PENDING_MAX if acks else 0),
        "deliver_subject": push,
        "deliver_group": asked.get("deliver_group") or "",
        "inactive_threshold": max(asked.get("inactive_threshold") or 0, 0)
        or (0 if durable else INACTIVE_NS),
        "num_replicas": asked.get("num_replicas") or 0,
        "mem_storage": bool(asked.get("mem_storage")),
        "headers_only": bool(asked.get("headers_only")),
        "idle_heartbeat": asked.get("idle_heartbeat") or 0,
        "flow_control": bool(asked.get("flow_control")),
        "metadata": _own_words(asked.get("metadata")),
    }
    for word in ("ack_policy", "deliver_policy", "replay_policy"):
        _word(config, word)
    _check_consumer(config, asked, subjects)
    for option in NOT_MODELLED_OF_A_CONSUMER:
        if asked.get(option):
            left_out(f"a consumer with {option}={asked[option]!r}", f": leave {option} out")
    if config["replay_policy"] == "original":
        left_out("a consumer with replay_policy='original'", ": leave replay_policy out")
    return config


def _check_consumer(config: Config, asked: Config, subjects: Iterable[str]) -> None:
    if config["ack_wait"] < 0:
        raise wrong(10183, "consumer ack wait needs to be positive")
    push = config["deliver_subject"]
    if push:
        if not is_literal(push):
            raise wrong(10079, "consumer deliver subject has wildcards")
        if any(matches(one, push) for one in subjects):
            raise wrong(10081, "consumer deliver subject forms a cycle")
        if (asked.get("max_waiting") or 0) > 0:
            raise wrong(10080, "consumer in push mode can not set max waiting")
    else:
        if asked.get("rate_limit_bps"):
            raise wrong(10086, "consumer in pull mode can not have rate limit set")
        if asked.get("idle_heartbeat"):
            raise wrong(10088, "consumer idle heartbeat requires a push based consumer")
        if asked.get("flow_control"):
            raise wrong(10089, "consumer flow control requires a push based consumer")
    _check_start(config)
    if config["filter_subject"] and config["filter_subjects"]:
        raise wrong(10136, "consumer cannot have both FilterSubject and FilterSubjects specified")
    if "" in config["filter_subjects"]:
        raise wrong(10139, "consumer filter in FilterSubjects cannot be empty")
    if not all(is_valid(one) for one in filters_of(config)):
        raise Wrong(wrong_stream("invalid subject"))


_STARTS: Final = {
    "by_start_sequence": "by start sequence",
    "by_start_time": "by start time",
    "last_per_subject": "last per subject",
}


def _check_start(config: Config) -> None:
    policy = config["deliver_policy"]
    policy_words = f"consumer delivery policy is deliver {_STARTS.get(policy, policy)}"
    for option, needs, what in (
        ("opt_start_seq", "by_start_sequence", "sequence"),
        ("opt_start_time", "by_start_time", "time"),
    ):
        if bool(config[option]) != (policy == needs):
            words = "not set" if policy == needs else "also set"
            raise wrong(10094, f"{policy_words}, but optional start {what} is {words}")


def filters_of(config: Config) -> list[str]:
    """Return the subjects that a consumer wants; none: all."""
    return config["filter_subjects"] or [one for one in (config["filter_subject"],) if one]


_FIXED: Final = (
    ("mem_storage", "storage type"),
    ("deliver_policy", "deliver policy"),
    ("opt_start_seq", "start sequence"),
    ("opt_start_time", "start time"),
    ("ack_policy", "ack policy"),
    ("replay_policy", "replay policy"),
)
"""What of a consumer stays as it was made, in the order in which the server looks."""


def check_change(config: Config, there: Config) -> None:
    """Refuse what a consumer cannot become.

    Raises:
        Wrong: The server refuses it.
    """
    for option, words in _FIXED:
        if config[option] != there[option]:
            raise Wrong(unchangeable(words))
    if bool(config["deliver_subject"]) != bool(there["deliver_subject"]):
        kinds = "pull consumer to push" if config["deliver_subject"] else "push consumer to pull"
        raise wrong(10012, f"can not update {kinds} based")
    if config["max_waiting"] != there["max_waiting"]:
        raise Wrong(unchangeable("max waiting"))


def consumer_settings(config: Config) -> ConsumerSettings:
    """Return what the machine goes by."""
    start: int | None = config["opt_start_seq"] or None
    if config["opt_start_time"]:
        since = datetime.fromisoformat(config["opt_start_time"].replace("Z", "+00:00"))
        start = max(round(since.timestamp() * 1_000) - EPOCH_MS, 0)
    acks = config["ack_policy"] != "none"
    return ConsumerSettings(
        filters=tuple(filters_of(config)),
        ack=config["ack_policy"],
        ack_wait_ms=max(config["ack_wait"] // NS_A_MS, 1) if acks else ACK_WAIT_MS,
        deliver_max=config["max_deliver"],
        ack_pending_max=config["max_ack_pending"] or PENDING_MAX,
        backoff_ms=tuple(max(one // NS_A_MS, 1) for one in config["backoff"]),
        deliver=config["deliver_policy"],
        start=start,
    )


def consumer_config(name: str, settings: ConsumerSettings) -> Config:
    """Return the settings of a consumer that is declared, as a server says them."""
    asked: Config = {
        "durable_name": name,
        "ack_policy": settings.ack,
        "deliver_policy": settings.deliver,
        "max_deliver": settings.deliver_max,
        "backoff": [one * NS_A_MS for one in settings.backoff_ms],
        "filter_subject": settings.filters[0] if len(settings.filters) == 1 else "",
        "filter_subjects": [*settings.filters] if len(settings.filters) > 1 else [],
    }
    if settings.ack != "none":
        asked["ack_wait"] = settings.wait_ms * NS_A_MS
        asked["max_ack_pending"] = settings.ack_pending_max
    if settings.deliver == "by_start_sequence":
        asked["opt_start_seq"] = settings.start
    elif settings.deliver == "by_start_time":
        since = datetime.fromtimestamp((EPOCH_MS + (settings.start or 0)) / 1_000, UTC)
        asked["opt_start_time"] = since.isoformat().replace("+00:00", "Z")
    return consumer_of(name, asked, ())
