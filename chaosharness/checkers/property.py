"""What a claim is: `always`, `eventually`, `sometimes`; and what a violation of one is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any, Literal, NoReturn, TypeVar, get_args

import attrs

from chaosharness.checkers.excused import is_named, names_of_items, not_excused
from chaosharness.checkers.outcomes.plan import Family
from chaosharness.checkers.reading import is_over
from chaosharness.errors import InvalidDefinition, Nondeterminism, PropertyViolated
from chaosharness.handlers.places import asked_at, at_line, words_of
from chaosharness.kernel.history import KINDS, Event, History, plain
from chaosharness.options import IN_CHARGE

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
        family: Returns the clean runs of the same workload, each made when it is asked for;
            None where there is nobody to make any.
    """

    history: History
    items: tuple[Any, ...] = ()
    calm: Callable[[], History] = History
    faults: tuple[Any, ...] = ()
    family: Callable[[], Family] | None = None


_T = TypeVar("_T")


def once_a_run(function: Callable[[Evidence], _T]) -> Callable[[Evidence], _T]:
    """Return a function that works out once what `judge` and `tested` of a claim both ask."""
    last: list[tuple[Evidence, _T]] = []

    def remembered(evidence: Evidence) -> _T:
        if not last or last[0][0] is not evidence:
            last[:] = [(evidence, function(evidence))]
        return last[0][1]

    return remembered


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
            Nondeterminism: The runs by which it judges differ by chance.
        """
        IN_CHARGE.append(_refuse_to_end)
        try:
            return self._judged(evidence)
        finally:
            IN_CHARGE.pop()

    def _judged(self, evidence: Evidence) -> list[Finding]:
        try:
            found = [*self.judge(evidence)]
            for one in found:
                if not isinstance(one, Finding):
                    raise TypeError(f"{type(one).__name__} is no Finding; judge returns findings")
            return found
        except (InvalidDefinition, Nondeterminism, KeyboardInterrupt):
            raise
        except BaseException as error:  # GeneratorExit and pytest.skip too: they say nothing
            raise self._mistake(f"the property {self.name!r}", error) from error

    def is_tested(self, evidence: Evidence) -> bool:
        """Say whether a run put the claim to the test.

        Raises:
            InvalidDefinition: `tested` itself raised: it says nothing about the system.
        """
        IN_CHARGE.append(_refuse_to_end)
        try:
            return self._tested(evidence)
        finally:
            IN_CHARGE.pop()

    def _tested(self, evidence: Evidence) -> bool:
        try:
            return bool(self.tested(evidence))
        except (InvalidDefinition, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise self._mistake(f"'tested' of the property {self.name!r}", error) from error

    def _mistake(self, what: str, error: BaseException) -> InvalidDefinition:
        return InvalidDefinition(
            f"{what} raised {words_of(error)}{at_line(error)}. That is a mistake "
            "in the property, not a finding about the system: mend it there."
        )

    def violation(self, findings: Sequence[Finding]) -> PropertyViolated:
        """Return the exception for these findings, of a class that is this property's own."""
        lines = [in_words(self.name, findings[0].summary)]
        lines += [f"  also: {finding.summary}" for finding in findings[1:4]]
        if len(findings) > 4:
            lines.append(f"  and {len(findings) - 4} more")
        return violation_class(self.name, *findings[0].group)("\n".join(lines))


def judged(
    properties: Iterable[Property], evidence: Evidence
) -> tuple[list[tuple[bool, list[Finding]]], Nondeterminism | None]:
    """Ask properties in turn: was it put to the test, and what violates it.

    Returns:
        An answer for each, and what differed where the calm run was made once more: then the
        answers end there.

    Raises:
        InvalidDefinition: A property raised: it says nothing about the system.
    """
    found: list[tuple[bool, list[Finding]]] = []
    IN_CHARGE.append(_refuse_to_end)
    try:
        for one in properties:
            found.append((one._tested(evidence), one._judged(evidence)))
    except Nondeterminism as error:
        return found, error
    finally:
        IN_CHARGE.pop()
    return found, None


def _refuse_to_end(call: str) -> NoReturn:
    """Keep the process alive that wants to know what a property says."""
    raise InvalidDefinition(
        f"a property called {call}{asked_at()}, which would end the process before there is a "
        "result: leave that call out"
    )


def check_properties(given: Iterable[Any]) -> tuple[Property, ...]:
    """Return properties as a tuple.

    Raises:
        InvalidDefinition: One of them is none.
    """
    if isinstance(given, Property) or not isinstance(given, Iterable):
        raise InvalidDefinition(
            f"properties must be several, such as [never_stuck()], not {type(given).__name__}"
            f"{asked_at()}: put it in brackets"
        )
    found = tuple(given)
    for one in found:
        if not isinstance(one, Property):
            raise InvalidDefinition(
                f"{getattr(one, '__name__', one)!r} is not a property; make one with always, "
                f"eventually or sometimes, or call the function that makes it{asked_at()}"
            )
    return found


def in_words(name: str, summary: str) -> str:
    """Return what was found after the name of its claim, which claims in words begin with."""
    return summary if summary.startswith(f"{name}: ") else f"{name}: {summary}"


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
    said = {
        "__doc__": f"{words}: does not hold.",
        "__module__": "chaosharness",
    }  # short, on screens
    return type(title, (base,), said)


def _title(name: str) -> str:
    words = "".join(c if c.isalnum() else " " for c in name).split()
    return "".join(word[:1].upper() + word[1:] for word in words)


