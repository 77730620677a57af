"""One report for each broken twin: what it looks like when the harness finds that bug.

    python -m benchmarks.gallery                  # write reports/gallery again, from its schedules
    python -m benchmarks.gallery --search         # find every schedule anew: some minutes
    python -m benchmarks.gallery --search saga    # of the twins whose name begins so

Each twin has a folder with `counterexample.json` (which replays it), `report.txt` and
`report.html`. They are the same on every machine: `tests/gallery` compares them byte for
byte. A twin without a folder yet is searched for.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

from chaosharness import Counterexample, Property, System, smallest
from chaosharness.counterexample import claimed, items_for
from chaosharness.reporting import to_html, to_text
from chaosharness.schedule import code
from chaosharness.search.shrink import shrink
from chaosharness.search.target import load_target

FOLDER = Path(__file__).resolve().parents[1] / "reports" / "gallery"
HERE = "reports/gallery"

TELLS = {
    "order.broken:charge_without_key": "never charged twice",
    "order.broken:key_per_attempt": "never charged twice",
    "order.broken:key_stored_after_the_effect": "stock is conserved",
    "order.broken:check_then_set_race": "stock is conserved",
    "order.broken:dedupe_window_shorter_than_redelivery": "never charged twice",
    "order.broken:mail_id_per_attempt": "never twice: mail.send",
    "order.broken:committed_and_never_published": "payment-db.charges is announced on paid",
    "order.broken:published_then_rolled_back": "no ghost event",
    "order.broken:relay_ends_at_the_first_error": "payment-db.charges is announced on paid",
    "order.broken:offset_committed_before_processing": "nothing acknowledged is lost",
    "order.broken:poison_blocks_a_log_partition": "poison blocks nobody",
    "order.broken:join_counts_a_duplicate": "joins into confirmed are complete",
    "order.broken:duplicate_blocks_a_log_partition": "unhandled exceptions block nobody",
    "order.broken:compensation_not_idempotent": "never compensates what did not happen",
    "order.broken:compensation_overtakes_forward_step": "stock is conserved",
    "order.broken:timeout_compensates_and_late_success_arrives": "money is conserved",
    "order.broken:compensation_fails_and_is_not_tried_again": "compensation is complete",
    "order.broken:compensates_an_unknown_outcome": "never compensates what did not happen",
    "saga.broken:answer_not_recorded": "stock is conserved",
    "saga.broken:two_orchestrators_resume": "stock is conserved",
    "saga.broken:refunds_the_unknown": "never compensates what did not happen",
    "saga.broken:any_reply_will_do": "parcels are conserved",
    "saga.broken:timeout_compensates_and_late_success_arrives": "money is conserved",
    "hybrid.broken:mail_is_a_step": "side effects never touch the critical path",
    "hybrid.broken:completed_and_never_said": "saga-db.sagas is announced on order-completed",
    "hybrid.broken:mails_again": "never twice: mail.send",
    "small.cashier:falls_back_after_an_unknown_outcome": "never charged twice",
    "small.cashier:moves_on_after_a_timeout": "never charged twice",
    "small.tickets:cancelled_is_not_undone": "compensation is complete",
    "small.trip:undoes_in_the_order_of_doing": "compensation in reverse order",
    "small.trip:commits_before_it_works": "nothing acknowledged is lost",
    "small.wallet:counts_in_python": "money is conserved",
    "small.watchers:undercut_each_other_for_ever": "no event cycle",
    "canary:canary": "never charged twice",
}
"""The claim that tells each twin best, in the words of who is wronged by it."""


@attrs.frozen
class Exhibit:
    """One broken twin, the claim that it breaks, and its place."""

    target: str
    claim: str

    @property
    def name(self) -> str:
        """The name of its folder: `order.charge_without_key`."""
        module, _, function = self.target.partition(":")
        model = module.removesuffix(".broken").removeprefix("small.")
        return model if model == function else f"{model}.{function}"

    @property
    def function(self) -> Callable[[], System]:
        """What builds the system."""
        found: Callable[[], System] = load(f"models.{self.target}")
        return found

    def says(self) -> str:
        """Return what is wrong, in the words of the one who planted it."""
        return (self.function.__doc__ or "").strip().partition("\n")[0]

    def search(self) -> Counterexample:
        """Find the smallest schedule.

        Raises:
            LookupError: There is none with up to two faults.
        """
        system, claim = self.system()
        found = smallest(system, claim, mode="small-first")
        if found is None:
            raise LookupError(f"{self.target} keeps {self.claim!r} under up to two faults")
        return found

    def again(self) -> Counterexample:
        """Run the schedule that is kept, and see to it that all of it is needed."""
        system, claim = self.system()
        kept = Counterexample.decode(
            (FOLDER / self.name / "counterexample.json").read_text("utf-8")
        )
        items = items_for(system, kept.items)
        return shrink(system, claim, items, kept.schedule)

    def system(self) -> tuple[System, Property]:
        """Return the twin and the claim."""
        system = load_target(f"models.{self.target}")
        return system, claimed(system, self.claim)

    def files(self, found: Counterexample) -> dict[str, str]:
        """Return the files of its folder. What depends on the machine or the search is left out."""
        found = attrs.evolve(
            found,
            target=f"models.{self.target}",
            versions={},
            found_after=0,
            shrunk_in=0,
            hash_seed="",
        )
        file = f"{HERE}/{self.name}/counterexample.json"
        return {
            "counterexample.json": found.encode(),
            "report.txt": to_text(found, file=file),
            "report.html": to_html(found, file=file),
        }


def load(target: str) -> Callable[[], System]:
    """Return what a target names, without calling it."""
    from importlib import import_module

    module, _, name = target.partition(":")
    found: Callable[[], System] = getattr(import_module(module), name)
    return found


def exhibits() -> list[Exhibit]:
    """Return all of them, in the order of the index."""
    return [Exhibit(target, claim) for target, claim in TELLS.items()]


def index(found: Iterator[tuple[Exhibit, Counterexample]]) -> str:
    """Return the page that leads to all reports."""
    lines = [
        "# Gallery",
        "",
        "Every broken twin of the models, the claim that tells, and the smallest schedule that "
        "breaks it. Written by `python -m benchmarks.gallery`, and compared byte for byte by a "
        "test.",
        "",
        "| twin | what is wrong | claim | smallest schedule |",
        "|---|---|---|---|",
    ]
    for one, counterexample in found:
        faults = "<br>".join(f"`{code(fault)}`" for fault in counterexample.schedule)
        links = f"[{one.name}]({one.name}/report.txt) ([html]({one.name}/report.html))"
        lines.append(f"| {links} | {one.says()} | {one.claim} | {faults or 'none: always'} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the gallery."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="beginnings of names; all by default")
    parser.add_argument("--search", action="store_true", help="find the schedules anew")
    options = parser.parse_args()
    everything = exhibits()
    for one in everything:
        kept = (FOLDER / one.name / "counterexample.json").exists()
        if options.names and not one.name.startswith(tuple(options.names)):
            continue
        found = one.search() if options.search or not kept else one.again()
        for name, text in one.files(found).items():
            path = FOLDER / one.name / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8", newline="\n")
        print(f"{one.name}: {found.schedule!r}")
    known = {one.name for one in everything}
    for folder in sorted(FOLDER.iterdir()):
        if folder.is_dir() and folder.name not in known:
            shutil.rmtree(folder)
    (FOLDER / "README.md").write_text(index(kept_ones()), "utf-8", newline="\n")
    return 0


def kept_ones() -> Iterator[tuple[Exhibit, Counterexample]]:
    """Yield each exhibit with the counterexample in its folder."""
    for one in exhibits():
        path = FOLDER / one.name / "counterexample.json"
        if path.exists():
            yield one, Counterexample.decode(path.read_text("utf-8"))


if __name__ == "__main__":
    sys.exit(main())
