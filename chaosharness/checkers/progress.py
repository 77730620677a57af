"""That the system comes to rest."""

from __future__ import annotations

from typing import Final

from chaosharness.checkers.property import Evidence, Finding, Property
from chaosharness.checkers.reading import verdict_of

_VERDICTS: Final = {
    "stuck": "the system is stuck",
    "budget": "the system never came to rest",
    "spinning": "the system spins",
}


def never_stuck() -> Property:
    """Claim that the system comes to rest once the faults have stopped.

    No code waits for what can never come, none runs without end, no message is handed
    out without end, no events go in a circle. The finding names the culprit.

    >>> run.check(never_stuck())
    >>> shop.claim(never_stuck(), never_charged_twice(bank))
    """

    def judge(evidence: Evidence) -> list[Finding]:
        verdict, reason = verdict_of(evidence.history)
        if verdict == "quiet":
            return []
        words = _VERDICTS.get(verdict, f"the run ended as {verdict!r}")
        summary = f"{words}: {reason}" if reason else words
        ends = tuple(event.index for event in evidence.history.of("end"))
        return [Finding(summary, ends, 0, {"verdict": verdict, "reason": reason})]

    return Property("never stuck", judge, "eventually")
