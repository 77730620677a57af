"""Masking: what may differ between two runs of the same business, and means nothing.

Two runs of a right system, one disturbed and one calm, end with the same business state
and yet not with the same bytes: timestamps, generated ids, numbers counted up in the order
of arrival, counters of attempts. `mask` replaces those by a star; what is left is compared.

Masked by what a value looks like: UUIDs, ULIDs, hexadecimal tokens of 16 digits or more,
ISO dates and times, numbers that are a Unix time near the run's own. Masked by a column's
name: times, positions, versions, attempts, tokens; and whole numbers in columns that are
ids or sequence numbers, since a database counts them up. Text ids (`o1`) are kept: they
are the business. Everything else the user names. The order of a list is that of arrival.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

STAR: Final = "*"

LOOKS: Final = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"  # UUID
    r"|\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b"  # ULID
    r"|\b(?=[0-9a-fA-F]*[0-9])[0-9a-fA-F]{16,}\b"  # token
    r"|\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"  # ISO 8601
)
TIMES: Final = frozenset(
    {"at", "ts", "time", "timestamp", "date", "datetime", "created", "updated", "modified"}
    | {"deadline", "expires", "expiry", "duration", "elapsed", "ms", "seconds"}
)
"""Words for when something was, is to be, or how long it took."""

TRIES: Final = frozenset({"attempt", "attempts", "tries", "retries", "deliveries", "redelivered"})
"""Words for how often something was tried."""

EVER: Final = (
    TIMES
    | TRIES
    | {"offset", "position", "version", "rev", "revision", "etag"}
    | {"token", "nonce", "uuid", "guid", "trace", "span"}
)
"""Words in a column's name under which any value is masked."""

WHOLE: Final = frozenset(
    ("id", "rowid", "pk", "seq", "sequence", "serial", "no", "nr", "number", "index", "rank")
)
"""Words in a column's name under which whole numbers are masked."""

_UNIX_S: Final = (1_893_000_000, 1_990_000_000)
"""Virtual time begins in 2030: seconds of Unix time from there for three years."""

_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


@lru_cache(maxsize=4096)
def words_in(name: str) -> frozenset[str]:
    """Split a column's name: `createdAt` and `created_at` are `created`, `at`."""
    return frozenset(word.lower() for word in _WORD.findall(name))


def mask(value: Any, name: str = "", ignore: frozenset[str] = frozenset()) -> Any:
    """Return a value without what may differ, in a form that can be compared and hashed.

    Args:
        value: A plain value, or a nest of them; JSON in a text is read.
        name: The column or field it stands in.
        ignore: Names that the user wants masked.
    """
    if value is None or isinstance(value, bool):
        return value
    words = words_in(name) if name else frozenset()
    if name in ignore or words & EVER:
        return STAR
    match value:
        case int() | float():
            if isinstance(value, int) and words & WHOLE:
                return STAR
            return STAR if is_unix_time(value) else value
        case bytes():
            return _mask_text(value.decode("utf-8", "backslashreplace"), ignore)
        case str():
            return _mask_text(value, ignore)
        case Mapping():
            # keys are data too: a store may hold things under generated names
            items = ((LOOKS.sub(STAR, str(key)), key, one) for key, one in value.items())
            return tuple(
                sorted(
                    ((shown, mask(one, str(key), ignore)) for shown, key, one in items), key=repr
                )
            )
        case list() | tuple():  # in any order, as the rows of a table are
            return tuple(sorted((mask(one, name, ignore) for one in value), key=repr))
        case _:
            return repr(value)


def _mask_text(text: str, ignore: frozenset[str]) -> Any:
    if text[:1] in ("{", "["):
        try:
            return mask(json.loads(text), "", ignore)
        except ValueError:
            pass  # not JSON after all
    return LOOKS.sub(STAR, text)


def is_unix_time(value: float) -> bool:
    low, high = _UNIX_S
    return any(low * scale <= value <= high * scale for scale in (1, 10**3, 10**6, 10**9))


def texts(value: Any) -> set[str]:
    """Return the texts in a masked value: the words in which a system says what it decided."""
    match value:
        case str():
            return {value}
        case tuple():
            return {text for one in value for text in texts(one)}
        case _:
            return set()
