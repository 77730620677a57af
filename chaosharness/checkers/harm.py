"""How bad a finding is: what was done to people and money first, what only waits last."""

from __future__ import annotations

from typing import Final

from chaosharness.checkers.property import Finding

KINDS: Final = (
    "effect twice",
    "lost update",
    "half done",
    "effect left",
    "effect lost",
    "key reused",
    "effect new",
    "forgotten",
    "torn apart",
    "same number",
    "row missing",
    "row too many",
    "row differs",
    "swallowed",
    "message lost",
    "put aside",
    "message new",
    "stuck",
    "blocked",
)
"""The kinds of a finding that nobody claimed, worst first."""

_RANKS: Final = {kind: rank for rank, kind in enumerate(KINDS)}


def rank(finding: Finding) -> int:
    """Return where a finding is told: the least first. What the user claimed comes first of all."""
    if finding.question:
        return len(KINDS) + 1
    if not finding.kind:
        return -1
    return _RANKS.get(finding.kind, len(KINDS))
