"""A counterexample and its history as JSON: the two files that replay reads and compares."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType

from chaosharness.counterexample import Counterexample
from chaosharness.errors import InvalidSchedule
from chaosharness.kernel.history import History
from chaosharness.reporting.formats.redact import Redact, masked
from chaosharness.schedule import FORMAT, read_format


def to_json(found: Counterexample, *, redact: Redact = ()) -> str:
    """Write the counterexample file: what a replay needs, and no history.

    A workload that was masked is another workload: the file then has no digest to compare
    the replay with.
    """
    return masked(found, redact).encode()


def history_to_json(
    history: History, *, system: str, event_histories: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Write a history: one event a line, so that two of them can be compared by eye.

    Args:
        history: What happened.
        system: Name of the system.
        event_histories: What orchestrators recorded, as `Run.event_histories` has it: each as
            it is, under its name, for their own tools.
    """
    head = json.dumps({"chaosharness": FORMAT, "system": system, "digest": history.digest()})
    events = ",\n".join(json.dumps(event, ensure_ascii=False) for event in history.to_json())
    more = ",\n".join(f"{json.dumps(name)}: {text}" for name, text in event_histories.items())
    told = f', "event_histories": {{\n{more}\n}}' if more else ""
    return f'{head[:-1]}, "events": [\n{events}\n]{told}}}\n'


def history_from_json(text: str) -> History:
    """Read what `history_to_json` wrote.

    Raises:
        InvalidSchedule: Not such a file, of another format, or cut short.
    """
    value = read_format(text, what="history")
    try:
        return History.from_json(value["events"])
    except (KeyError, TypeError) as error:
        raise InvalidSchedule(f"history file is incomplete: {error}") from None
