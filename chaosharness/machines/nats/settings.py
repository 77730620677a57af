"""The settings of JetStream's streams and consumers, with the server's ranges and defaults."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal, get_args

import attrs

from chaosharness.machines.nats.subjects import is_valid

Retention = Literal["limits", "interest", "workqueue"]
Discard = Literal["old", "new"]
Storage = Literal["file", "memory"]
AckPolicy = Literal["explicit", "all", "none"]
DeliverPolicy = Literal[
    "all", "last", "new", "by_start_sequence", "by_start_time", "last_per_subject"
]

ACK_WAIT_MS: Final = 30_000
ACK_PENDING_MAX: Final = 1_000
DUPLICATE_WINDOW_MS: Final = 120_000
WINDOW_MS_MIN: Final = 100
AGE_MS_MIN: Final = 100
UNLIMITED: Final = -1


def at_least(low: int, *, or_unlimited: bool = False, or_none: bool = False) -> Any:
    """Return what checks that a value is a whole number from `low` on."""

    def check(_: Any, attribute: Any, value: Any) -> None:
        if (or_unlimited and value == UNLIMITED) or (or_none and value is None):
            return
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            words = f"a whole number from {low:,} on"
            words += ", or -1 for no limit" if or_unlimited else ""
            words += ", or None" if or_none else ""
            raise ValueError(f"{attribute.name} must be {words}, not {value!r}")

    return check


def numbers(value: Iterable[int]) -> tuple[int, ...]:
    """Return numbers that were given in a list, say."""
    return tuple(value)


def _texts(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


def _word(kind: Any) -> Any:
    def check(_: Any, attribute: Any, value: Any) -> None:
        if value not in get_args(kind):
            known = ", ".join(repr(one) for one in get_args(kind))
            raise ValueError(f"{attribute.name} must be one of {known}, not {value!r}")

    return check


def _subjects(_: Any, attribute: Any, value: Any) -> None:
    for subject in value:
        if not isinstance(subject, str) or not is_valid(subject):
            raise ValueError(
                f"{attribute.name} must be subjects, words between dots with '*' for one word and "
                f"'>' at the end for the rest, not {subject!r}"
            )


@attrs.frozen(kw_only=True)
class StreamSettings:
    """What a stream goes by.

    Attributes:
        subjects: What it keeps: messages published to them.
        retention: How long. `limits`: until a limit is reached, whoever has read it. `interest`:
            until each consumer that wants it has acknowledged it; what nobody wants is not kept.
            `workqueue`: until it is acknowledged, by the one consumer that may want it.
        msgs_max: Messages it keeps; -1: no limit.
        msgs_per_subject_max: Messages it keeps of each subject; -1: no limit.
        age_ms_max: How long it keeps a message; 0: no limit.
        discard: What gives way at `msgs_max`: the `old`est message, or the `new` one, refused.
        duplicate_window_ms: How long a message id is recognised.
        bytes_max: Bytes it keeps, headers and some 30 bytes a message among them; -1: no limit.
        message_bytes_max: Bytes of a message, with its headers; -1: no limit.
        storage: Where it keeps them: a message takes a few bytes more in a `file`.
        consumers_max: How many consumers it may have; -1: no limit.
        rolls_up: Whether a message may take the place of all before it: `Nats-Rollup`.
        takes_ttl: Whether a message may say how long it is kept: `Nats-TTL`.
        sealed: Whether nothing comes and nothing goes any more.

    Source:
        nats-server 2.15, `server/stream.go` (`checkStreamCfg`); NATS documentation, "Streams".
    """

    subjects: tuple[str, ...] = attrs.field(converter=_texts, validator=_subjects)
    retention: Retention = attrs.field(default="limits", validator=_word(Retention))
    msgs_max: int = attrs.field(default=UNLIMITED, validator=at_least(1, or_unlimited=True))
    msgs_per_subject_max: int = attrs.field(
        default=UNLIMITED, validator=at_least(1, or_unlimited=True)
    )
    age_ms_max: int = attrs.field(default=0, validator=at_least(0))
    discard: Discard = attrs.field(default="old", validator=_word(Discard))
    duplicate_window_ms: int | None = attrs.field(
        default=None, validator=at_least(WINDOW_MS_MIN, or_none=True)
    )
    bytes_max: int = attrs.field(default=UNLIMITED, validator=at_least(1, or_unlimited=True))
    message_bytes_max: int = attrs.field(
        default=UNLIMITED, validator=at_least(1, or_unlimited=True)
    )
    storage: Storage = attrs.field(default="file", validator=_word(Storage))
    consumers_max: int = attrs.field(default=UNLIMITED, validator=at_least(1, or_unlimited=True))
    rolls_up: bool = False
    takes_ttl: bool = False
    sealed: bool = False

    def __attrs_post_init__(self) -> None:
        if 0 < self.age_ms_max < AGE_MS_MIN:
            raise ValueError(f"age_ms_max must be 0, or at least {AGE_MS_MIN}")
        if 0 < self.age_ms_max < (self.duplicate_window_ms or 0):
            raise ValueError("duplicate_window_ms must not be longer than age_ms_max")

    @property
    def window_ms(self) -> int:
        """How long a message id is recognised: by default two minutes, or as long as it is kept."""
        if self.duplicate_window_ms is not None:
            return self.duplicate_window_ms
        return min(self.age_ms_max or DUPLICATE_WINDOW_MS, DUPLICATE_WINDOW_MS)


@attrs.frozen(kw_only=True)
class ConsumerSettings:
    """What a consumer goes by.

    Attributes:
        filters: The subjects it wants; none: all of its stream.
        ack: `explicit`: each message is acknowledged. `all`: an acknowledgement is one of all
            messages before it too. `none`: a message is done once it is sent.
        ack_wait_ms: How long a message may be held before it is handed out again.
        deliver_max: How often a message is handed out; then it never is again. -1: no limit.
        ack_pending_max: Messages in hands, or on their way back, at a time; -1: no limit.
        backoff_ms: How long it may be held, at the first delivery, the second, and so on; the last
            for all others. It takes the place of `ack_wait_ms`.
        deliver: Where it begins.
        start: The sequence, or the time in milliseconds, of the two policies that take one.

    Source:
        nats-server 2.15, `server/consumer.go` (`setConsumerConfigDefaults`, `checkConsumerCfg`);
        NATS documentation, "Consumers".
    """

    filters: tuple[str, ...] = attrs.field(default=(), converter=_texts, validator=_subjects)
    ack: AckPolicy = attrs.field(default="explicit", validator=_word(AckPolicy))
    ack_wait_ms: int = attrs.field(default=ACK_WAIT_MS, validator=at_least(1))
    deliver_max: int = attrs.field(default=UNLIMITED, validator=at_least(1, or_unlimited=True))
    ack_pending_max: int = attrs.field(
        default=ACK_PENDING_MAX, validator=at_least(1, or_unlimited=True)
    )
    backoff_ms: tuple[int, ...] = attrs.field(default=(), converter=numbers)
    deliver: DeliverPolicy = attrs.field(default="all", validator=_word(DeliverPolicy))
    start: int | None = attrs.field(default=None, validator=at_least(0, or_none=True))

    def __attrs_post_init__(self) -> None:
        for wait in self.backoff_ms:
            if not isinstance(wait, int) or isinstance(wait, bool) or wait < 1:
                raise ValueError(f"backoff_ms must be whole numbers from 1 on, not {wait!r}")
        if self.deliver in ("by_start_sequence", "by_start_time") and self.start is None:
            raise ValueError(f"deliver={self.deliver!r} needs start=...")

    @property
    def wait_ms(self) -> int:
        """How long a message may be held at its first delivery."""
        return self.backoff_ms[0] if self.backoff_ms else self.ack_wait_ms
