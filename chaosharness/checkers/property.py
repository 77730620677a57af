"""What a claim is: `always`, `eventually`, `sometimes`; and what a violation of one is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, Literal, get_args

import attrs

from chaosharness.errors import InvalidDefinition, PropertyViolated, place_of
from chaosharness.kernel.history import Event, History

When = Literal["always", "eventually", "sometimes"]


@attrs.frozen
class Finding:
    """One violation, pointing into the history.

    Attributes:
        summary: One sentence in the words of the business: what was promised to whom,
            and what happened instead.
        events: Indexes of the events that show it, oldest first.
        entity: The workload item it happened to, from 1; 0 for none.
        data: What else is known, as plain values: amounts, keys, counts.
        kind: What sort of harm it is, one of `harm.KINDS`; empty for a claim that knows one
            sort only. Findings of one property with one kind and place are one group: a
            campaign shows one counterexample of each.
        place: Where the difference lies: table and columns with the sign of the difference
            (`db.orders.amount+`), third party and method (`bank.charge`), topic (`bus.paid`).
        question: Whether only the user can say if this is right. A question is told last,
            and breaks no property.
    """

    summary: str
    events: tuple[int, ...] = ()
    entity: int = 0
    data: dict[str, Any] = attrs.field(factory=dict)
    kind: str = attrs.field(default="", kw_only=True)
    place: str = attrs.field(default="", kw_only=True)
    question: bool = attrs.field(default=False, kw_only=True)

    @property
    def group(self) -> tuple[str, str]:
        """Return what findings of one cause have in common."""
        return self.kind, self.place


@attrs.frozen(eq=False)
class Evidence:
    """What a property is judged by: the history of a run, and of the calm run beside it.

    Attributes:
        history: The run.
        items: The workload.
        calm: Returns the history of the same workload without any fault. Made once per
            workload; a property that does not ask costs nothing.
        faults: The faults that struck.
    """

    history: History
    items: tuple[Any, ...] = ()
    calm: Callable[[], History] = History
    faults: tuple[Any, ...] = ()


@attrs.frozen
class Property:
    """A named claim.

    Attributes:
        name: A few words that read well after "broken:": `never charged twice`.
        judge: Reads the evidence and returns the violations; for `sometimes`, returns
            nothing if the case was reached.
        when: `always` and `eventually` must hold in each run (safety at every moment; the
            state once quiet). `sometimes` must be reached in one run of the campaign, or
            the campaign proved nothing.
        tested: Says whether a run put the claim to the test at all (was there a charge?).
        assumption: What is taken for granted about the system, where nobody said so.
    """

    name: str
    judge: Callable[[Evidence], Sequence[Finding]]
    when: When = "always"
    tested: Callable[[Evidence], bool] = attrs.field(default=lambda evidence: True, kw_only=True)
    assumption: str = attrs.field(default="", kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise InvalidDefinition(f"a property needs a name in words, not {self.name!r}")
        if self.when not in get_args(When):
            raise InvalidDefinition(
                f"the property {self.name!r} cannot hold {self.when!r}; when is one of "
                f"{', '.join(map(repr, get_args(When)))}"
            )
        for what in ("judge", "tested"):
            if not callable(getattr(self, what)):
                raise InvalidDefinition(
                    f"{what!r} of the property {self.name!r} must be a function of the evidence, "
                    f"not {getattr(self, what)!r}"
                )

    def findings(self, evidence: Evidence) -> list[Finding]:
        """Judge, oldest violation first.

        Raises:
            InvalidDefinition: The property itself raised: it says nothing about the system.
        """
        try:
            found = list(self.judge(evidence))
            wrong = next((one for one in found if not isinstance(one, Finding)), None)
            if wrong is not None:
                raise TypeError(f"{type(wrong).__name__} is no Finding; judge returns findings")
            return found
        except (Exception, SystemExit) as error:
            raise self._mistake(f"the property {self.name!r}", error) from error

    def is_tested(self, evidence: Evidence) -> bool:
        """Say whether a run put the claim to the test.

        Raises:
            InvalidDefinition: `tested` itself raised: it says nothing about the system.
        """
        try:
            return bool(self.tested(evidence))
        except (Exception, SystemExit) as error:
            raise self._mistake(f"'tested' of the property {self.name!r}", error) from error

    def _mistake(self, what: str, error: BaseException) -> InvalidDefinition:
        return InvalidDefinition(
            f"{what} raised {type(error).__name__}: {error}{place_of(error)}. That is a mistake "
            "in the property, not a finding about the system: mend it there."
        )

    def violation(self, findings: Sequence[Finding]) -> PropertyViolated:
        """Return the exception for these findings, of a class that is this property's own."""
        lines = [f"{self.name}: {findings[0].summary}"]
        lines += [f"  also: {finding.summary}" for finding in findings[1:4]]
        if len(findings) > 4:
            lines.append(f"  and {len(findings) - 4} more")
        return violation_class(self.name, *findings[0].group)("\n".join(lines))


def check_properties(given: Iterable[Any]) -> tuple[Property, ...]:
    """Return properties as a tuple.

    Raises:
        InvalidDefinition: One of them is none.
    """
    found = tuple(given)
    for one in found:
        if not isinstance(one, Property):
            raise InvalidDefinition(
                f"{one!r} is not a property; make one with always, eventually or sometimes, or "
                "call the function that makes it"
            )
    return found


def violation_class(name: str, kind: str = "", place: str = "") -> type[PropertyViolated]:
    """Return the exception class of a property: `never charged twice` → `NeverChargedTwice`.

    Hypothesis tells bugs apart by the type of their exception, so each group of findings
    (see `Finding.group`) has a class of its own, below that of its property.
    """
    return _class_of(name, kind, place)


@cache
def _class_of(name: str, kind: str, place: str) -> type[PropertyViolated]:
    if kind or place:
        base, words = _class_of(name, "", ""), f"{name}, {kind} at {place}"
    else:
        base, words = PropertyViolated, name
    title = _title(f"{name} {kind} {place}") or "Nameless"
    return type(title, (base,), {"__doc__": f"{words}: does not hold."})


def _title(name: str) -> str:
    words = "".join(c if c.isalnum() else " " for c in name).split()
    return "".join(word[:1].upper() + word[1:] for word in words)


def always(name: str, holds: Callable[[Event], bool], *, kinds: Iterable[str]) -> Property:
    """Claim that every event of some kinds is as it should be.

    >>> always("no charge is negative", lambda e: e.data["cents"] >= 0, kinds=["effect"])
    """
    wanted = tuple(kinds)

    def judge(evidence: Evidence) -> list[Finding]:
        return [
            Finding(f"{name}: not at {event}", (event.index,), event.entity)
            for event in evidence.history.of(*wanted)
            if not holds(event)
        ]

    return Property(
        name, judge, "always", tested=lambda evidence: any(evidence.history.of(*wanted))
    )


def eventually(name: str, holds: Callable[[History], bool]) -> Property:
    """Claim that the history as a whole, once the system is quiet, is as it should be."""

    def judge(evidence: Evidence) -> list[Finding]:
        if holds(evidence.history):
            return []
        return [Finding(f"{name}: not so when the run was over", (len(evidence.history) - 1,))]

    return Property(name, judge, "eventually")


def sometimes(name: str, reached: Callable[[History], bool]) -> Property:
    """Claim that something is reached in at least one run of the campaign.

    The guard of all other claims: what never happened was never tested.
    """

    def judge(evidence: Evidence) -> list[Finding]:
        if reached(evidence.history):
            return []
        return [Finding(f"{name}: not reached")]

    return Property(name, judge, "sometimes")
