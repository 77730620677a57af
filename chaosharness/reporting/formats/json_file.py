"""A counterexample and its history as JSON: the two files that replay reads and compares."""

from __future__ import annotations

import json

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


def history_to_json(history: History, *, system: str) -> str:
    """Write a history: one event a line, so that two of them can be compared by eye."""
    head = json.dumps({"chaosharness": FORMAT, "system": system, "digest": history.digest()})
    events = ",\n".join(json.dumps(event, ensure_ascii=False) for event in history.to_json())
    return f'{head[:-1]}, "events": [\n{events}\n]}}\n'


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
