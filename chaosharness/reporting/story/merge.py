"""Several steps of a story as one, where they are one thing."""

from __future__ import annotations

import attrs

from chaosharness.kernel.history import History
from chaosharness.reporting.story.step import Step


def merge(steps: list[Step], history: History) -> list[Step]:
    """Tell in one step what is one thing: a crash and the fault behind it, a call and the
    fault that strikes it, an arrival and the message it becomes, the same thing at once again.
    """
    merged: list[Step] = []
    for step in steps:
        before = merged[-1] if merged else None
        cause = history[step.event].cause
        if before is not None:
            joined = _repeated(before, step)
            if joined is None and cause == before.event:
                joined = _joined(before, step, history)
            if joined is not None:
                merged[-1] = joined
                continue
        merged.append(step)
    return [attrs.evolve(step, number=number) for number, step in enumerate(merged, 1)]


def _repeated(before: Step, step: Step) -> Step | None:
    """Tell at once what reads the same and happens at the same time, one after the other."""
    if step.kind != "nack" or (before.kind, before.at_ms) != (step.kind, step.at_ms):
        return None
    times = len(before.events)
    here = (before.source, before.target, before.words.removesuffix(f" ({times} times)"))
    if here != (step.source, step.target, step.words):
        return None
    words = f"{step.words} ({times + 1} times)"
    return attrs.evolve(before, events=before.events + step.events, words=words)


def _joined(before: Step, step: Step, history: History) -> Step | None:
    if step.kind == "crash" and before.kind == "fault":
        words = before.words.replace("crashes", "CRASHES", 1)
        if history[step.events[0]].data.get("how"):
            words = f"{before.words}: {step.words}"
        return attrs.evolve(
            before, events=before.events + step.events, words=words, tone="crash", kind="crash"
        )
    if step.kind == "reply" and before.kind == "fault" and _answers(before, step, history):
        return attrs.evolve(before, events=before.events + step.events)
    if step.kind == "call" and before.kind == "fault" and _goes_with(before, step, history):
        method, _, arguments = step.words.partition(" ")
        return attrs.evolve(
            before,
            events=before.events + step.events,
            source=step.source,
            target=step.target,
            detail=arguments if f".{method}" in before.words else step.words,
        )
    if step.kind == "publish" and before.kind == "arrive" and step.source == before.source:
        return attrs.evolve(step, events=step.events + before.events, found=step.found)
    return None


def _answers(before: Step, step: Step, history: History) -> bool:
    """Say whether a reply is what a fault at the same call made of it, and when it did."""
    fault, reply = history[before.event], history[step.event]
    if fault.operation != reply.operation:
        return False
    return step.at_ms == before.at_ms or reply.data.get("outcome") != "unknown"


def _goes_with(before: Step, step: Step, history: History) -> bool:
    """Say whether a fault is about the call it came before: it is lost on its way, or late."""
    if before.target:
        return (before.source, before.target) == (step.source, step.target)
    return str(history[before.event].data.get("fault")).startswith("delay ")
