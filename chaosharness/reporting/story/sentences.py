"""Faults as sentences: what strikes where, and for how long."""

from __future__ import annotations

from typing import Final, Literal

import attrs

from chaosharness.faults import (
    BrokerAlarm,
    BrokerRestart,
    ClockSkew,
    ConsumerCancel,
    Crash,
    Delay,
    Duplicate,
    ErrorReply,
    FailedCommit,
    Fault,
    GracefulStop,
    HostDeath,
    LostReply,
    LostRequest,
    LostWrites,
    NetworkPartition,
    NewEvent,
    OldEvent,
    PartitionDelay,
    Pause,
    Poison,
    Rebalance,
    Redeliver,
    Redeploy,
    StoreOutage,
)
from chaosharness.kernel.message_names import EVERY, FROM, parts
from chaosharness.kernel.site import Site
from chaosharness.kernel.world import Lasting
from chaosharness.reporting.story.legible import ordinal


@attrs.frozen
class Suffering:
    """A fault in the words of a picture.

    Attributes:
        words: What it does, the victim left out: `crashes after bank.charge`.
        arrow: The way of what goes wrong, as the victim sees it; empty where nothing goes.
        lost: Whether it is lost on that way.
    """

    words: str
    arrow: Literal["out", "back", ""] = ""
    lost: bool = False


PROCESSES: Final = (Crash, Pause, GracefulStop, HostDeath, LostWrites, Rebalance)
"""What befalls a process, and is told by where its code stands."""


def action_in_words(operation: str) -> str:
    """Say what is done at an operation: `bank.charge`, `the delivery of orders to payments`."""
    place, _, action = operation.partition("/")
    if action.startswith("deliver to "):
        topic = place.partition(".")[2] or place
        return f"the delivery of {topic} to {action.removeprefix('deliver to ')}"
    handler = place.partition(".")[2]
    match action:
        case "handle":
            return f"{handler or place} begins"
        case "start":
            return "its start"
        case "sleep":
            return f"a wait in {handler}" if handler else "a wait"
    head, _, last = action.rpartition(".")
    verb, _, what = last.partition(" ")
    if verb == "publish":
        return f"publishing to {what}" if what else "publishing"
    if verb == "commit" and head:
        return f"{head}.commit"
    return action


def victim(site: Site) -> str:
    """Name who suffers at a site: the service, or the broker."""
    return site.operation.partition("/")[0].partition(".")[0]


def when(site: Site) -> str:
    """Say when a site is passed: `after bank.charge`, `before on_order handles it`."""
    words = f"{site.phase} {action_in_words(site.operation)}"
    return f"{words} (attempt {site.attempt})" if site.attempt > 1 else words


def which_message(site: Site) -> str:
    """Say which message of an item is in hand at a site, if it says so; to follow the item."""
    if not site.message:
        return ""
    if site.message == EVERY:
        return ", at each message"
    words = []
    for link in site.message.split(FROM):
        number, odd, operation = parts(link)
        by, _, topic = operation.rpartition("publish ")
        where = f"to {topic} by {by.partition('/')[0]}" if by else f"of {operation}"
        message = f"the {ordinal(number)} message {where}"
        if odd == "poison":
            message = f"what nobody can read ahead of {message}"
        elif odd:
            message = f"the {ordinal(int(odd.removeprefix('copy ')))} copy of {message}"
        words.append(message)
    return f", at {', from '.join(words)}"


def how_long(lasting: Lasting, *, until: str = "until") -> str:
    """Say how long trouble lasts."""
    match lasting:
        case "next":
            return f"{until} just after the next event"
        case "timeout":
            return f"{until} just past the next timeout"
        case "long":
            return f"{until} past every timeout, or calm"
        case _:
            return f"for {lasting:,} ms"


