"""Subjects of NATS: words between dots, `*` for one of them, `>` for all that are left.

Source:
    NATS documentation, "Subject-Based Messaging".
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

ONE: Final = "*"
REST: Final = ">"


def is_valid(subject: str) -> bool:
    """Say whether a subject can be subscribed to: no empty word, no space, `>` at the end only."""
    words = subject.split(".")
    if not all(words) or any(char.isspace() for char in subject):
        return False
    return REST not in words[:-1]


@lru_cache(maxsize=4_096)
def is_literal(subject: str) -> bool:
    """Say whether a message can be published to a subject: it is valid, and has no wildcard."""
    return is_valid(subject) and not {ONE, REST} & {*subject.split(".")}


@lru_cache(maxsize=4_096)
def matches(pattern: str, subject: str) -> bool:
    """Say whether a subject, wildcards and all, lies within a pattern."""
    wanted, given = pattern.split("."), subject.split(".")
    for index, word in enumerate(wanted):
        if index >= len(given):
            return False
        if word == REST:
            return True
        if given[index] == REST or (word != ONE and word != given[index]):
            return False
    return len(given) == len(wanted)


def overlap(one: str, other: str) -> bool:
    """Say whether there is a subject that two patterns have in common."""
    first, second = one.split("."), other.split(".")
    for word, their in zip(first, second, strict=False):
        if REST in (word, their):
            return True
        if ONE not in (word, their) and word != their:
            return False
    return len(first) == len(second)
