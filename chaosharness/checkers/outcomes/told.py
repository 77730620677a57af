"""What the code was told in a run: what was refused, what failed, and whom the client heard of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import combinations, pairwise
from typing import Final

import attrs

from chaosharness.checkers.outcomes.clean import CLIENT, Clean
from chaosharness.checkers.outcomes.early import came_too_early
from chaosharness.checkers.outcomes.escapes import Escapes
from chaosharness.checkers.outcomes.outcome import Outcome
from chaosharness.checkers.outcomes.plan import Plan, Refusal
from chaosharness.checkers.outcomes.silent import given_up, unanswered
from chaosharness.checkers.reading import Handed, read
from chaosharness.faults import (
    Crash,
    Delay,
    ErrorReply,
    FailedCommit,
    NetworkPartition,
    PartitionDelay,
    Pause,
    StoreOutage,
)
from chaosharness.kernel.history import GAVE_UP, History

OF_CODE: Final = re.compile(
    r"IntegrityError|ProgrammingError|DataError|NotSupportedError|InternalError"
)
"""Errors of a database that say something about the code, and nothing about the weather."""

UNREACHED: Final = re.compile(r"OperationalError|[Cc]onnection refused")
"""Errors of a store that could not be asked: no statement of it is in the history."""

LATE: Final = ("timeout", "long")
LATER_MS: Final = 5_000
"""How much later than in the calm run the work of an item ends, to be late."""

Contents = tuple[str, ...]
"""What a message is, whichever copy: where it was sent, its key, its value."""

REPLIES: Final = ("reply", "commit", "write", "read", "raised", "call", "note")
NO_ANSWER: Final = "no answer"


@attrs.frozen
class No:
    """Something that the code was told no about, or nothing.

    Attributes:
        operation: Of the site.
        entity: Of the site.
        attempt: The first that was told.
        items: Whose work it was; several if nobody knows.
        answer: What sort of no it was. A place that says one sort in the calm run does not
            say another there.
    """

    operation: str
    entity: int
    attempt: int
    items: frozenset[int]
    answer: str = ""


def told(clean: Clean, history: History) -> list[No]:
    """Return what the code was told in this run, decided upon, and is not told without faults.

    Not what left the handler, the task or the main loop as an error: nobody decided anything,
    and what comes again is a mere repeat.
    """
    usual = _usual(clean)
    found: dict[tuple[str, int], No] = {}
    for no in _told(clean, history, only_caught=True):
        place = (no.operation, no.entity)
        if place in found:
            found[place] = attrs.evolve(found[place], items=found[place].items | no.items)
        elif (*place, no.answer) not in usual:
            found[place] = no
    return list(found.values())


def _usual(clean: Clean) -> frozenset[tuple[str, int, str]]:
    known = clean.family.known
    if "told" not in known:
        nos = _told(clean, clean.history)
        known["told"] = frozenset((no.operation, no.entity, no.answer) for no in nos)
    usual: frozenset[tuple[str, int, str]] = known["told"]
    return usual


def _answer(kind: str, data: object) -> str:
    """Return what sort of no an event tells: its outcome, and the kind of its error."""
    words = data if isinstance(data, dict) else {}
    error = str(words.get("error", "")).partition(":")[0]
    return f"{words.get('outcome', kind)} {error}"


def _told(clean: Clean, history: History, *, only_caught: bool = False) -> Iterator[No]:
    everyone = frozenset(clean.everyone)
    left, silent = Escapes(history), given_up(history, clean.history)
    raw = history.raw
    for index in history.places_of(*REPLIES):
        _, kind, actor, operation, entity, attempt, cause, data = raw[index]
        if kind == "note":
            if data.get("what") == GAVE_UP:
                items = frozenset({entity}) if entity else everyone
                yield No(str(data["of"]), entity, 1, items, NO_ANSWER)
            continue
        if kind == "call":
            if index not in silent:
                continue
            cause = index
        elif kind == "reply":
            if data.get("outcome") not in ("failed", "unknown"):
                continue
        elif kind == "raised":
            if not actor.startswith("client"):
                continue
            operation, attempt = operation or CLIENT, 1
        elif "error" not in (data or ()):
            # a commit that happened, and said that it failed: a no for the code that caught
            # it; a caller that hears of it is told so by the reply of its call
            unknown = kind == "commit" and (data or {}).get("outcome") == "unknown"
            if not unknown or left.passed_on(index):
                continue
        if only_caught and left.escaped(index):
            continue  # nobody decided: it comes again
        answer = NO_ANSWER if kind == "call" else _answer(kind, data)
        items = frozenset({entity}) if entity else _asked_for(clean, history, cause) or everyone
        yield No(operation, entity, attempt, items, answer)


def _asked_for(clean: Clean, history: History, cause: int) -> frozenset[int]:
    """Return whose work a call of a loop was, by what it asked for.

    What is refused before it is sent is not in the history. Up to the first fault that is as in the
    calm run.
    """
    raw = history.raw
    if cause >= 0 and raw[cause][1] == "fault" and history.places_of("fault")[0] == cause:
        usual = clean.history.raw
        same = cause < len(usual) and usual[cause][3] == raw[cause][3]
        raw = usual if same else raw
    if cause < 0 or raw[cause][1] not in ("call", "publish"):
        return frozenset()
    return clean.reader.owners.of(raw[cause][7])


def clients_told_no(history: History) -> frozenset[int]:
    """Return the items whose client's last answer was no, or none: also that of a store."""
    last: dict[int, bool] = {}
    raw = history.raw
    for at in history.places_of("reply", "raised", "read", "write", "commit"):
        _, kind, actor, operation, entity, _, _, data = raw[at]
        if not (actor == "client" or operation.startswith(CLIENT)):
            continue
        if kind in ("reply", "raised"):
            last[entity] = kind == "raised" or data.get("outcome") != "ok"
        elif kind in ("read", "write", "commit") and data and "store" in data:
            last[entity] = "error" in data
    return frozenset(item for item, bad in last.items() if bad)