def down(lasting: Lasting) -> str:
    """Say how long a crashed service stays down."""
    match lasting:
        case "next":
            return "restarts at once"
        case "timeout":
            return "stays down until just past the next timeout"
        case "long":
            return "stays down until the calm"
        case _:
            return f"stays down for {lasting:,} ms"


def sufferings(fault: Fault) -> Suffering:
    """Put a fault into the words of a picture: its place there says who suffers it."""
    action = action_in_words(fault.site.operation)
    match fault:
        case LostRequest():
            return Suffering(f"the request is lost: {action}", "out", True)
        case LostReply():
            return Suffering(f"the reply is lost: {action}", "back", True)
        case ErrorReply():
            return Suffering(f"refused for now: {action}", "back")
        case FailedCommit(outcome=outcome):
            return Suffering(f"the commit fails, and was {outcome.replace('-', ' ')}", "back")
        case NetworkPartition(way=way):
            which = {"both": "", "out": ": requests are lost", "back": ": replies are lost"}[way]
            words = f"network partition{which}, {how_long(fault.lasting)}"
            return Suffering(words, "back" if way == "back" else "out", True)
        case StoreOutage():
            return Suffering(f"the store refuses everything {how_long(fault.lasting)}", "back")
        case Delay() | PartitionDelay():
            return Suffering(f"late: {action}, {how_long(fault.lasting)}")
        case Duplicate() if action == "run":
            return Suffering("it is run twice, side by side")
        case Duplicate():
            _, _, topic = action.partition(" to ")
            what = f"what is published to {topic}" if topic else action
            return Suffering(f"{what} is stored twice")
        case Crash():
            return Suffering(f"crashes {when(fault.site)}")
        case Redeploy() if action == "begin":
            return Suffering("it begins under the other definition")
        case ClockSkew(skew_ms=skew_ms):
            return Suffering(f"its clock is off by {skew_ms:+,} ms")
        case _:
            return Suffering(strike(fault, "", "").strip())


def strike(fault: Fault, item: str, who: str) -> str:
    """Say a fault as a sentence, without its full stop.

    Args:
        fault: The fault.
        item: What the workload item at its site is called: `item 1 (o1)`; may be empty.
        who: Who suffers it.
    """
    site = fault.site
    action = action_in_words(site.operation)
    whose = f" for {item}" if item else ""
    whose += which_message(site)
    if site.attempt > 1 and not isinstance(fault, PROCESSES):
        whose += f", the {ordinal(site.attempt)} time"
    match fault:
        case Crash():
            return f"{who} crashes {when(site)}{whose}"
        case Pause():
            slow = "'s code is slow" if fault.heartbeats == "go-on" else " stalls"
            return f"{who}{slow} {when(site)}{whose}, {how_long(fault.lasting)}"
        case GracefulStop():
            return f"{who} is told to stop {when(site)}{whose}"
        case HostDeath():
            return f"the machine of {who} dies {when(site)}{whose}: its connections stay open"
        case LostWrites() if _is_of_a_broker(site):
            return f"a failover {when(site)}{whose}: what only the failed server had is gone"
        case LostWrites():
            return f"{who} loses power {when(site)}{whose}: what was not synced is gone"
        case LostRequest():
            return f"{who} gets no answer to {action}{whose}: the request is lost, it never happens"
        case LostReply():
            return f"{who} gets no answer to {action}{whose}: the reply is lost, it did happen"
        case ErrorReply():
            return f"{who} is refused at {action}{whose}: it does not happen"
        case Redeploy() if action == "begin":
            place = site.operation.partition("/")[0].rpartition(".")[2]
            return f"{item or 'what comes in'} begins under the other definition of {place}"
        case FailedCommit(outcome=outcome):
            really = outcome.replace("-", " ")
            return f"{who} is told that {action} failed{whose}; in truth it was {really}"
        case _:
            return _environment(fault, action, whose, who)


