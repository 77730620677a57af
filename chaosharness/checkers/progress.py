"""That the system comes to rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from chaosharness.checkers.effects import times
from chaosharness.checkers.excused import PARKED, left_parked
from chaosharness.checkers.property import Evidence, Finding, Property
from chaosharness.checkers.reading import HANDLE, verdict_of, waits_of
from chaosharness.kernel import allowed
from chaosharness.kernel.history import Event, History

COMES: Final = (
    "If somebody does so in production, let the entry do it too: what comes after that is tried by "
    "no run"
)
_VERDICTS: Final = {
    "stuck": "the system is stuck",
    "budget": "the system never came to rest",
    "spinning": "the system spins",
}


def never_stuck(*, waiting: bool = False) -> Property:
    """Claim that the system comes to rest once the faults have stopped.

    No code waits for what can never come, none runs without end, no message is handed
    out without end, no events go in a circle, no saga is parked since its own code raised or no
    longer fits its journal. The finding names the culprit.

    Who waits for somebody that does not come in the workload (a signal, a token, a person, a
    cancellation), and what goes on by its timers until somebody ends it, is told in each door and
    breaks nothing where the run without faults has it too; what may do so is named by
    `System(may_wait=...)`.

    Args:
        waiting: Whether to wait for somebody who does not come is to be stuck as well.

    >>> run.check(never_stuck())
    >>> shop.claim(never_stuck(waiting=True), never_charged_twice(bank))

    Raises:
        InvalidValue: `waiting` is neither True nor False.
    """
    if not isinstance(waiting, bool):
        raise allowed.refused("never_stuck", "waiting", "True or False", waiting)

    def judge(evidence: Evidence) -> list[Finding]:
        verdict, reason = verdict_of(evidence.history)
        if verdict == "quiet":
            reason = waits_of(evidence.history) or _lives_anew(evidence)
            if not reason:
                for event, words in _broken_off(evidence.history):
                    return [_stuck(words, evidence.history, event)]
            if not reason and waiting:
                reason = next(iter(waiting_in(evidence.history)), "")
            if not reason:
                return []
            verdict = "stuck"
        words = _VERDICTS.get(verdict, f"the run ended as {verdict!r}")
        summary = f"{words}: {reason}" if reason else words
        ends = tuple(event.index for event in evidence.history.of("end"))
        return [Finding(summary, ends, 0, {"verdict": verdict, "reason": reason})]

    return Property("never stuck", judge, "eventually")


def living(history: History) -> list[tuple[str, str]]:
    """Return what goes on until somebody outside ends it: by its name, and in words."""
    ends = [*history.of("end")]
    return [(name, words) for name, words in ends[-1].data.get("lives", ())] if ends else []


def _lives_anew(evidence: Evidence) -> str:
    """Say what goes on until somebody ends it and has an end without faults; or nothing."""
    found = living(evidence.history)
    usual = {name for name, _ in living(evidence.calm())} if found else set()
    return next((words for name, words in found if name not in usual), "")


def _broken_off(history: History) -> Iterator[tuple[Event, str]]:
    """Yield where a saga was parked that cannot go on at all, and why.

    Its code raised, or does not fit its journal any more.
    """
    for saga, event in left_parked(history).items():
        if event.data.get("stuck"):
            yield (
                event,
                f"saga {saga} cannot go on: {event.data.get('why')}. It is parked until that is "
                f'mended, and somebody says resolve({saga!r}, "", "retry")',
            )


def _stuck(reason: str, history: History, event: Event) -> Finding:
    ends = tuple(one.index for one in history.of("end"))
    data = {"verdict": "stuck", "reason": reason}
    summary = f"{_VERDICTS['stuck']}: {reason}"
    return Finding(summary, (event.index, *ends), event.entity, data)


def waiting_in(history: History) -> tuple[str, ...]:
    """Say what waits for somebody at the end of a run in which nobody comes, for a person to read.

    No claim is broken by it: that somebody comes later may be meant so. What comes after that is
    tried by no run.
    """
    ends = [*history.of("end")]
    end: Mapping[str, Any] = ends[-1].data if ends else {}
    asks = [str(one) for one in (*end.get("asks", ()), *(words for _, words in living(history)))]
    may_wait = frozenset(end.get("may_wait", ()))
    parked: dict[str, str] = {}
    for event in history.of("note"):
        saga, words = event.data.get("saga"), event.data
        if not isinstance(saga, str):
            continue
        if words.get("step") in may_wait:
            continue
        if words.get("what") == PARKED and words.get("stuck"):
            parked.pop(saga, None)  # that is broken, and told as such
        elif words.get("what") == PARKED and not words.get("until_ms"):
            step = words.get("step")
            at = f" at {step!r}" if step else ""
            why = f" ({words['why']})" if words.get("why") else ""
            parked[saga] = f"saga {saga} is parked{at}{why}, and nobody has answered"
        else:
            parked.pop(saga, None)
    found = [*asks, *parked.values()]
    return tuple(f"{one}. {COMES}" for one in found)


def upset(history: History) -> tuple[str, ...]:
    """Say what went wrong in a run, for a person to read: no claim is broken by it.

    In the run without faults, that is mostly a mistake in the code or in its wiring: the
    error that a handler has raised at every message, until each was a dead letter.
    """
    raised: Counter[tuple[str, str]] = Counter()
    dead: Counter[str] = Counter()
    for event in history.of("raised", "dead"):
        if event.kind == "raised":
            place = event.operation.partition("/")[0] or f"a task of {event.actor}"
            line = event.data.get("line")
            where = f" at {line}" if line else ""
            raised[place, f"{event.data.get('error', '')}{where}"] += 1
        elif event.data.get("reason") != "expired":
            dead[_end_of(event.data, history)] += 1
    return (
        *(f"{place} raised {error}, {times(count)}" for (place, error), count in raised.items()),
        *(f"{where}, {times(count)}" for where, count in dead.items()),
        *untaken(history),
        *waiting_in(history),
    )


def _end_of(data: Mapping[str, Any], history: History) -> str:
    """Say what became of a message that was not handled."""
    if data.get("reason") == "unroutable":
        sent = _sent(history, data.get("message"))
        late = ""
        if data.get("message") in missed_of(history):
            late = ", and one is only later (bind it before anything is published)"
        why = "there is no such exchange" if data.get("absent") else "no queue is bound for it"
        return f"{sent} was dropped: {why}{late}"
    to = data.get("to") or ()
    where = to if isinstance(to, str) else ", ".join(to)
    return f"a message was put aside in {where}" if where else "a message was dropped"


def _sent(history: History, index: Any) -> str:
    """Say what was published, and by whom."""
    event = history[index] if isinstance(index, int) and 0 <= index < len(history) else None
    place = publisher_of(event) if event is not None and event.kind == "publish" else ""
    if event is None or not place:
        return "a message"
    exchange = event.data.get("exchange")
    where = f" to exchange {exchange!r}" if exchange else ""
    return f"what {place} published{where} as {event.data.get('topic')!r}"


def publisher_of(event: Event) -> str:
    """Return which code has published a message; nothing where a broker stored it by itself."""
    return event.operation.partition("/")[0] or str(event.data.get("by", ""))


def missed_of(history: History) -> tuple[int, ...]:
    """Return the messages that were dropped before the queue was bound which would take them."""
    ends = [*history.of("end")]
    return tuple(ends[-1].data.get("missed", ())) if ends else ()


def untaken(history: History) -> tuple[str, ...]:
    """Say which queues were published to and read by nobody, for a person to read.

    One whose messages go on by themselves is read so: a queue in which they wait for their time,
    a topic whose subscribers get copies.
    """
    read: set[Any] = set()
    gone: set[Any] = set()
    for event in history.of("deliver", "dead", "read"):
        read.add(event.data.get("group"))
        gone.add(event.data.get("message"))
    found: Counter[tuple[str, str]] = Counter()
    for event in history.of("publish"):  # what a broker copies is the cause of the copy
        source = history[event.cause] if not event.operation and event.cause >= 0 else None
        if source is not None and source.kind == "publish":
            read.update(source.data.get("queues") or ())
    for event in history.of("publish"):
        queues = event.data.get("queues") or ()
        if event.operation and event.index not in gone:
            place = event.operation.partition("/")[0]
            found.update((place, name) for name in queues if name not in read)
    return tuple(
        f"nobody read what {place} published to queue {name!r}, {times(count)}"
        for (place, name), count in found.items()
    )


def nothing_handled(history: History) -> str:
    """Return the error of the handlers, where none of them came to its end; else nothing."""
    last = ""
    for event in history.of("handled", "raised"):
        if event.kind == "handled":
            return ""
        if event.operation.endswith(HANDLE):
            line = f" (at {event.data['line']})" if event.data.get("line") else ""
            last = f"{event.operation.removesuffix(HANDLE)} raised {event.data['error']}{line}"
    return last
