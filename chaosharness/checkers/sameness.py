"""The same outcome as without faults: idempotence, and side effects that stay aside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import attrs

from chaosharness.checkers.books import tables_of
from chaosharness.checkers.effects import business, names_of, times
from chaosharness.checkers.masking import STAR, mask, texts
from chaosharness.checkers.property import Evidence, Finding, Property
from chaosharness.checkers.reading import HANDLE, is_quiet, read, verdict_of
from chaosharness.faults import (
    Crash,
    Delay,
    Duplicate,
    ErrorReply,
    FailedCommit,
    Fault,
    LostReply,
    LostRequest,
    PartitionDelay,
    Pause,
    Poison,
    Rebalance,
    Redeliver,
    StoreOutage,
)
from chaosharness.kernel.history import UNASKED, Event, History

BENIGN: Final[tuple[type[Fault], ...]] = (
    Delay,
    PartitionDelay,
    Pause,
    Redeliver,
    Duplicate,
    Rebalance,
    LostReply,
    FailedCommit,
    Crash,
)
"""Faults after which a system should end as if nothing had happened.

Each of them is part of what at-least-once delivery means: things come late, come again, or
have happened although nobody was told. None tells the code that its work is refused for
good, none feeds it something it was never meant to read, and none loses what was stored. A
lost acknowledgement (`LostRequest` at a broker's commit or ack) is one more of them, and so
are `LostRequest` and `ErrorReply` where nobody decided anything: the error of the call left
the handler, the task or the main loop, or it was a message published without a confirm.

Not among them: `ErrorReply` and `LostRequest` that were caught, and `NetworkPartition` (the
call did not happen, and giving up is a decision a system may take), `StoreOutage` (so may a
fallback), `Poison` and `Redeploy` (other input, other code), `ClockSkew` (expiry is judged by
clocks), and `LostWrites` (the store was declared to lose them).
"""

ACKNOWLEDGING: Final = (".commit", ".ack")

LEDGER: Final = "ledger"

TELLING: Final = frozenset({"effect", "publish", "note", "dead", "write", "commit", "state"})
"""Events that say what came out of a run, and which decisions led there."""


# ---- what came out of a run


@attrs.frozen
class Row:
    """One row of a table, or one entry of a ledger, without what may differ."""

    columns: tuple[tuple[str, Any], ...]

    def texts(self) -> set[str]:
        """Return the texts in it: the words in which a system says what it decided."""
        return {text for _, value in self.columns for text in texts(value)}

    def __str__(self) -> str:
        return ", ".join(f"{name}={shown(value)}" for name, value in self.columns if value != STAR)


def shown(value: Any) -> str:
    """Spell a masked value: a tuple of pairs was a mapping."""
    if not isinstance(value, tuple):
        return repr(value)
    if all(isinstance(one, tuple) and len(one) == 2 and isinstance(one[0], str) for one in value):
        return f"{{{', '.join(f'{name}: {shown(one)}' for name, one in value)}}}"
    return f"[{', '.join(map(shown, value))}]"


Place = tuple[str, str]
"""Where rows are: a store and its table, or a third party and its ledger."""


@attrs.frozen(eq=False)
class Outcome:
    """What came out of a run, without what may differ.

    Attributes:
        tables: The rows of every store once the run was over, as they are.
        ledgers: For each workload item, the entries of every third party's ledger.
        branches: For each workload item, what was published, done, noted and put aside,
            and which handlers wrote: what is new here is another decision. Not who published
            it: a join says so when its last half is there, a relay when nobody else did.
    """

    tables: Mapping[Place, Sequence[Mapping[str, Any]]]
    ledgers: Mapping[int, Mapping[Place, Counter[Row]]]
    branches: Mapping[int, frozenset[Any]]


def outcome(history: History, ignore: frozenset[str] = frozenset()) -> Outcome:
    """Return what came out of a run.

    Args:
        history: The run.
        ignore: Stores, tables, columns (`status`, or `orders.status`), third parties or
            methods to leave out.
    """
    tables: dict[Place, Sequence[Mapping[str, Any]]] = {}
    ledgers: dict[int, dict[Place, Counter[Row]]] = {}
    branches: dict[int, set[Any]] = {}
    for _, kind, actor, operation, entity, _, _, data in history.raw:
        if kind not in TELLING:
            continue
        if kind == "state":
            tables |= _tables(actor, data, ignore)
            continue
        said = branches.setdefault(entity, set())
        if kind == "effect":
            method = str(data.get("method"))
            said.add((actor, method))
            if not ignore & {actor, method, f"{actor}.{method}"}:
                ledger = ledgers.setdefault(entity, {})
                ledger.setdefault((actor, LEDGER), Counter())[_entry(data, ignore)] += 1
        elif kind in ("write", "commit"):
            if "error" not in data:
                said.add(("wrote", operation.partition("/")[0]))
        elif kind == "publish":
            said.add((kind, data.get("topic"), _words_of(data.get("value"), ignore)))
        else:
            said.add((kind, data.get("what")))
    frozen = {entity: frozenset(said) for entity, said in branches.items()}
    return Outcome(tables, ledgers, frozen)


@lru_cache(maxsize=64)
def usual_outcome(calm: History, ignore: frozenset[str]) -> Outcome:
    """Return what comes out without faults: read once, compared with many runs."""
    return outcome(calm, ignore)


def _tables(
    store: str, holdings: Mapping[str, Any], ignore: frozenset[str]
) -> Iterator[tuple[Place, Sequence[Mapping[str, Any]]]]:
    if store not in ignore:
        for table, rows in tables_of(holdings):
            if not ignore & {table, f"{store}.{table}"}:
                yield (store, table), rows


def _row(values: Mapping[str, Any], ignore: frozenset[str], table: str = "") -> Row:
    if table == "" and values.keys() == {"key", "value"}:  # of a key-value store
        key = str(values["key"])
        return Row((("key", mask(key)), ("value", mask(values["value"], key, ignore))))
    return Row(
        tuple(
            (name, STAR if f"{table}.{name}" in ignore else mask(value, name, ignore))
            for name, value in values.items()
        )
    )


def _rows(rows: Iterable[Mapping[str, Any]], place: Place, ignore: frozenset[str]) -> Counter[Row]:
    return Counter(_row(row, ignore, place[1]) for row in rows)


def _entry(data: Mapping[str, Any], ignore: frozenset[str]) -> Row:
    """Return an entry of a ledger: its own number and idempotency key are not the business."""
    words = {"method": data.get("method"), **business(data)}
    if words["method"] in ("charge", "refund"):
        words.pop("key", None)
    return _row(words, ignore)


@lru_cache(maxsize=4096)
def _words_of(value: Any, ignore: frozenset[str]) -> frozenset[str]:
    """Return what a message says about the decisions taken: its texts, and no numbers."""
    return frozenset(texts(mask(value, "", ignore)))


# ---- differences between two outcomes


@attrs.frozen
class Difference:
    """The first way in which one table or ledger differs."""

    place: Place
    words: str
    more: tuple[str, ...]
    less: tuple[str, ...]


def unequal(
    usual: Mapping[Place, Sequence[Mapping[str, Any]]],
    seen: Mapping[Place, Sequence[Mapping[str, Any]]],
    ignore: frozenset[str],
) -> tuple[dict[Place, Counter[Row]], dict[Place, Counter[Row]]]:
    """Return the tables that differ once what may differ is left out, of both runs.

    Most rows of most runs are the same to the letter: only the others are looked into.
    """
    before: dict[Place, Counter[Row]] = {}
    after: dict[Place, Counter[Row]] = {}
    for place in dict.fromkeys((*usual, *seen)):
        old, new = usual.get(place, ()), seen.get(place, ())
        if old == new:
            continue
        if len(old) == len(new):
            pairs = [(x, y) for x, y in zip(old, new, strict=True) if x != y]
            left, right = zip(*pairs, strict=True)
            if _rows(left, place, ignore) == _rows(right, place, ignore):
                continue
        before[place], after[place] = _rows(old, place, ignore), _rows(new, place, ignore)
    return before, after


def differences(
    usual: Mapping[Place, Counter[Row]], seen: Mapping[Place, Counter[Row]]
) -> Iterator[Difference]:
    """Yield the first difference in each table or ledger that has one.

    Values that changed places between rows and are otherwise the same (numbers counted up
    in the order of arrival, the last item in stock) are not a difference.
    """
    for place in dict.fromkeys((*usual, *seen)):
        before = usual.get(place, Counter())
        after = seen.get(place, Counter())
        if before == after or _permuted(before, after):
            continue
        more = [*(after - before).elements()]
        less = [*(before - after).elements()]
        words = _words(place, before, after, more, less)
        yield Difference(place, words, tuple(map(str, more)), tuple(map(str, less)))


def _permuted(before: Counter[Row], after: Counter[Row]) -> bool:
    """Say whether each column, taken by itself, holds the same values."""
    return before.total() == after.total() and _columns(before) == _columns(after)


def _columns(rows: Counter[Row]) -> Counter[tuple[str, Any]]:
    return Counter(column for row in rows.elements() for column in row.columns)


def _words(
    place: Place, before: Counter[Row], after: Counter[Row], more: list[Row], less: list[Row]
) -> str:
    owner, table = place
    if table == LEDGER:
        row = (more or less)[0]
        (_, method), *arguments = row.columns
        what = f"{method}({Row(tuple(arguments))})"
        return f"{owner} did {what} {often(after[row])}, in the calm run {often(before[row])}"
    where = f"{owner}.{table}" if table else owner
    if before.total() != after.total():
        odd = _odd_one_out(more, less)
        sign = "more" if odd in more else "less"
        return f"{where} holds {rows(after)}, in the calm run {rows(before)}; one {sign}: ({odd})"
    new, old = min(
        ((new, old) for new in more for old in less),
        key=lambda pair: len({*pair[0].columns} ^ {*pair[1].columns}),
    )
    return f"{where} {_changed(new, old)}"


def _odd_one_out(more: list[Row], less: list[Row]) -> Row:
    """Return a row that is there once too often, or one that is missing.

    Rows that were changed are in both lists: the one least like any of the others is it.
    """
    here, there = (more, less) if len(more) > len(less) else (less, more)
    return max(
        here,
        key=lambda one: min((len({*one.columns} ^ {*other.columns}) for other in there), default=0),
    )


def rows(counted: Counter[Row]) -> str:
    """Say how many rows."""
    return f"{counted.total()} row{'' if counted.total() == 1 else 's'}"


def _changed(new: Row, old: Row) -> str:
    """Say how the row that is there differs from the one that should be."""
    same = [column for column in new.columns if column in old.columns and column[1] != STAR]
    now = [column for column in new.columns if column not in old.columns]
    then = [column for column in old.columns if column not in new.columns]
    whose = f" of ({Row(tuple(same))})" if same else ""
    return f"has {Row(tuple(now))}{whose}, in the calm run {Row(tuple(then))}"


def often(count: int) -> str:
    """Say how often, with a word for none."""
    return times(count) if count else "never"


# ---- idempotence


IDEMPOTENCE: Final = (
    "handling a message again, late or after a crash leaves stores and third parties as if it "
    "had been handled once, and does not depend on which item comes first"
)


def idempotent(*, ignore: Iterable[Any] = (), under: tuple[type[Fault], ...] = BENIGN) -> Property:
    """Claim that a disturbed run ends as the calm run does: in stores and in ledgers.

    Needs no invariant written by the user. Judged under benign faults only: those after
    which at-least-once delivery makes up (see `BENIGN`), and once all is quiet. A call that
    was lost or refused is one of them if the code let its error pass: then nobody decided
    to do without it.

    Compared are the rows of every table and the entries of every list, in any order, and
    every third party's ledger, without what may rightly differ: timestamps, generated ids
    and tokens, numbers counted up, attempts and versions (see `checkers.masking`), and
    values that only changed places.

    A system that took another decision is not judged. Where an item published, did, noted
    or put aside something that it does not without faults (a timeout that cancels the
    order), its ledger entries and all tables are left alone. So are all tables where
    nothing is missing and a row says a word that the calm run never says (`cancelled`).
    Doing the same things more often, or not at all, is no other decision.

    Args:
        ignore: What else may differ: stores, third parties, tables, columns (`seen`, or
            `orders.seen`), methods (`send`, or `mailer.send`).
        under: The kinds of fault to judge under.

    >>> run.check(idempotent())
    >>> run.check(idempotent(ignore=["audit_log", mailer]))
    """
    ignored = names_of(ignore)

    def judge(evidence: Evidence) -> list[Finding]:
        if not _judged(evidence, under):
            return []
        usual = usual_outcome(evidence.calm(), ignored)
        seen = outcome(evidence.history, ignored)
        elsewhere = _beyond(usual, seen)
        found = [*_ledgers_differ(usual, seen, elsewhere)]
        before, after = unequal(usual.tables, seen.tables, ignored) if not elsewhere else ({}, {})
        if _beyond(seen, usual) or not _says_new(evidence, before, after):
            found += differences(before, after)
        return [_unlike(evidence.history, one) for one in found]

    def tested(evidence: Evidence) -> bool:
        if not _judged(evidence, under):
            return False
        usual = usual_outcome(evidence.calm(), ignored)
        seen = outcome(evidence.history, ignored)
        return bool(usual.tables or usual.ledgers) and not _beyond(usual, seen)

    return Property("idempotent", judge, "eventually", tested=tested, assumption=IDEMPOTENCE)


def _judged(evidence: Evidence, under: tuple[type[Fault], ...]) -> bool:
    """Say whether only benign faults struck, at least one, and both runs came to rest."""
    faults = evidence.faults
    if not faults:
        return False
    others = [fault for fault in faults if not _is_benign(fault, under)]
    if under is not BENIGN and others:
        return False
    if not all(nobody_decided(evidence.history, fault) for fault in others):
        return False
    return is_quiet(evidence.history) and is_quiet(evidence.calm())


def _is_benign(fault: Any, under: tuple[type[Fault], ...]) -> bool:
    if isinstance(fault, LostRequest) and LostRequest not in under:
        acknowledging = fault.site.operation.endswith(ACKNOWLEDGING)
        return under is BENIGN and acknowledging
    return isinstance(fault, under)


def nobody_decided(history: History, fault: Fault) -> bool:
    """Say whether no code took a decision when a call did not happen.

    It never learned of it, or it let the error pass: out of a handler (the message comes
    again), a main loop (it begins anew) or a task (nobody looks at it any more).
    """
    site = fault.site
    if not isinstance(fault, ErrorReply | LostRequest) or site.operation.startswith("client."):
        return False
    place = (site.operation, site.entity, site.attempt)
    told = next((one for one in history.of("reply") if _place(one) == place), None)
    if told is None:
        return False
    if told.data["outcome"] == UNASKED:
        return True
    reading = read(history)
    root = reading.roots[told.index]
    handed = reading.handed.get(root)
    acked = handed is not None and handed.acked >= 0
    return any(
        one.index > told.index and reading.roots[one.index] == root and _escaped(one, acked)
        for one in history.of("raised")
    )


def _place(event: Event) -> tuple[str, int, int]:
    return event.operation, event.entity, event.attempt


def _escaped(event: Event, acked: bool) -> bool:
    """Say whether an error left a task; or a main loop or a handler, so that it is tried again.

    Not where the message was acknowledged all the same: to skip it is a decision as well,
    and `nothing_acknowledged_lost` speaks of it.
    """
    in_a_task = event.operation == ""
    tried_again = event.operation.endswith(HANDLE) or "/" not in event.operation
    return in_a_task or (tried_again and not acked)


def _beyond(usual: Outcome, seen: Outcome) -> set[int]:
    """Return the workload items of which `seen` says something that `usual` does not."""
    nothing: frozenset[Any] = frozenset()
    return {
        entity
        for entity, said in seen.branches.items()
        if not said <= usual.branches.get(entity, nothing)
    }


def _ledgers_differ(usual: Outcome, seen: Outcome, elsewhere: set[int]) -> Iterator[Difference]:
    for entity in dict.fromkeys((*usual.ledgers, *seen.ledgers)):
        if entity not in elsewhere:
            yield from differences(usual.ledgers.get(entity, {}), seen.ledgers.get(entity, {}))


def _says_new(
    evidence: Evidence, usual: Mapping[Place, Counter[Row]], seen: Mapping[Place, Counter[Row]]
) -> bool:
    """Say whether a row that changed says a word that the calm run never says."""
    for place, rows in seen.items():
        before = usual.get(place, Counter())
        if rows.total() == before.total():
            said = {text for row in rows - before for text in row.texts()}
            if said - vocabulary(evidence.calm()) - {STAR}:
                return True
    return False


@lru_cache(maxsize=64)
def vocabulary(calm: History) -> frozenset[str]:
    """Return every text in a run: in what it stored, published, called and noted."""
    return frozenset(text for event in calm for text in texts(mask(event.data)))


def _unlike(history: History, difference: Difference) -> Finding:
    owner, table = difference.place
    kind = "effect" if table == LEDGER else "state"
    events = [event.index for event in history.of(kind) if event.actor == owner]
    if kind == "effect":
        wanted = {*difference.more, *difference.less}
        events = [
            at for at in events if str(_entry(history[at].data, frozenset())) in wanted
        ] or events
    entity = history[events[0]].entity if events else 0
    data = {
        "where": owner,
        "table": table,
        "more": list(difference.more),
        "less": list(difference.less),
    }
    place = f"{owner}.{table}"
    return Finding(
        difference.words, tuple(events), entity, data, kind=_harm(difference), place=place
    )


def _harm(difference: Difference) -> str:
    more, less = bool(difference.more), bool(difference.less)
    if difference.place[1] == LEDGER:
        return "effect new" if more and less else "effect lost" if less else "effect twice"
    return "row differs" if more and less else "row missing" if less else "row too many"


# ---- the critical path


def side_effects_never_touch_critical_path(
    *, critical: Iterable[Any], side: Iterable[Any], ignore: Iterable[Any] = ()
) -> Property:
    """Claim that trouble confined to side services changes nothing on the critical path.

    Judged where every fault struck at a side service, or at a delivery to one. What the
    critical services publish and have done, and what is in the stores and ledgers named,
    must be what the calm run has, without what may rightly differ (see `idempotent`).

    Args:
        critical: Names of services, and the stores and third parties that count.
        side: Names of the side services, of their consumer groups or queues, and of the
            stores that only they use.
        ignore: As for `idempotent`.

    >>> side_effects_never_touch_critical_path(
    ...     critical=["orders", "payments", bank], side=["notifications"])
    """
    kernel, margin, ignored = names_of(critical), names_of(side), names_of(ignore)

    def judge(evidence: Evidence) -> list[Finding]:
        if not tested(evidence):
            return []
        usual = _critical(evidence.calm(), kernel, ignored)
        seen = _critical(evidence.history, kernel, ignored)
        found = sorted(differences(usual, seen), key=_how_far_from_people)
        return [_unlike(evidence.history, one) for one in found]

    def tested(evidence: Evidence) -> bool:
        faults = evidence.faults
        if not faults or not all(_confined(fault, margin) for fault in faults):
            return False
        return verdict_of(evidence.history)[0] in ("quiet", "stuck")

    name = "side effects never touch the critical path"
    return Property(name, judge, "eventually", tested=tested)


def _how_far_from_people(difference: Difference) -> int:
    """Order differences: what was done to somebody, what is held, what was said in between."""
    _, table = difference.place
    return 0 if table == LEDGER else 2 if table.startswith("topic ") else 1


def _confined(fault: Any, side: frozenset[str]) -> bool:
    """Say whether a fault strikes side services only."""
    where, _, action = fault.site.operation.partition("/")
    if isinstance(fault, Poison | PartitionDelay):
        return False  # everybody who reads the topic suffers
    if isinstance(fault, StoreOutage):
        return action.rpartition(".")[0] in side
    if action.startswith("deliver to "):
        return action.removeprefix("deliver to ") in side
    return _service(where, side) != ""


def _service(place: str, services: frozenset[str]) -> str:
    """Return which of these services a place (`payments.on_order`, `payments#1/2`) is in."""
    for name in sorted(services):
        if place == name or place.startswith((f"{name}.", f"{name}#")):
            return name
    return ""


def _critical(
    history: History, critical: frozenset[str], ignore: frozenset[str]
) -> dict[Place, Counter[Row]]:
    """Return what the critical part of a system did and holds."""
    found: dict[Place, Counter[Row]] = {}
    for event in history.of("publish", "effect", "state"):
        owner = _service(event.operation.partition("/")[0] or event.actor, critical)
        if event.kind == "state" and event.actor in critical:
            for place, rows in _tables(event.actor, event.data, ignore):
                found[place] = _rows(rows, place, ignore)
        elif event.kind == "effect" and (owner or event.actor in critical):
            ledger = found.setdefault((event.actor, LEDGER), Counter())
            ledger[_entry(event.data, ignore)] += 1
        elif event.kind == "publish" and owner:
            place = (str(event.data.get("broker")), f"topic {event.data.get('topic')}")
            words = {"key": event.data.get("key"), "value": event.data.get("value")}
            found.setdefault(place, Counter())[_row(words, ignore)] += 1
    return found
