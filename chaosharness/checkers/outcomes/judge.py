"""The property that nobody has to claim: a disturbed run ends as a clean one may."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from functools import lru_cache
from typing import Any, Final

import attrs

from chaosharness.checkers.effects import name_of, names_of
from chaosharness.checkers.outcomes import calm as calm_run
from chaosharness.checkers.outcomes.clean import Clean
from chaosharness.checkers.outcomes.composition import Composition
from chaosharness.checkers.outcomes.differences import Difference
from chaosharness.checkers.outcomes.given_up import says_given_up
from chaosharness.checkers.outcomes.outcome import REMEMBERED, Options, Outcome, spelled_place
from chaosharness.checkers.outcomes.plan import AS_GIVEN, CleanRun, Family, Plan
from chaosharness.checkers.outcomes.values import spelled
from chaosharness.checkers.outcomes.verdict import Verdict
from chaosharness.checkers.outcomes.words import findings
from chaosharness.checkers.proof import kept_in_hand
from chaosharness.checkers.property import Evidence, Finding, Property
from chaosharness.checkers.reading import is_poison, is_quiet, verdict_of
from chaosharness.errors import InvalidDefinition
from chaosharness.faults import ClockSkew, LostWrites, NewEvent, OldEvent, Poison, Redeploy
from chaosharness.kernel.history import History
from chaosharness.kernel.site import Site

NAME: Final = "idempotent"

NOT_JUDGED: Final = (Poison, ClockSkew, LostWrites, OldEvent, NewEvent)
"""Faults that feed a system something else than it was built for: judged by properties of
their own. `LostWrites` is judged here where somebody asks what it does: `Options.losses`."""

ASSUMPTION: Final = (
    "faults may choose among the outcomes that the system has without them, and make no new "
    "ones: a repeat, a delay or a crash changes nothing but the order; what is refused is given "
    "up as a whole, or not at all (a repeat that changes nothing at a third party is no effect: "
    "it answers External.unchanged)"
)

UNFINISHED: Final = frozenset({"effect twice", "effect new", "row too many", "lost update"})
"""What is wrong also in a run that never came to its end."""


def idempotent(
    *,
    ignore: Iterable[Any] = (),
    optional: Iterable[Any] = (),
    may_end: Iterable[tuple[str, str]] = (),
    item_id: Callable[[Any], Any] | None = None,
    subject: Callable[[Any], Any] | None = None,
) -> Property:
    """Claim that a disturbed run ends as a run without faults may end.

    Needs no invariant written by the user. Faults may choose among the outcomes that the
    system has without infrastructure faults, and make no new ones. A repeat, a delay or a
    crash may change the order in which items come, and nothing else. What the code was told
    no about may lead to what it does when that is refused for good, for that item and whole:
    all, or nothing. What a client was told had failed is not missed, and not half there.

    Compared are rows, effects at third parties, published events and dead letters, each with
    the workload item it belongs to. What may differ (times, drawn values, numbers dealt out
    in the order of arrival, epochs, durations) is learned from clean runs under another
    clock, another seed, other latencies, another order, restarts; by the name of its column
    only where no clean run can move it (`attempts`, `version`), which a finding then says.

    The calm run is evidence, not truth: what is double, half or lost there is told of the
    run without any fault. Not judged: runs in which `Poison`, `ClockSkew`,
    `LostWrites`, `OldEvent` or `NewEvent` struck; and `Redeploy`, unless nothing else struck
    and both versions come to the same without faults.

    Args:
        ignore: What is not to be compared: stores, tables, columns (`seen`, or
            `orders.seen`), third parties, methods (`send`, or `mailer.send`), topics.
        optional: Effects and events that may be missing: third parties, methods, topics.
        may_end: Words that a timer may write, each with its table: `("db.orders", "expired")`. Or
            how a workflow may end though an effect stands: `("bank.charge", "workflow failed")`.
        item_id: Returns by what text (or texts) rows, effects and messages of a workload
            item are recognised; by default by the texts that no other item has.
        subject: Returns what an item is about: items of one subject keep their order. By
            default the key of the client's message, or a text in rows that both have.

    Raises:
        InvalidDefinition: An option is not of its kind.

    >>> run.check(idempotent())
    >>> run.check(idempotent(ignore=["audit_log"], optional=[mailer]))
    """
    options = options_of(ignore, optional, may_end, item_id, subject)
    return outcomes_property(options)


def outcomes_property(options: Options, assumption: str = ASSUMPTION) -> Property:
    """Return the property with these options."""

    def judge(evidence: Evidence) -> list[Finding]:
        return _judge(evidence, options)

    def tested(evidence: Evidence) -> bool:
        return _is_judged(evidence, options) and bool(evidence.faults)

    return Property(NAME, judge, "eventually", tested=tested, assumption=assumption)


def options_of(
    ignore: Iterable[Any],
    optional: Iterable[Any],
    may_end: Iterable[tuple[str, str]],
    item_id: Callable[[Any], Any] | None,
    subject: Callable[[Any], Any] | None,
) -> Options:
    """Return options as they were given, checked."""
    for what, function in (("item_id", item_id), ("subject", subject)):
        if function is not None and not callable(function):
            raise InvalidDefinition(f"{what} must be a function of an item, not {function!r}")
    if isinstance(may_end, str) or not all(
        isinstance(one, tuple | list) and len(one) == 2 for one in may_end
    ):
        raise InvalidDefinition(
            f"may_end must be pairs of a table and a word, such as ('db.orders', 'expired'), "
            f"not {may_end!r}"
        )
    ends = frozenset((name_of(place), str(word)) for place, word in may_end)
    return Options(names_of(ignore), names_of(optional), ends, frozenset(), item_id, subject)


class Judge:
    """What is known of one workload, under some options."""

    def __init__(self, family: Family, options: Options, *, alone: bool) -> None:
        self.clean = Clean(family, options, alone=alone)
        self.composition = Composition(self.clean)
        doubled = calm_run.doubled(self.clean)
        self.clean.ledgers.doubled = {(item, entry) for item, entry, _ in doubled}
        self.clean.calm.nets.clear()
        self._known: dict[Hashable, tuple[list[Difference], Outcome, str]] = {}

    def of_the_calm_run(self, history: History) -> list[Finding]:
        """Return what is wrong without any fault."""
        found = calm_run.wrong(self.clean, self.composition)
        return findings(self.clean, found, history, calm=True)

    def of(self, evidence: Evidence) -> list[Finding]:
        """Return what is wrong with a disturbed run."""
        verdict = Verdict(self.clean, self.composition, evidence.history, evidence.faults)
        found = self._wrong(verdict)
        if not _is_over(evidence.history):
            found = [one for one in found if one.kind in UNFINISHED]
        found = [_with_its_word(verdict, one) for one in found]
        return findings(self.clean, found, evidence.history, nearest=verdict.nearest)

    def _wrong(self, verdict: Verdict) -> list[Difference]:
        """Return what is wrong: worked out once for all runs of which the same came out."""
        key = verdict.key()
        known = self._known.get(key) if key is not None else None
        if known is not None:
            found, seen, verdict.nearest = known
            return _moved(found, seen, verdict.whole)
        found = verdict.wrong()
        if found and verdict.whole.ran_out and self._is_right_without_run_out(verdict):
            found = []
        if key is not None and not verdict.by_history and len(self._known) < REMEMBERED:
            self._known[key] = (found, verdict.whole, verdict.nearest)
        return found

    def _is_right_without_run_out(self, verdict: Verdict) -> bool:
        """Say whether a run ends as a clean one may if what is gone by its own time is gone."""
        other = Verdict(self.clean, self.composition, verdict.history, verdict.faults)
        other.whole = other.seen = verdict.whole.without_run_out()
        right = not other.wrong()
        verdict.by_history = verdict.by_history or other.by_history
        return right


def _with_its_word(verdict: Verdict, one: Difference) -> Difference:
    """Return an effect that stands with the word in which its item ends, if it says that it was
    given up: it does not end as if it had never come, and what is usual is nothing new."""
    clean, seen = verdict.clean, verdict.whole
    if one.kind == "effect left":
        words = seen.words(one.item) - clean.calm.words(one.item)
        said = sorted(text for _, text in words if not clean.reader.owners.of(text))
        return attrs.evolve(one, instead=said[0]) if said else one
    if one.kind != "effect new":
        return one
    usual = clean.ledgers.net(clean.calm, one.item)
    word = says_given_up(seen, one.item, clean.calm)
    stands = any((spelled_place(at), spelled(what)) == (one.place, one.what) for at, what in usual)
    return attrs.evolve(one, kind="effect left", instead=word) if word and stands else one


def _moved(found: list[Difference], then: Outcome, now: Outcome) -> list[Difference]:
    """Return the same differences, with the events of another run of which the same came out."""
    events = {
        one[2]: other[2]
        for item, ledger in then.ledger.items()
        for one, other in zip(ledger, now.ledger[item], strict=True)
    }
    for item, said in then.said.items():
        events.update((index, now.said[item][entry]) for entry, index in said.items())
    return [
        attrs.evolve(one, events=tuple([events[at] for at in one.events])) if one.events else one
        for one in found
    ]


def judge_of(evidence: Evidence, options: Options) -> Judge:
    """Return what is known of the workload of a run, and remember it."""
    family = evidence.family() if evidence.family is not None else None
    alone = family is None
    if family is None:
        family = _only_the_calm_run(evidence)
    found = family.known.get(options)
    if found is None:
        found = family.known[options] = Judge(family, options, alone=alone)
    judge: Judge = found
    return judge


def _only_the_calm_run(evidence: Evidence) -> Family:
    """Return a family of which nothing but the calm run is known."""

    def make(plan: Plan) -> CleanRun | None:
        return CleanRun(evidence.calm()) if plan == AS_GIVEN else None

    return Family(evidence.items, make)


def _judge(evidence: Evidence, options: Options) -> list[Finding]:
    if not _is_judged(evidence, options):
        return []
    if evidence.faults and _is_the_same(evidence.history, evidence.calm()):
        return []
    judge = judge_of(evidence, options)
    found = judge.of(evidence) if evidence.faults else judge.of_the_calm_run(evidence.history)
    if found:
        judge.clean.family.see_that_it_is_the_same()
    return found


def _is_judged(evidence: Evidence, options: Options) -> bool:
    """Say whether a run can be held against clean ones."""
    if any(_is_left_alone(fault, options) for fault in evidence.faults):
        return False
    if not _is_a_measure(evidence.calm()):
        return False
    deployed = [isinstance(fault, Redeploy) for fault in evidence.faults]
    if not any(deployed):
        return True
    return all(deployed) and judge_of(evidence, options).clean.is_the_same_before


def _is_left_alone(fault: Any, options: Options) -> bool:
    """Say whether what a fault leads to is judged by others."""
    if isinstance(fault, LostWrites) and any(_is_at(fault.site, name) for name in options.losses):
        return False
    return isinstance(fault, NOT_JUDGED)


def _is_at(site: Site, broker: str) -> bool:
    """Say whether a site is one of a broker: of what is asked of it, or of what it hands out."""
    return site.operation.startswith(f"{broker}.") or f"/{broker}." in site.operation


@lru_cache(maxsize=8)
def _is_a_measure(calm: History) -> bool:
    """Say whether a run without faults says how others may end."""
    return is_quiet(calm) and not kept_in_hand(calm)


def _is_over(history: History) -> bool:
    """Say whether a run came to its end: also one that spent its budget in calm."""
    verdict, _ = verdict_of(history)
    if verdict == "quiet":
        return True
    return verdict == "budget" and bool(history.places_of("phase"))


def _is_the_same(one: History, other: History) -> bool:
    """Say whether the same came out of two runs, to the letter."""
    return _left(one) == _left(other)


@lru_cache(maxsize=8)
def _left(history: History) -> tuple[Any, ...]:
    """Return what a run left, as it is: most runs need no closer look."""
    states: list[Any] = []
    effects: list[str] = []
    messages: set[Any] = set()
    dead: list[Any] = []
    raw = history.raw
    for index in history.places_of("publish", "effect", "state", "dead"):
        _, kind, actor, _, entity, _, _, data = raw[index]
        if kind == "publish":
            value = data.get("value")
            if not is_poison(value):
                key = value if isinstance(value, bytes | str) else repr(value)
                messages.add((entity, data.get("broker"), data.get("topic"), key))
        elif kind == "effect":
            effects.append(f"{entity} {actor} {data}")
        elif kind == "state":
            states.append((actor, data))
        elif kind == "dead" and data.get("reason") != "expired":
            dead.append((entity, data.get("queue"), data.get("to")))
    return states, effects, messages, dead