# ---- too late


def late_items(clean: Clean, faults: tuple[object, ...]) -> frozenset[int]:
    """Return the items that a fault may have made late: queues and locks make it all."""
    for fault in faults:
        lasting = getattr(fault, "lasting", getattr(fault, "down", None))
        if lasting in LATE or (type(lasting) is int and lasting >= LATER_MS):
            return frozenset(clean.everyone)
    return frozenset()


def missed_late(clean: Clean, history: History, faults: tuple[object, ...]) -> bool:
    """Say whether items came late since a broker found out late that somebody had died.

    A crash may be over at once, and the session of the one that is gone is not.
    """
    died = any(isinstance(fault, Crash) for fault in faults)
    return died and any(_ended_late(clean, history, item) for item in clean.everyone)


def came_late(clean: Clean, history: History, faults: tuple[object, ...], item: int) -> bool:
    """Say whether some work of an item ended later than it does without faults."""
    slow = (Delay, Pause, PartitionDelay, StoreOutage, NetworkPartition)
    if any(isinstance(fault, slow) for fault in faults):
        return True
    if any(isinstance(fault, Crash) and fault.down != "next" for fault in faults):
        return True
    return _ended_late(clean, history, item)


def _ended_late(clean: Clean, history: History, item: int) -> bool:
    usual = _ended(clean.history, item)
    ended = _ended(history, item)
    return any(at - usual[where] > LATER_MS for where, at in ended.items() if where in usual)


def _ended(history: History, item: int) -> dict[str, int]:
    """Return when each operation was last done for an item."""
    kinds = ("handled", "commit", "effect")
    return {event.operation: event.at_ms for event in history.of(*kinds) if event.entity == item}


# ---- put aside

TRIES_MIN: Final = 2
"""Tries that have failed by a fault, at least, where an outage is to have used them up."""


@attrs.frozen
class Aside:
    """A readable message that was put aside, and is not without faults.

    Attributes:
        item: Whose.
        event: The event that put it aside.
        message: The message.
        topic: Where it had been.
        excused: Whether something was failing when it was handled last.
    """

    item: int
    event: int
    message: int
    topic: str
    excused: bool