Answer = bool | str | Iterable[str]
"""What a claim returns: whether it holds; or sentences that say what is missing, if anything."""


def always(name: str, holds: Callable[[Event], Answer], *, kinds: str | Iterable[str]) -> Property:
    """Claim that every event of some kinds is as it should be.

    Args:
        name: A few words.
        holds: Says of an event whether it is: True or False; or a sentence, or several, that
            say what is wrong, and none where nothing is.
        kinds: The kinds of event, as `Event.kind` has them.

    Raises:
        InvalidDefinition: There is no such kind of event, or `holds` cannot be called.

    >>> always("no charge is negative", lambda e: e.data["cents"] >= 0, kinds=["effect"])
    """
    wanted = _known_kinds(name, kinds)
    read_answer = _reader(name, holds)

    def judge(evidence: Evidence) -> list[Finding]:
        return [
            Finding(
                f"{name}: {f'{words}, at' if words else 'not at'} {event}",
                (event.index,),
                event.entity,
            )
            for event in evidence.history.of(*wanted)
            for words in read_answer(holds(event))
        ]

    return Property(
        name, judge, "always", tested=lambda evidence: any(evidence.history.of(*wanted))
    )


def eventually(
    name: str, holds: Callable[[History], Answer], *, or_put_aside: bool = False
) -> Property:
    """Claim that the history as a whole, once the system is quiet, is as it should be.

    So it is where all that is left waits for ever: it will not be otherwise any more. A run
    that goes on and on is not judged, and does not test the claim: `never_stuck` speaks there.

    Args:
        name: A few words.
        holds: Says of a history whether it is: True or False; or a sentence, or several,
            that say what is missing, and none where nothing is.
        or_put_aside: Whether a readable message that became a dead letter excuses: a person
            will look at it. With sentences those about other workload items (they name a
            text of the item, its id say) still count; with False nothing does.

    Raises:
        InvalidDefinition: `holds` cannot be called.

    >>> eventually("every order is paid", lambda history: any(history.of("effect")))
    >>> eventually("every order is paid", unpaid, or_put_aside=True)  # ["o1 was never paid"]
    """
    read_answer = _reader(name, holds)

    def judge(evidence: Evidence) -> list[Finding]:
        history = evidence.history
        if not is_over(history):
            return []
        missing = read_answer(holds(history))
        if or_put_aside:
            missing = not_excused(history, missing)
        items = names_of_items(history)
        return [
            Finding(
                f"{name}: {words or 'not so when the run was over'}",
                (len(history) - 1,),
                _item_in(words, items),
            )
            for words in missing
        ]

    return Property(name, judge, "eventually", tested=lambda evidence: is_over(evidence.history))


def _item_in(words: str, items: Mapping[int, tuple[str, ...]]) -> int:
    """Return the one workload item that a sentence names; else 0."""
    found = [item for item, names in items.items() if words and is_named(words, names)]
    return found[0] if len(found) == 1 else 0


def _known_kinds(name: str, kinds: str | Iterable[str]) -> tuple[str, ...]:
    wanted = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    unknown = [kind for kind in wanted if kind not in KINDS]
    if unknown or not wanted:
        what = f"no kind of event {unknown[0]!r}" if unknown else "no kind of event to look at"
        near = get_close_matches(unknown[0], KINDS, n=1) if unknown else []
        what += f"; did you mean {near[0]!r}?" if near else ""
        raise InvalidDefinition(
            f"always({name!r}): there is {what}; the kinds are: {', '.join(KINDS)}{asked_at()}"
        )
    return wanted


def _reader(name: str, holds: Any) -> Callable[[Any], list[str]]:
    """Return what reads the answers of a claim: what is missing; an empty text for False."""
    if not callable(holds):
        raise InvalidDefinition(
            f"the property {name!r} needs a function that says whether it holds, not {holds!r}"
        )
    forms: set[str] = set()  # what it has returned so far: an empty list may be a slip

    def missing(answer: Any) -> list[str]:
        if isinstance(answer, bool):
            forms.add("bool")
            found = [] if answer else [""]
        elif isinstance(answer, str):
            found = [answer] if answer.strip() else []
        elif isinstance(answer, Iterable) and not isinstance(answer, Mapping | bytes):
            found = list(answer)
        else:
            raise _unclear(name, answer)
        if any(not isinstance(one, str) for one in found):
            raise _unclear(name, answer)
        if not found and not isinstance(answer, bool):
            forms.add("nothing")
        if len(forms) > 1:
            raise InvalidDefinition(
                f"the property {name!r} returned True or False for one run, and {answer!r} for "
                "another. If that is 'rows and ...', write 'bool(rows) and ...'."
            )
        return found

    return missing


def _unclear(name: str, answer: Any) -> InvalidDefinition:
    return InvalidDefinition(
        f"the property {name!r} returned {plain(answer)!r}: return True or False, or sentences "
        "that say what is missing (none if nothing is)"
    )


def sometimes(name: str, reached: Callable[[History], bool]) -> Property:
    """Claim that something is reached in at least one run of the campaign.

    The guard of all other claims: what never happened was never tested.

    Raises:
        InvalidDefinition: `reached` cannot be called.
    """
    _reader(name, reached)

    def judge(evidence: Evidence) -> list[Finding]:
        if reached(evidence.history):
            return []
        return [Finding(f"{name}: not reached")]

    return Property(name, judge, "sometimes")
