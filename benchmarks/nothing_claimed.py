"""With nothing claimed: broken models are named, right ones are left alone; and what it costs.

    python -m benchmarks.nothing_claimed                     # all models: about ten minutes
    python -m benchmarks.nothing_claimed order --runs 200    # those whose name begins so
    python -m benchmarks.nothing_claimed --random 5000       # more schedules of 2 to 4 faults

For each broken model: whether it is named, with how many faults, for what and where. For
each right one: runs judged, false findings, questions. The last column is the share of
judging, clean runs included, in all time.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from time import perf_counter

import attrs

from benchmarks.measure import table
from chaosharness import Schedule, System, assumed
from chaosharness.checkers import Finding
from chaosharness.checkers.harm import rank
from chaosharness.faults import Fault
from chaosharness.search.sites import candidates
from models import canary
from models.hybrid import broken as hybrid_broken
from models.hybrid import right as hybrid
from models.order import broken as order_broken
from models.order import right as order
from models.saga import broken as saga_broken
from models.saga import right as saga
from models.small import cashier, tickets, trip, wallet, watchers

FAULTS_MAX = 4

RIGHT: dict[str, Callable[[], System]] = {
    "order": order.order_flow,
    "saga": saga.order_saga,
    "hybrid": hybrid.order_hybrid,
    "cashier": cashier.cashier,
    "tickets": tickets.tickets,
    "trip": trip.trip,
    "wallet": wallet.wallet,
    "watchers": watchers.watchers,
}
BROKEN: tuple[Callable[[], System], ...] = (
    order_broken.charge_without_key,
    order_broken.key_per_attempt,
    order_broken.key_stored_after_the_effect,
    order_broken.check_then_set_race,
    order_broken.dedupe_window_shorter_than_redelivery,
    order_broken.mail_id_per_attempt,
    order_broken.committed_and_never_published,
    order_broken.published_then_rolled_back,
    order_broken.relay_ends_at_the_first_error,
    order_broken.offset_committed_before_processing,
    order_broken.poison_blocks_a_log_partition,
    order_broken.join_counts_a_duplicate,
    order_broken.duplicate_blocks_a_log_partition,
    order_broken.compensation_not_idempotent,
    order_broken.compensation_overtakes_forward_step,
    order_broken.timeout_compensates_and_late_success_arrives,
    order_broken.compensation_fails_and_is_not_tried_again,
    order_broken.compensates_an_unknown_outcome,
    saga_broken.answer_not_recorded,
    saga_broken.two_orchestrators_resume,
    saga_broken.refunds_the_unknown,
    saga_broken.any_reply_will_do,
    saga_broken.timeout_compensates_and_late_success_arrives,
    hybrid_broken.mail_is_a_step,
    hybrid_broken.completed_and_never_said,
    hybrid_broken.mails_again,
    cashier.falls_back_after_an_unknown_outcome,
    cashier.moves_on_after_a_timeout,
    tickets.cancelled_is_not_undone,
    trip.undoes_in_the_order_of_doing,
    trip.commits_before_it_works,
    wallet.counts_in_python,
    watchers.undercut_each_other_for_ever,
    canary.canary,
)


@attrs.define
class Trial:
    """Runs of one system, judged by what is assumed of any."""

    system: System
    runs: int = 0
    running_s: float = 0.0
    judging_s: float = 0.0

    def judge(self, schedules: Iterable[Schedule]) -> Iterator[tuple[Schedule, list[Finding]]]:
        """Yield each schedule with what it showed, the worst first."""
        claims = assumed(self.system)
        for schedule in schedules:
            began = perf_counter()
            run = self.system.run(None, schedule)
            ran = perf_counter()
            evidence = run.evidence()
            found = [finding for claim in claims for finding in claim.findings(evidence)]
            self.runs += 1
            self.running_s += ran - began
            self.judging_s += perf_counter() - ran
            yield schedule, sorted(found, key=rank)

    def share(self) -> str:
        """Return the share of judging in all time."""
        whole = self.running_s + self.judging_s
        return f"{self.judging_s / whole:.0%}" if whole else "-"


def single(system: System, most: int) -> Iterator[Schedule]:
    """Yield the calm run and all single faults, or as many spread over them."""
    yield Schedule()
    found = sites(system)
    step = -(-len(found) // most) if most else 1
    yield from (Schedule([fault]) for fault in found[::step])


def several(
    system: System, count: int, least: int = 2, most: int = FAULTS_MAX
) -> Iterator[Schedule]:
    """Yield schedules of several faults by chance, the same each time."""
    found, chance = sites(system), random.Random(6)
    for _ in range(count):
        yield Schedule(chance.sample(found, min(chance.randint(least, most), len(found))))


def sites(system: System) -> Sequence[Fault]:
    """Return every single fault of the calm run."""
    return list(candidates(system.run()))


def named(build: Callable[[], System], most: int, pairs: int) -> tuple[str, ...]:
    """Return a line on a broken model."""
    trial = Trial(build())
    name = f"{build.__module__.removeprefix('models.')}.{build.__name__}"
    pairs_of = several(trial.system, pairs, 2, 2)
    stages = ((0, [Schedule()]), (1, single(trial.system, most)), (2, pairs_of))
    for faults, schedules in stages:
        seen: Counter[tuple[str, str]] = Counter()
        for _, found in trial.judge(schedules):
            heavy = next((one for one in found if not one.question), None)
            if heavy is not None:
                seen[(heavy.kind or "a promise", heavy.place or heavy.summary[:40])] += 1
        if seen:
            (kind, place), runs = min(seen.items(), key=lambda one: -one[1])
            more = f" and {len(seen) - 1} more" if len(seen) > 1 else ""
            what = f"{kind} at {place}{more}"
            return name, str(faults), what, f"{runs:,} of {trial.runs:,}", trial.share()
    return name, "-", "not named", f"0 of {trial.runs:,}", trial.share()


def left_alone(name: str, build: Callable[[], System], most: int, chances: int) -> tuple[str, ...]:
    """Return a line on a right model."""
    trial = Trial(build())
    false = questions = 0
    for schedules in (single(trial.system, most), several(trial.system, chances)):
        for schedule, found in trial.judge(schedules):
            wrong = [one for one in found if not one.question]
            false += bool(wrong)
            questions += bool(found) and not wrong
            if found:
                print(f"  {name}: {found[0].summary}\n    {schedule!r}", file=sys.stderr)
    return name, f"{trial.runs:,}", str(false), str(questions), trial.share()


def main(arguments: Sequence[str] = ()) -> int:
    """Print both tables; return 1 if a right model was accused or asked about."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nothing_claimed")
    parser.add_argument("names", nargs="*", help="only models whose name begins so")
    parser.add_argument("--runs", type=int, default=0, help="single faults at most; 0 for all")
    parser.add_argument("--random", type=int, default=200, help="of 2 to 4 faults, right models")
    parser.add_argument("--pairs", type=int, default=1_500, help="of 2 faults, broken models")
    parser.add_argument("--only", choices=("right", "broken"))
    given = parser.parse_args(arguments)

    def wanted(name: str) -> bool:
        return not given.names or any(name.startswith(one) for one in given.names)

    rows: list[tuple[str, ...]] = []
    if given.only != "right":
        for build in BROKEN:
            if wanted(build.__module__.removeprefix("models.").removeprefix("small.")):
                rows.append(named(build, given.runs, given.pairs))
        found = sum(row[1] != "-" for row in rows)
        heads = ("broken model", "faults", "named for", "runs", "judging")
        if rows:
            table(f"{found} of {len(rows)} broken models are named", [heads, *rows])
    rights: list[tuple[str, ...]] = []
    if given.only != "broken":
        for name, build in RIGHT.items():
            if wanted(name):
                rights.append(left_alone(name, build, given.runs, given.random))
        heads = ("right model", "runs", "false findings", "questions", "judging")
        if rights:
            table("right models", [heads, *rights])
    return int(any(row[2] != "0" or row[3] != "0" for row in rights))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
