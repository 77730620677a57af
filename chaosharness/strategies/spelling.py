"""How sites spell the message in hand: not at all where there is one only, else in short."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs

from chaosharness.kernel.message_names import shortest
from chaosharness.kernel.site import Site

Place = tuple[str, int, str]
"""An operation, the workload item, and the whole name of the message in hand, if there is one."""

ALONE: Final = ""


@attrs.define
class Spelling:
    """The words for each message that runs have shown at an operation for an item.

    A spelling stays as it is: what is found later is told apart from what was there before.
    """

    _words: dict[tuple[str, int], dict[str, str]] = attrs.field(factory=dict, init=False)
    _whole: dict[Place, str] = attrs.field(factory=dict, init=False)

    def learn(self, reached: Iterable[Place]) -> None:
        """Take in what got where in a run; what was learned before may be left out."""
        here: dict[tuple[str, int], list[str]] = {}
        for operation, entity, message in reached:
            here.setdefault((operation, entity), []).append(message)
        for at, messages in here.items():
            known = self._words.setdefault(at, {})
            alone = len(messages) == 1 and not known
            for message in messages:
                if message not in known:
                    others = {*messages, *known}
                    known[message] = ALONE if alone else shortest(message, others)
                    self._whole[*at, known[message]] = message

    def words(self, place: Place) -> str:
        """Return how a site at a place that was learned spells its message."""
        operation, entity, message = place
        return self._words.get((operation, entity), {}).get(message, ALONE)

    def place(self, site: Site) -> Place:
        """Return the place of a site, as `learn` has seen it."""
        key = (site.operation, site.entity, site.message)
        return (site.operation, site.entity, self._whole.get(key, site.message))
