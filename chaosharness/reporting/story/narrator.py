"""One event of a history as one step of a story: who, to whom, and what, in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import attrs

from chaosharness.checkers.effects import business, entry_number
from chaosharness.checkers.reading import is_poison, read
from chaosharness.faults import Fault
from chaosharness.kernel.history import Event, History
from chaosharness.reporting.story.arguments import argument_names
from chaosharness.reporting.story.decisions import in_words
from chaosharness.reporting.story.lanes import Cast, action_of, lane_of, life_of, service_of
from chaosharness.reporting.story.legible import (
    CLIP,
    clip,
    inner,
    name_of_item,
    ordinal,
    phrase,
    quoted,
    read_payload,
)
from chaosharness.reporting.story.sentences import sufferings
from chaosharness.reporting.story.step import Step, Telling, Tone

NAME_MAX: Final = 40
DETAIL_MAX: Final = 96


class Narrator:
    """Tells the events of one history, one at a time."""

    def __init__(
        self,
        history: History,
        cast: Cast,
        faults: tuple[Fault, ...] = (),
        called: Callable[[int], str] = lambda entity: "",
    ) -> None:
        self.history = history
        self.cast = cast
        self.faults = faults
        self.called = called
        self.numbers = {str(fault): number for number, fault in enumerate(faults, 1)}
        self._said: dict[tuple[Any, ...], set[str]] | None = None

    @cached_property
    def argument_names(self) -> dict[str, tuple[str, ...]]:
        """What arguments that are given by position are called."""
        return argument_names(self.history)

    def tell(self, event: Event) -> Telling:
        """Say what an event is."""
        return _TELLERS.get(event.kind, _other)(self, event)

    def step(self, index: int, *, number: int = 0, found: bool = False) -> Step:
        """Return the step that tells one event."""
        event = self.history[index]
        told = self.tell(event)
        return Step(
            number=number,
            at_ms=event.at_ms,
            events=(index,),
            kind=event.kind,
            found=found,
            **attrs.asdict(told),
        )

    def name(self, label: str) -> str:
        """Return what a report calls an actor."""
        return self.cast.name(label)

    def message(self, index: Any, preposition: str = "from") -> str:
        """Call a message by its key, or else its item, and its topic: `o1 from orders`."""
        if not isinstance(index, int) or not 0 <= index < len(self.history):
            return "a message"
        event = self.history[index]
        place = self.place_of(event)
        where = f" {preposition} {place}" if place else ""
        if is_poison(event.data.get("value")):
            return f"an unreadable message{where}"
        what = f"{self._whose(event)}{where}"
        copy = self.copy(event)
        return f"{what} ({ordinal(copy)} copy)" if copy > 1 else what

    def place_of(self, message: Event) -> str:
        """Name where a message is stored: `orders`; `bus.orders` if a service is called so."""
        topic = message.data.get("topic") or message.data.get("exchange")
        if not topic:
            return ""
        of = f"{message.data.get('broker')}." if topic in self.cast.replicas else ""
        return clip(f"{of}{topic}", NAME_MAX)

    def _whose(self, event: Event) -> str:
        if event.data.get("key") is not None:
            return clip(str(event.data["key"]), NAME_MAX)
        item = self.called(event.entity)
        return f"a message for {item}" if item else "a message"

    def copy(self, event: Event) -> int:
        """Say the how-manieth copy a stored message is: one publish may store several."""
        number = 1
        place = (event.kind, event.operation, event.entity, event.attempt)
        while event.cause >= 0:
            event = self.history[event.cause]
            if (event.kind, event.operation, event.entity, event.attempt) != place:
                break
            number += 1
        return number

    def is_copy(self, index: Any) -> bool:
        """Say whether a message is the second copy of another, or a later one."""
        known = isinstance(index, int) and 0 <= index < len(self.history)
        return known and self.copy(self.history[index]) > 1

    def content(self, index: Any) -> str:
        """Show what a message says, where its name alone does not tell it from others."""
        if not isinstance(index, int) or not 0 <= index < len(self.history):
            return ""
        event = self.history[index]
        value = event.data.get("value")
        if value is None or len(self._namesakes()[_named(event)]) < 2:
            return ""
        return phrase(read_payload(value), DETAIL_MAX)

    def _namesakes(self) -> dict[tuple[Any, ...], set[str]]:
        """Return what the messages of one name say, by that name."""
        if self._said is None:
            self._said = {}
            for event in self.history.of("publish"):
                said = self._said.setdefault(_named(event), set())
                said.add(repr(event.data.get("value")))
        return self._said

    def fault_of(self, event: Event) -> tuple[int, Fault | None]:
        """Return the fault that struck in an event, with its number in the schedule."""
        number = self.numbers.get(str(event.data.get("fault", "")), 0)
        return number, self.faults[number - 1] if number else None

    def life(self, label: str) -> str:
        """Name an incarnation other than the first: ` (incarnation 2)`."""
        life = life_of(label)
        return f" (incarnation {life})" if life > 1 else ""


def _named(event: Event) -> tuple[Any, ...]:
    data = event.data
    return (data.get("broker"), data.get("topic"), data.get("key"), event.entity)


def raised(error: object, line: object = None) -> str:
    """Show an exception, and the line it comes from: of one that says nothing, its type."""
    words = clip(str(error), CLIP).removesuffix(": ")
    return f"{words} at {line}" if line else words


def request(data: Mapping[str, Any], names: Sequence[str] = ()) -> str:
    """Show what is asked of a third party: `charge order=o1 cents=500`.

    Args:
        data: What the event says.
        names: What arguments that were given by position are called, where it is known.
    """
    rest = business(data)
    if arguments := rest.pop("arguments", None):
        known = [*names, *[""] * len(arguments)]
        named = zip(known, arguments, strict=False)
        shown = " ".join(f"{name}={inner(one)}" if name else inner(one) for name, one in named)
        return clip(f"{data.get('method', '')} {shown} {phrase(rest)}".strip(), CLIP)
    return clip(f"{data.get('method', 'call')} {phrase(rest)}".strip(), CLIP)


# ---- each kind of event


def _arrive(narrator: Narrator, event: Event) -> Telling:
    item = event.data.get("item")
    name = name_of_item(item) or "a request"
    return Telling("client", f"{name} comes in", detail=phrase(item, DETAIL_MAX))


def _start(narrator: Narrator, event: Event) -> Telling:
    lane = lane_of(event.actor)
    if life_of(event.actor) == 1:
        return Telling(lane, "starts", tone="quiet")
    return Telling(lane, f"restarts{narrator.life(event.actor)}", tone="restart")


def _publish(narrator: Narrator, event: Event) -> Telling:
    data = event.data
    value = data.get("value")
    broker = str(data.get("broker", ""))
    words = f"publishes {narrator.message(event.index, 'to')}"
    if event.cause >= 0 and narrator.history[event.cause].kind == "fault":
        _, fault = narrator.fault_of(narrator.history[event.cause])
        if fault is not None and fault.kind == "poison" and not event.operation:
            words = f"an unreadable message lands in {narrator.place_of(event) or 'the log'}"
            return Telling(broker, words, detail=phrase(value), tone="trouble")
    detail = "" if value is None else phrase(read_payload(value), DETAIL_MAX)
    tone: Tone = "again" if narrator.copy(event) > 1 else "plain"
    return Telling(lane_of(event.actor), words, broker, detail, tone)


def _deliver(narrator: Narrator, event: Event) -> Telling:
    data = event.data
    to = str(data.get("to", ""))
    times = data.get("times", 1)
    again = isinstance(times, int) and times > 1
    words = f"delivers {narrator.message(data.get('message'))}"
    if again:
        words += f" again, for the {ordinal(times)} time"
    again = again or narrator.is_copy(data.get("message"))
    detail = narrator.content(data.get("message"))
    return Telling(event.actor, words, lane_of(to), detail, "again" if again else "plain")


def _resolve(narrator: Narrator, event: Event) -> Telling:
    data = event.data
    subject = clip(str(data.get("subject", "an event")), NAME_MAX)
    dropped, filled = data.get("dropped") or {}, data.get("filled") or {}
    if data.get("what") == "read":
        words = f"reads {subject} of version {data.get('from')} as version {data.get('as')}"
    else:
        words = f"writes {subject} as version {data.get('as')}"
    if data.get("error"):
        words = f"cannot read {subject} of version {data.get('from')} as version {data.get('as')}"
        detail = clip(str(data["error"]), CLIP)
        return Telling(lane_of(event.actor), words, detail=detail, tone="trouble")
    if dropped:
        words += f", without {phrase(dropped, DETAIL_MAX)}"
    detail = f"filled in: {phrase(filled, DETAIL_MAX)}" if filled else ""
    tone: Tone = "trouble" if dropped else "plain"
    return Telling(lane_of(event.actor), clip(words, 2 * CLIP), detail=detail, tone=tone)


def _handled(narrator: Narrator, event: Event) -> Telling:
    words = f"{_handler(event)} returns"
    reading = read(narrator.history)
    handed = reading.handed.get(reading.roots[event.index])
    if handed is not None and not handed.work and handed.handled == event.index:
        words += " without having done anything"
    return Telling(lane_of(event.actor), words, tone="quiet")


def _handler(event: Event) -> str:
    place = event.operation.partition("/")[0]
    return place.removeprefix(f"{service_of(event.actor)}.") or "its code"


def _raised(narrator: Narrator, event: Event) -> Telling:
    error = raised(event.data.get("error", "an error"), event.data.get("line"))
    return Telling(lane_of(event.actor), f"{_handler(event)} raises {error}", tone="trouble")


def _ack(narrator: Narrator, event: Event) -> Telling:
    what = event.data.get("message")
    words = "acknowledges" if what is None else f"acknowledges {narrator.message(what)}"
    return Telling(lane_of(event.actor), words, narrator.cast.peer(event.operation), tone="quiet")


def _nack(narrator: Narrator, event: Event) -> Telling:
    data = event.data
    what = "" if data.get("message") is None else f" {narrator.message(data['message'])}"
    peer = narrator.cast.peer(event.operation)
    if "error" in data:
        words = f"cannot acknowledge{what}: {clip(str(data['error']), CLIP)}"
    elif data.get("requeue") is False:
        words = f"refuses{what} for good"
    else:
        words = f"gives back{what}"
    why = f": {clip(str(data['why']), CLIP)}" if data.get("why") else ""
    if data.get("from"):
        whom = narrator.name(str(data["from"]))
        return Telling(event.actor, f"takes back{what}, given to {whom}{why}", tone="trouble")
    return Telling(lane_of(event.actor), f"{words}{why}", peer, tone="trouble")


def _decide(narrator: Narrator, event: Event) -> Telling:
    """Tell of a decision: `decides: schedules activity charge, starts a timer of 30s`."""
    commands = event.data.get("commands")
    told = [in_words(str(one)) for one in commands] if isinstance(commands, (list, tuple)) else []
    words = ", ".join(filter(None, told)) or "nothing new, and waits"
    tone: Tone = "plain" if told else "quiet"
    return Telling(lane_of(event.actor), clip(f"decides: {words}", 2 * CLIP), tone=tone)


def _dead(narrator: Narrator, event: Event) -> Telling:
    what = narrator.message(event.data.get("message"))
    data = event.data
    why = clip(str(data.get("reason") or data.get("why") or data.get("error") or ""), CLIP)
    to = data.get("to")
    if not isinstance(to, (list, tuple)):
        words = f"dead-letters {what}"
    elif to:
        words = clip(f"dead-letters {what} to {', '.join(map(str, to))}", CLIP)
    else:
        words = f"drops {what}"
    return Telling(lane_of(event.actor), words, detail=why, tone="trouble")


def _call(narrator: Narrator, event: Event) -> Telling:
    peer = narrator.cast.peer(event.operation, call=event.index)
    if "service" in event.data:
        value = event.data.get("value")
        detail = "" if value is None else phrase(read_payload(value), DETAIL_MAX)
        words = f"calls {action_of(event.operation)}"
        return Telling(lane_of(event.actor), words, peer, detail)
    names = narrator.argument_names.get(action_of(event.operation), ())
    return Telling(lane_of(event.actor), request(event.data, names), peer)


def _effect(narrator: Narrator, event: Event) -> Telling:
    number = entry_number(event.data)
    entry = "ledger: " if number is None else f"ledger {number}: "
    return Telling(event.actor, f"{entry}{request(event.data)}")


def _reply(narrator: Narrator, event: Event) -> Telling:
    data = event.data
    lane = lane_of(event.actor)
    peer = narrator.cast.peer(event.operation, call=event.cause)
    match data.get("outcome"):
        case "ok":
            return Telling(peer or lane, "replies: ok", lane if peer else "", tone="quiet")
        case "unknown":
            done = "it did happen" if data.get("happened") else _not_yet(narrator, event)
            words = f"waits in vain: no answer to {action_of(event.operation)} ({done})"
            return Telling(lane, words, tone="trouble")
        case "unasked":
            words = f"goes on: nobody asked for an answer to {action_of(event.operation)}"
            return Telling(lane, f"{words} (it did not happen)", tone="trouble")
    error = clip(str(data.get("error") or "refused"), CLIP)
    return Telling(peer or lane, f"replies: {error}", lane if peer else "", tone="trouble")


def _not_yet(narrator: Narrator, reply: Event) -> str:
    """Say that a call did not happen, or not in time."""
    history = narrator.history
    late = any(
        event.index > reply.index and history.same_attempt(event, reply)
        for event in history.of("effect")
    )
    return "it has not happened yet" if late else "it did not happen"


def _store(narrator: Narrator, event: Event) -> Telling:
    """Tell of a statement: `insert charges`, `commits`, `get order-1`."""
    data = event.data
    lane = lane_of(event.actor)
    peer = str(data.get("store") or "") or narrator.cast.peer(event.operation)
    words = _STORE_WORDS[event.kind]
    if data.get("error"):
        words = event.kind
    if verb := data.get("verb"):
        words = clip(f"{verb} {data.get('table') or data.get('key') or ''}".rstrip(), CLIP)
    if error := data.get("error"):
        return Telling(lane, f"{words} fails: {clip(str(error), CLIP)}", peer, tone="trouble")
    if data.get("outcome") == "unknown":
        return Telling(lane, f"{words}, and is told of an error", peer, tone="trouble")
    if event.kind == "rollback":
        why = f": {clip(str(data['why']), CLIP)}" if data.get("why") else ""
        return Telling(lane, f"{words}{why}", peer, tone="trouble")
    detail = _values(data)
    return Telling(lane, words, peer, detail, "quiet" if event.kind == "read" else "plain")


_STORE_WORDS: Final = {
    "read": "reads",
    "write": "writes",
    "commit": "commits",
    "rollback": "rolls back",
}


def _values(data: Mapping[str, Any]) -> str:
    """Show what was written, or found."""
    if params := data.get("params"):
        return clip(_row(params), DETAIL_MAX)
    if data.get("value") is not None:
        return phrase(read_payload(data["value"]), DETAIL_MAX)
    if "found" in data:
        return "found" if data["found"] else "not found"
    return ""


def _row(params: Any) -> str:
    """Show what a statement was given: one row, or several."""
    match params:
        case [[*_], *_]:
            return "; ".join(map(_row, params))
        case list() | tuple():
            return ", ".join(map(quoted, params))
        case _:
            return phrase(params, DETAIL_MAX)


def _sleep(narrator: Narrator, event: Event) -> Telling:
    if event.kind == "wake":
        return Telling(lane_of(event.actor), "wakes up", tone="quiet")
    ms = event.data.get("ms", 0)
    return Telling(lane_of(event.actor), f"waits for {ms / 1000:g} s", tone="quiet")


def _note(narrator: Narrator, event: Event) -> Telling:
    rest = {name: value for name, value in event.data.items() if name != "what"}
    what = clip(str(event.data.get("what", "")), CLIP)
    return Telling(lane_of(event.actor), f"notes: {what}", detail=phrase(rest))


def _fault(narrator: Narrator, event: Event) -> Telling:
    number, fault = narrator.fault_of(event)
    lane = lane_of(event.actor)
    if fault is None:
        return Telling(lane, clip(str(event.data.get("fault", "a fault"))), tone="fault")
    told = sufferings(fault)
    peer = narrator.cast.peer(event.operation) if told.arrow else ""
    if told.arrow == "back" and peer:
        lane, peer = peer, lane
    tone: Tone = "lost" if told.lost else "trouble" if told.arrow else "fault"
    return Telling(lane, told.words, peer, tone=tone, fault=number)


_ENDED: Final = {
    "": "CRASHES",
    "stopped": "STOPS, as it was told",
    "killed": "IS KILLED: its time to stop is over",
    "untold": "ENDS AT ONCE: it has no handler of SIGTERM",
}


def _crash(narrator: Narrator, event: Event) -> Telling:
    words = f"{_ENDED[event.data.get('how', '')]}{narrator.life(event.actor)}"
    if event.cause >= 0 and (cause := narrator.history[event.cause]).kind == "raised":
        words += f": {_handler(cause)} raised {raised(cause.data.get('error', ''))}"
    return Telling(lane_of(event.actor), words, tone="crash")


def _rebalance(narrator: Narrator, event: Event) -> Telling:
    data = event.data
    why = f": {data['why']}" if data.get("why") else ""
    words = f"rebalances consumer group {data.get('group', '')}{why}"
    return Telling(event.actor, words, tone="quiet")


def _phase(narrator: Narrator, event: Event) -> Telling:
    return Telling("world", "calm: all faults stop", tone="quiet")


def _end(narrator: Narrator, event: Event) -> Telling:
    verdict = event.data.get("verdict", "")
    reason = clip(str(event.data.get("reason") or ""), 2 * CLIP)
    if verdict == "quiet":
        words = "the system is quiet: the run is over"
        if loops := event.data.get("ran_on"):
            place, why, after_ms = loops[0]
            words += f", {after_ms / 1000:,.0f} s after the last change ({place} {why})"
        return Telling("world", words, tone="quiet")
    return Telling("world", f"the run is called off ({verdict}): {reason}", tone="trouble")


def _other(narrator: Narrator, event: Event) -> Telling:
    return Telling(lane_of(event.actor), event.kind, detail=phrase(event.data), tone="quiet")


_TELLERS: Final[Mapping[str, Callable[[Narrator, Event], Telling]]] = {
    "arrive": _arrive,
    "start": _start,
    "publish": _publish,
    "deliver": _deliver,
    "handled": _handled,
    "raised": _raised,
    "resolve": _resolve,
    "ack": _ack,
    "nack": _nack,
    "decide": _decide,
    "dead": _dead,
    "call": _call,
    "effect": _effect,
    "reply": _reply,
    "read": _store,
    "write": _store,
    "commit": _store,
    "rollback": _store,
    "sleep": _sleep,
    "wake": _sleep,
    "note": _note,
    "fault": _fault,
    "crash": _crash,
    "rebalance": _rebalance,
    "phase": _phase,
    "end": _end,
}
