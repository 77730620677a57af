"""Routes: which method of a third party answers which request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from chaosharness.kernel import allowed

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")


@attrs.frozen
class Route:
    """One route: `POST /charges/{order}/refunds`.

    Attributes:
        method: In capitals.
        parts: Of the path; one in braces stands for whatever is there.
        answers: The method of the third party.
    """

    method: str
    parts: tuple[str, ...]
    answers: str

    def __str__(self) -> str:
        return f"{self.method} /{'/'.join(self.parts)}"

    def match(self, method: str, parts: tuple[str, ...]) -> dict[str, str] | None:
        """Return what stands in the place of each name; None if it is another route."""
        if method != self.method or len(parts) != len(self.parts):
            return None
        found = {}
        for own, there in zip(self.parts, parts, strict=True):
            if _is_name(own):
                found[own[1:-1]] = there
            elif own != there:
                return None
        return found


def routes_of(given: Any) -> tuple[Route, ...]:
    """Return the routes that a user wrote, the plainest first: `/charges/all` before `{order}`.

    Raises:
        InvalidValue: One is no route.
    """
    right = '{"POST /charges": "charge"}: a method and a path, and who answers'
    if not isinstance(given, Mapping):
        raise allowed.refused("Web", "routes", right, given)
    found = []
    for spelled, answers in given.items():
        method, _, path = spelled.partition(" ") if isinstance(spelled, str) else ("", "", "")
        if method not in METHODS or not path.startswith("/") or not isinstance(answers, str):
            raise allowed.refused("Web", "routes", right, {spelled: answers})
        found.append(Route(method, split(path), answers))
    return tuple(sorted(found, key=lambda one: sum(map(_is_name, one.parts))))


def split(path: str) -> tuple[str, ...]:
    """Return the parts of a path."""
    return tuple(path.strip("/").split("/")) if path.strip("/") else ()


def _is_name(part: str) -> bool:
    return part.startswith("{") and part.endswith("}")