def _environment(fault: Fault, action: str, whose: str, who: str) -> str:
    """Say what befalls messages, networks, stores and clocks."""
    match fault:
        case Delay():
            return f"{action} is late{whose}, {how_long(fault.lasting)}"
        case PartitionDelay():
            return f"the log partition lags at {action}{whose}, {how_long(fault.lasting)}"
        case Redeliver():
            topic, consumer = _ends(fault.site)
            return f"{who} hands out a message from {topic} again{whose}, to {consumer}"
        case ConsumerCancel():
            topic, consumer = _ends(fault.site)
            return f"{who} cancels the consumer of {topic}{whose}, which is {consumer}"
        case BrokerAlarm():
            return f"the broker reads nothing from {action} on{whose}, {how_long(fault.lasting)}"
        case BrokerRestart():
            return f"the broker dies {when(fault.site)}{whose}, and all connections with it"
        case Duplicate() if action == "run":
            return f"{who} is run twice{whose}, from its beginning each time"
        case Duplicate():
            return f"a second copy of the message is stored{_where(action)}{whose}"
        case Rebalance():
            return f"the consumer group changes hands {when(fault.site)}{whose}"
        case NetworkPartition(way=way):
            lost = {"both": "", "out": ": requests are lost", "back": ": replies are lost"}[way]
            return f"a network partition begins at {action}{whose}{lost}, {how_long(fault.lasting)}"
        case StoreOutage():
            return (
                f"the store refuses everything from {action}{whose} on, {how_long(fault.lasting)}"
            )
        case Poison(content=content):
            what = "garbage" if content == "garbage" else "a message of an unknown schema"
            return f"{what} is stored{_where(action)} just ahead of the message{whose}"
        case OldEvent():
            return f"{_written(fault.site)} is written with the version before{whose}"
        case NewEvent():
            return f"{_written(fault.site)} is written with the version after{whose}"
        case ClockSkew(skew_ms=skew_ms):
            return f"the clock of {who} is off by {skew_ms:+,} ms from its start"
        case Redeploy() if action == "queue":
            place = fault.site.operation.partition(".")[0]
            return f"the definition of {place} is changed {when(fault.site)}{whose}"
        case Redeploy() if action == "decide":
            return f"{who} began in the version before, and is replaced by this one{whose}"
        case Redeploy():
            return f"{who} is replaced by the other version of the service"
        case _:
            return f"{fault.kind} {when(fault.site)}{whose}"


def _is_of_a_broker(site: Site) -> bool:
    """Say whether a site is where a broker is published to, hands something out, or is answered."""
    operation = site.operation
    return ".publish " in operation or "/deliver to " in operation or operation.endswith(".ack")


def _ends(site: Site) -> tuple[str, str]:
    """Return the topic that a message is handed out from, and to whom."""
    place, _, action = site.operation.partition("/")
    return place.partition(".")[2] or place, action.removeprefix("deliver to ")


def _written(site: Site) -> str:
    """Return which event is written at a site of a registry."""
    return f"the event {site.operation.rpartition(' ')[2]}"


def _where(action: str) -> str:
    """Say where a message is stored that is published: ` in checkout`."""
    verb, _, topic = action.partition(" to ")
    return f" in {topic}" if verb == "publishing" and topic else f" ({action})"


def sentence(words: str) -> str:
    """Begin words as a sentence begins, and end them so. Names are left as they are."""
    first = words.partition(" ")[0]
    start = words[:1].upper() + words[1:] if first in _ORDINARY else words
    return f"{start}."


_ORDINARY: Final = frozenset({"a", "an", "the", "garbage"})
"""Ordinary words that the sentences here begin with; all else is somebody's name."""


def fault_in_words(fault: Fault, item: str) -> str:
    """Say a fault of a schedule as a sentence, for a person who has not seen the code."""
    words = strike(fault, item, victim(fault.site))
    return sentence(f"{words}, and {down(fault.down)}" if isinstance(fault, Crash) else words)