def put_aside(clean: Clean, seen: Outcome, history: History) -> list[Aside]:
    """Return the messages that were put aside beyond those of the calm run.

    One that was sent twice, and is put aside each time it is sent without faults, is none. What
    was put aside in trouble excuses what comes behind it for the same item, and may need it.
    """
    found: list[Aside] = []
    for item, dead in seen.dead.items():
        usual = clean.calm.dead.get(item, ())
        if len(dead) <= len(usual):
            continue
        hopeless = _hopeless(clean)
        beyond = [one for one in dead if _contents(history, one[1]) not in hopeless]
        expected = [one for one in usual if _contents(clean.history, one[1]) not in hopeless]
        for index, message in beyond[len(expected) :]:
            sent = history[message].data
            topic = f"{sent.get('broker')}.{sent.get('topic')}"
            after = any(one.item == item and one.excused and one.event < index for one in found)
            early = came_too_early(clean.history, history, item, index, message)
            excused = after or early or in_trouble(clean, history, index, message)
            found.append(Aside(item, index, message, topic, excused))
    return found


def _hopeless(clean: Clean) -> set[Contents]:
    """Return what is put aside each time that it is sent, without faults."""
    history = clean.history
    dead = {message for one in clean.calm.dead.values() for _, message in one}
    sent = {event.index for event in history.of("publish")}
    handled = {_contents(history, message) for message in sent - dead}
    return {_contents(history, message) for message in dead} - handled


def _contents(history: History, message: int) -> Contents:
    data = history[message].data
    return tuple(repr(data.get(name)) for name in ("broker", "topic", "key", "value"))


def in_trouble(clean: Clean, history: History, index: int, message: int) -> bool:
    """Say whether something was failing by a fault when a message was handled last.

    Or an outage has used its tries up: at least half of them failed by a fault, several, and one of
    the last two. The one after such a failure may fail by what that has left behind, a lease say.
    """
    raw = history.raw
    handed = [
        at
        for at in range(index)
        if raw[at][1] == "deliver" and raw[at][7].get("message") == message
    ]
    if not handed or _fails(clean, history, handed[-1], index):
        return True
    if len(handed) < TRIES_MIN or not _fails(clean, history, *handed[-2:]):
        return False
    failed = sum(_fails(clean, history, at, end) for at, end in pairwise(handed))
    return failed >= TRIES_MIN and 2 * failed >= len(handed)


def _fails(clean: Clean, history: History, begin: int, end: int) -> bool:
    """Say whether something fails by a fault between two events, and not in calm too."""
    raw = history.raw
    usual = _usual(clean)
    silent = given_up(history, clean.history)
    for at in range(begin, end):
        _, kind, _, operation, entity, _, _, data = raw[at]
        if kind in ("fault", "crash"):
            return True
        if kind == "raised" and UNREACHED.search(str((data or {}).get("error", ""))):
            return True
        if kind == "reply" and data.get("outcome") in ("failed", "unknown"):
            if (operation, entity, _answer(kind, data)) not in usual:
                return True
        elif at in silent and (operation, entity, NO_ANSWER) not in usual:
            return True
        elif kind in ("read", "write", "commit"):
            error = (data or {}).get("error")
            if error and not OF_CODE.search(str(error)):
                return True
    return False


# ---- messages that led to nothing

WORK: Final = frozenset({"publish", "effect", "call", "note"})
STORED: Final = frozenset({"write", "commit"})


def swallowed(
    clean: Clean, history: History, items: frozenset[int]
) -> Iterator[tuple[str, Handed]]:
    """Yield messages that a group took and did nothing for, where it does something usually.

    Not what was put aside: it waits for a person. Nor of an item of which another message, for
    which nothing is done usually, was the first to decide here.
    """
    handed = read(clean.history).handed
    usual = {
        (one.group, one.sent.topic, one.sent.entity)
        for at, one in handed.items()
        if at in _fruitful(clean.history)
    }
    idle = {(one.group, one.sent.topic, one.sent.entity) for one in handed.values()} - usual
    reading, fruitful = read(history), _fruitful(history)
    taken: dict[tuple[str, str, int], list[tuple[bool, Handed]]] = {}
    for at, one in reading.handed.items():
        aside = (one.sent.index, one.group) in reading.dead
        if one.sent.entity in items and not one.sent.poison and not aside:
            place = (one.group, one.sent.topic, one.sent.entity)
            taken.setdefault(place, []).append((at in fruitful, one))
    first = {place[2] for place, times in taken.items() if place in idle and times[0][0]}
    for place, times in taken.items():
        if place in usual and place[2] not in first and not any(did for did, _ in times):
            yield place[0], times[-1][1]


