"""What RabbitMQ refuses of what a client asks for, before it looks at what is there.

Source:
    RabbitMQ 3.10.8, `rabbit_amqqueue.erl` (`check_declare_arguments`, in the order of its list),
    `rabbit_channel.erl` (`check_name`, `check_user_id_header`), `rabbit_basic.erl`
    (`parse_expiration`); each word of it was heard of a running 3.10.8.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from chaosharness.machines.machine import Refusal

RESERVED: Final = "amq."
PRIORITY_MAX: Final = 255
OVERFLOWS: Final = ("drop-head", "reject-publish", "reject-publish-dlx")
QUEUE_TYPES: Final = ("classic", "quorum", "stream")
INTEGER: Final = range(-(2**31), 2**31)

_FOREIGN: Final = {
    "classic": {"x-delivery-limit", "x-max-age", "x-queue-leader-locator"},
    "quorum": {"x-max-age", "x-max-priority", "x-queue-mode"},
    "stream": {
        *("x-dead-letter-exchange", "x-dead-letter-routing-key", "x-delivery-limit", "x-expires"),
        *("x-max-length", "x-max-priority", "x-message-ttl", "x-overflow", "x-queue-mode"),
        "x-single-active-consumer",
    },
}
"""Which arguments a queue of each kind refuses, of those that another takes."""


def reserved(what: str, name: str) -> Refusal | None:
    """Refuse a name that is RabbitMQ's own."""
    if not name.startswith(RESERVED):
        return None
    text = f"ACCESS_REFUSED - {what} name '{name}' contains reserved prefix '{RESERVED}*'"
    return Refusal("403", text)


def unknown_exchange_type(kind: str) -> Refusal:
    """Return what a client is told of a kind of exchanges that there is not: all is closed."""
    return Refusal("503", f"COMMAND_INVALID - unknown exchange type '{kind}'")


def system_exchange(name: str) -> Refusal:
    """Return what a client is told that deletes an exchange of RabbitMQ's own."""
    text = f"ACCESS_REFUSED - deletion of system exchange '{name}' in vhost '/' not allowed"
    return Refusal("403", text)


def wrong_message(
    *, delivery_mode: int | None, expiration: Any, user_id: str | None, user: str
) -> Refusal | None:
    """Refuse a message by its properties; `user` is who its publisher is, if that is known."""
    if delivery_mode is not None and delivery_mode not in (1, 2):
        return _precondition(f"invalid message: {{delivery_mode_unknown,{delivery_mode}}}")
    if user_id and user and user_id != user:
        text = f"user_id property set to '{user_id}' but authenticated user was '{user}'"
        return _precondition(text)
    return None if expiration is None else wrong_expiration(str(expiration))


def wrong_expiration(value: str) -> Refusal | None:
    """Refuse a time to live that is no whole number from 0, written as text."""
    found = re.match(r"[+-]?\d+", value)
    if found is None:
        why = "no_integer"
    elif rest := value[found.end() :]:
        why = f'{{leftover_string,"{rest}"}}'
    elif int(value) < 0:
        why = f"{{value_negative,{int(value)}}}"
    else:
        return None
    return _precondition(f"invalid expiration '{value}': {why}")


# ---- arguments of a queue


def wrong_arguments(
    name: str,
    arguments: Mapping[str, Any],
    *,
    durable: bool = True,
    exclusive: bool = False,
    auto_delete: bool = False,
) -> Refusal | None:
    """Refuse what is asked of a queue that is not there yet, with the first reason there is."""
    what = f"queue '{name}' in vhost '/'"
    for argument, check in _CHECKS.items():
        if argument in arguments and (why := check(arguments[argument], arguments)):
            if why is _OTHER_TYPE:
                text = f"invalid type '{_type(arguments[argument])}' for arg '{argument}' in {what}"
            else:
                text = f"invalid arg '{argument}' for {what}: {why}"
            return _precondition(text)
    kind = arguments.get("x-queue-type") or "classic"
    for argument in sorted(_FOREIGN[kind] & {*arguments}):
        of_type = f"of queue type rabbit_{kind}_queue"
        return _precondition(f"invalid arg '{argument}' for {what} {of_type}")
    if kind == "classic":
        return None
    given = {"auto-delete": auto_delete, "exclusive-owner": exclusive, "non-durable": not durable}
    for flag, is_so in given.items():
        if is_so:
            return _precondition(f"invalid property '{flag}' for {what}")
    return None


def _precondition(text: str) -> Refusal:
    return Refusal("406", f"PRECONDITION_FAILED - {text}")


def _type(value: Any) -> str:
    """Return what AMQP calls a value's type."""
    match value:
        case None:
            return "void"
        case bool():
            return "bool"
        case int():
            return "signedint" if value in INTEGER else "long"
        case float():
            return "double"
        case str():
            return "longstr"
        case bytes() | bytearray():
            return "binary"
        case Mapping():
            return "table"
        case Decimal():
            return "decimal"
        case datetime():
            return "timestamp"
        case _:
            return "array"


_OTHER_TYPE: Final = "of another type"
"""A reason that has its own sentence."""


def _whole(value: Any, _: Mapping[str, Any]) -> str:
    if isinstance(value, bool) or not isinstance(value, int):
        return f'"expected integer, got {_type(value)}"'
    return f"{{value_negative,{value}}}" if value < 0 else ""


def _positive(value: Any, others: Mapping[str, Any]) -> str:
    return _whole(value, others) or ("{value_zero,0}" if value == 0 else "")


def _priority(value: Any, others: Mapping[str, Any]) -> str:
    above = f"{{max_value_exceeded,{value}}}"
    return _whole(value, others) or (above if value > PRIORITY_MAX else "")


def _text(value: Any, _: Mapping[str, Any]) -> str:
    return "" if isinstance(value, str) else f"{{unacceptable_type,{_type(value)}}}"


def _exchange(value: Any, _: Mapping[str, Any]) -> str:
    return "" if isinstance(value, str) else _OTHER_TYPE


def _letters_key(value: Any, others: Mapping[str, Any]) -> str:
    nowhere = "" if "x-dead-letter-exchange" in others else "routing_key_but_no_dlx_defined"
    return _text(value, others) or nowhere


def _overflow(value: Any, others: Mapping[str, Any]) -> str:
    return _text(value, others) or ("" if value in OVERFLOWS else "invalid_overflow")


def _flag(value: Any, _: Mapping[str, Any]) -> str:
    return "" if isinstance(value, bool) else f"{{unacceptable_type,{_type(value)}}}"


def _mode(value: Any, others: Mapping[str, Any]) -> str:
    unknown = "" if value in ("default", "lazy") else f"\"unsupported queue mode '{value}'\""
    return _text(value, others) or unknown


def _kind(value: Any, others: Mapping[str, Any]) -> str:
    unknown = "" if value in QUEUE_TYPES else f"\"unsupported queue type '{value}'\""
    return _text(value, others) or unknown


_CHECKS: Final[dict[str, Callable[[Any, Mapping[str, Any]], str]]] = {
    "x-expires": _positive,
    "x-message-ttl": _whole,
    "x-dead-letter-exchange": _exchange,
    "x-dead-letter-routing-key": _letters_key,
    "x-max-length": _whole,
    "x-max-length-bytes": _whole,
    "x-max-priority": _priority,
    "x-overflow": _overflow,
    "x-queue-mode": _mode,
    "x-single-active-consumer": _flag,
    "x-queue-type": _kind,
}
