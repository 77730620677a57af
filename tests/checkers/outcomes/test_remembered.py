"""A verdict that is remembered is the one that would be worked out anew, events and all."""

from chaosharness import Schedule, idempotent
from chaosharness.checkers.outcomes.differences import Comparison
from chaosharness.checkers.outcomes.judge import Judge
from chaosharness.checkers.outcomes.verdict import Verdict
from models.small import trip
from tests.checkers.tales import single_faults


def test_what_is_remembered_is_what_would_be_found_anew(monkeypatch):
    system, claim, remembered = trip.commits_before_it_works(), idempotent(), []
    worked_out = Judge._wrong

    def compared(judge, verdict):
        known = judge._known.get(verdict.key())
        found = worked_out(judge, verdict)
        if known is not None:
            anew = Verdict(judge.clean, judge.composition, verdict.history, verdict.faults)
            assert (found, verdict.nearest) == (anew.wrong(), anew.nearest)
            remembered.append(verdict)
        return found

    monkeypatch.setattr(Judge, "_wrong", compared)
    for fault in single_faults(system.run()):
        claim.findings(system.run(None, Schedule([fault])).evidence())
    assert len(remembered) >= 5


def test_what_came_out_before_is_not_held_against_the_calm_run_again(monkeypatch):
    system, claim = trip.commits_before_it_works(), idempotent()
    compared = Comparison.differences
    times = []

    def counted(*arguments):
        times.append(arguments)
        return compared(*arguments)

    monkeypatch.setattr(Comparison, "differences", counted)
    once_more = 0
    for fault in single_faults(system.run()):
        first = claim.findings(system.run(None, Schedule([fault])).evidence())
        so_far = len(times)
        again = claim.findings(system.run(None, Schedule([fault])).evidence())
        assert again == first
        if first:
            assert len(times) == so_far
            once_more += 1
    assert times and once_more >= 5
