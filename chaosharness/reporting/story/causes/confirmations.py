"""What a publisher made of a confirmation that never came."""

from __future__ import annotations

from chaosharness.kernel.history import Event
from chaosharness.reporting.story.causes.case import Case, Cause, action, asks
from chaosharness.reporting.story.causes.silence import is_new
from chaosharness.reporting.story.legible import span

DEEDS = ("call", "write", "commit", "publish")


def took_no_confirmation_for_a_no(case: Case) -> Cause | None:
    """Find code that heard nothing of a message, and went on as if it had not been taken."""
    for reply in case.history.of("reply"):
        if reply.data.get("outcome") != "unknown" or "/" not in reply.operation:
            continue
        if ".publish " not in reply.operation or not case.concerns(reply.entity):
            continue
        over = [event for event in case.work(reply).events if event.index > reply.index]
        kinds = {event.kind for event in over if event.actor == reply.actor}
        if "handled" not in kinds or kinds & {"raised", "crash"}:
            continue
        asked = {event.operation for event in over if event.kind in ("publish", "reply")}
        then = [
            event for event in over if event.kind in DEEDS and event.operation != reply.operation
        ]
        then = [event for event in then if is_new(case, event) and case.followed(event)]
        if then and (reply.operation not in asked or _stored(case, reply)):
            return Cause("unknown", _words(case, reply, then[0]))
    return None


def _stored(case: Case, reply: Event) -> Event | None:
    """Return when the message was stored of which nothing was heard, if it was."""
    events = case.history.of("publish")
    return next((one for one in events if case.history.same_attempt(one, reply)), None)


def _words(case: Case, reply: Event, then: Event) -> str:
    what = action(reply)
    stored = _stored(case, reply)
    if stored is None:
        truth = "It was not stored"
    elif stored.index > reply.index:
        truth = f"It was stored all the same, {span(stored.at_ms - reply.at_ms)} later"
    else:
        truth = "It had been stored"
    return (
        f"{case.place(reply)} got no confirmation of {what} and went on as if it had failed: it "
        f"{asks(then)}. {truth}."
    )
