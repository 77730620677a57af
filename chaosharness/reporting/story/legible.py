"""Make foreign text legible: control characters shown, megabytes clipped, widths counted.

Payloads, errors and names come from the user's world and may hold anything: escape
sequences that would rewrite a terminal, letters that turn a line around, a megabyte.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final

from chaosharness.checkers.payload import ids_in
from chaosharness.kernel.history import plain

CLIP: Final = 120
"""Characters of one value that a report shows, unless told otherwise."""

_UNSEEN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff"
    "\ufff9-\ufffb\ud800-\udfff]"
)
_PARTS: Final = re.compile(r"(?<=[/._-])")
_LONG_WORD: Final = re.compile(r"[^\W\d_]{9,}")
_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_JSON_MAX: Final = 100_000
"""Characters up to which a payload is read as JSON for display; beyond, it is clipped."""


def visible(text: str) -> str:
    """Spell out what cannot be seen, or would change how the rest is seen."""
    return _UNSEEN.sub(_spell, text)


def _spell(match: re.Match[str]) -> str:
    char = match[0]
    code = ord(char)
    return _SHORT.get(char) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def clip(text: str, limit: int = CLIP) -> str:
    """Make text visible and at most `limit` characters long, saying how long it was."""
    if len(text) <= limit:
        return visible(text)
    size = f"… ({len(text):,} characters)"
    return visible(text[: max(limit - len(size), 8)]) + size


def columns(text: str) -> int:
    """Count the columns that text takes in a terminal."""
    if text.isascii():
        return len(text)
    return sum(_columns(char) for char in text)


def _columns(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def fit(text: str, width: int) -> str:
    """Cut text to `width` columns, with an ellipsis where something is missing."""
    if columns(text) <= width:
        return text
    taken, used = [], 0
    for char in text:
        used += _columns(char)
        if used > width - 1:
            break
        taken.append(char)
    return "".join(taken).rstrip() + "…"


def pad(text: str, width: int) -> str:
    """Fill text up to `width` columns."""
    return text + " " * (width - columns(text))


def wrap(text: str, width: int) -> list[str]:
    """Break text into lines of at most `width` columns, at spaces where there are any."""
    lines: list[str] = []
    line = ""
    for word in text.split(" "):
        while columns(word) > width:
            room = width - columns(line) - 1 if line else width
            if room < 8 and line:
                lines.append(line)
                line, room = "", width
            head = _head(word, room)
            lines.append(f"{line} {head}" if line else head)
            line, word = "", word[len(head) :]
        if not line:
            line = word
        elif columns(line) + 1 + columns(word) <= width:
            line = f"{line} {word}"
        else:
            lines.append(line)
            line = word
    return [row.rstrip(" ") for row in ([*lines, line] if line or not lines else lines)]


def _head(word: str, room: int) -> str:
    used = 0
    for at, char in enumerate(word):
        used += _columns(char)
        if used > room:
            return word[: max(at, 1)]
    return word


def read_payload(value: Any) -> Any:
    """Return what a payload says, where it is JSON; the text itself where it is not."""
    text = plain(value)
    if not isinstance(text, str) or len(text) > _JSON_MAX or text[:1] not in ("{", "[", '"'):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def phrase(value: Any, limit: int = CLIP) -> str:
    """Show a value on one line: the fields of a mapping as words, all else as it is."""
    match value:
        case Mapping():
            fields = (f"{name}={inner(item)}" for name, item in value.items() if item is not None)
            return clip(" ".join(fields), limit)
        case list() | tuple():
            return clip(inner(value), limit)
        case None:
            return "nothing"
        case _:
            return clip(str(plain(value)), limit)


def inner(value: Any) -> str:
    """Show a value inside another one: text with spaces in it needs quotation marks."""
    match value:
        case str():
            return json.dumps(value, ensure_ascii=False) if " " in value or not value else value
        case bool() | None:
            return json.dumps(value)
        case Mapping() | list() | tuple():
            return json.dumps(plain(value), ensure_ascii=False)
        case _:
            return str(plain(value))


def quoted(value: Any) -> str:
    """Show one value of a row: text in quotation marks, JSON and all else as it is."""
    value = plain(value)
    if isinstance(value, str) and value.startswith(('{"', "[")):
        return value
    return json.dumps(value, ensure_ascii=False)


def breakable(name: str) -> str:
    """Let a name break in the middle of its long words, with a hyphen, where it must."""
    return _LONG_WORD.sub(lambda m: f"{m[0][: len(m[0]) // 2]}\u00ad{m[0][len(m[0]) // 2 :]}", name)


def in_parts(command: str) -> list[str]:
    """Split a command where its long paths may break: after a stroke, a dot, a dash, a bar."""
    return [part for part in _PARTS.split(command) if part]


def ordinal(number: int) -> str:
    """Spell 1 as 1st, 2 as 2nd, 11 as 11th."""
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10)
    return f"{number:,}{ending or 'th'}"


def count(number: int, thing: str) -> str:
    """Spell a number of things: `1 event`, `1,200 events`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def listed(words: Sequence[str]) -> str:
    """Join words as a sentence does: `a, b and c`."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def seconds(at_ms: int) -> str:
    """Show virtual time, given in milliseconds, in seconds."""
    return f"{at_ms / 1000:,.3f}"


def duration(ms: int) -> str:
    """Show a stretch of virtual time roughly: `45 s`, `5 min`, `2 h`."""
    for size, unit in ((3_600_000, "h"), (60_000, "min"), (1_000, "s")):
        if ms >= size:
            return f"{ms / size:,.1f}".removesuffix(".0") + f" {unit}"
    return f"{ms} ms"


def name_of_item(item: Any) -> str:
    """Return what a workload item is best called by, or nothing."""
    match item:
        case Mapping():
            ids = ids_in(item)
            texts = [*ids, *(one for one in item.values() if isinstance(one, str))]
            return clip(texts[0], 32) if texts else ""
        case str():
            return clip(item, 32)
        case _:
            return ""


def span(ms: int) -> str:
    """Say how long something took in virtual time: `11 ms`, `90 s`, `27 min`."""
    if ms < 1_000:
        return f"{ms} ms"
    if ms < 10_000:
        return f"{ms / 1_000:g} s"
    if ms < 300_000:
        return f"{ms // 1_000} s"
    if ms < 7_200_000:
        return f"{ms // 60_000} min"
    return f"{ms // 3_600_000} h"