def ignored(history: History, item: int) -> bool:
    """Say whether messages of an item were taken, and led to nothing at all."""
    mine = [at for at, one in read(history).handed.items() if one.sent.entity == item]
    return bool(mine) and _fruitful(history).isdisjoint(mine)


def came_so(history: History, order: tuple[int, ...]) -> bool:
    """Say whether something was done for items in an order, as far as it is not theirs.

    What is done once more later has not come later; that for which nothing is done any more has.
    """
    handed, first = read(history).handed, dict[int, int]()
    for at in sorted(_fruitful(history)):
        first.setdefault(handed[at].sent.entity, at)
    last = len(history.raw)
    return all(
        one < other or first.get(one, 0) < first.get(other, last)
        for one, other in combinations(order, 2)
    )


def is_noted_by_its_sender(history: History, sent: int) -> bool:
    """Say whether a service published a message in the same work in which it stores something."""
    roots = read(history).roots
    if history.raw[sent][3].startswith(CLIENT) or roots[sent] < 0:
        return False
    return any(
        roots[at] == roots[sent] and "error" not in (history.raw[at][7] or ())
        for at in history.places_of(*STORED)
    )


def dropped(
    clean: Clean, history: History, item: int, nos: Iterable[No], put_off: frozenset[int]
) -> bool:
    """Say whether what is new of an item was taken, and led to nothing, though it may lead on.

    A message for later, for instance, in a topic that is empty without faults: whoever takes
    it does something where only what came before is refused for good. To put it off once more
    is nothing that lasts; and who is given again what it put off does usually what it did not.
    """
    usual = {one.sent.topic for one in read(clean.history).handed.values()}
    in_vain = unanswered(history)
    fruitful, lasting = (_fruitful(history, but=one) for one in (in_vain, in_vain | put_off))
    mine = [(at, one) for at, one in read(history).handed.items() if one.sent.entity == item]
    done = {(one.group, one.sent.topic) for at, one in mine if at in lasting or one.acked < 0}
    taken = [one for at, one in mine if at not in fruitful]
    idle = {(one.group, one.sent.topic) for one in taken if one.sent.topic not in usual} - done
    again = {
        (one.group, one.sent.topic) for one in taken if _stands_for(history, one, put_off)
    } - done
    if again and any(
        (one.group, one.sent.topic) in again and one.sent.entity == item
        for at, one in read(clean.history).handed.items()
        if at in _fruitful(clean.history)
    ):
        return True
    if not idle:
        return False
    surfaces = clean.family.calm().surfaces
    for no in nos:
        legal = surfaces.get(no.operation)
        for kind in (ErrorReply, FailedCommit):
            if legal is not None and no.entity == item and kind in legal.before:
                refusal = Refusal(no.operation, item, no.attempt, kind)
                run = clean.family.run(Plan(refused=(refusal,)))
                if run is not None:
                    led_on = _fruitful(run.history)
                    for at, one in read(run.history).handed.items():
                        if at in led_on and (one.group, one.sent.topic) in idle:
                            return True
    return False


def _stands_for(history: History, handed: Handed, messages: frozenset[int]) -> bool:
    """Say whether a delivery is of one of these messages, or of what a queue made of one."""
    index = handed.sent.index
    while index >= 0 and index not in messages:
        index = int(history.raw[index][7].get("instead_of", -1))
    return index >= 0


def _fruitful(history: History, but: frozenset[int] = frozenset()) -> set[int]:
    """Return the deliveries that changed something: not if that was rolled back, and no more.

    Args:
        history: The run.
        but: Events that change nothing.
    """
    reading = read(history)
    found, undone = set(), _rolled_back(history)
    for at, (_, kind, _, _, _, _, _, data) in enumerate(history.raw):
        root = reading.roots[at]
        if at in but or (kind == "write" and root in undone):
            continue
        if root in reading.handed and (kind in WORK or (kind in STORED and _changed(data or {}))):
            found.add(root)
    return found


def _rolled_back(history: History) -> set[int]:
    """Return the pieces of work of which a commit failed."""
    roots = read(history).roots
    return {
        roots[at]
        for at, raw in enumerate(history.raw)
        if raw[1] == "commit" and "error" in (raw[7] or ())
    }


def _changed(data: dict[str, object]) -> bool:
    return bool(data.get("rows", 1)) and "error" not in data
