"""What JetStream says where it refuses, in its own words.

Source:
    nats-server 2.15, `server/errors.json`: the numbers are its `error_code`.
"""

from __future__ import annotations

from typing import Final

from chaosharness.machines.machine import Refusal

NO_RESPONDERS: Final = Refusal("503", "no response from stream")
UNHEARD: Final = Refusal("503", "no responders available for request")
"""What an acknowledgement is told that nobody waits for: its consumer takes none, or is gone."""
NO_STREAM: Final = Refusal("10059", "stream not found")
NO_CONSUMER: Final = Refusal("10014", "consumer not found")
NO_MESSAGE: Final = Refusal("10037", "no message found")
NAME_TAKEN: Final = Refusal("10058", "stream name already in use with a different configuration")
SUBJECTS_OVERLAP: Final = Refusal("10065", "subjects overlap with an existing stream")
OTHER_STREAM: Final = Refusal("10060", "expected stream does not match")
FULL: Final = Refusal("10077", "maximum messages exceeded")
TOO_LARGE: Final = Refusal("10054", "message size exceeds maximum allowed")
FULL_OF_BYTES: Final = Refusal("10077", "maximum bytes exceeded")
NOTHING_TO_DELETE: Final = Refusal("10057", "no message found")
BAD_REQUEST: Final = Refusal("10003", "bad request")
TOO_MANY_CONSUMERS: Final = Refusal("10026", "maximum consumers limit reached")
CONSUMER_TAKEN: Final = Refusal("10148", "consumer already exists")
BACKOFF_TOO_LONG: Final = Refusal(
    "10116", "max deliver is required to be > length of backoff values"
)
NEEDS_FILTER: Final = Refusal(
    "10094",
    "consumer delivery policy is deliver last per subject, but optional filter subject is not set",
)
NEEDS_ACK: Final = Refusal(
    "10084", "consumer in pull mode requires explicit ack policy on workqueue stream"
)
NEEDS_EXPLICIT: Final = Refusal("10098", "workqueue stream requires explicit ack")
NOT_DELIVER_ALL: Final = Refusal("10101", "consumer must be deliver all on workqueue stream")
NOT_FILTERED: Final = Refusal(
    "10099", "multiple non-filtered consumers not allowed on workqueue stream"
)
NOT_UNIQUE: Final = Refusal("10100", "filtered consumer not unique on workqueue stream")
FILTERS_OVERLAP: Final = Refusal("10138", "consumer subject filters cannot overlap")

SEALED: Final = Refusal("10109", "invalid operation on sealed stream")
NO_ROLLUPS: Final = Refusal("10111", "rollup not permitted")
NO_TTL: Final = Refusal("10166", "per-message TTL is disabled")
WRONG_TTL: Final = Refusal("10165", "invalid per-message TTL")


def no_sequence(sequence: int) -> Refusal:
    """Return the refusal to delete a message that is not in a stream in memory."""
    return Refusal("10043", f"sequence {sequence} not found")


def wrong_sequence(last: int) -> Refusal:
    """Return the refusal of a message that expected another last sequence."""
    return Refusal("10071", f"wrong last sequence: {last}")


def wrong_id(last: str) -> Refusal:
    """Return the refusal of a message that expected another last message id."""
    return Refusal("10070", f"wrong last msg ID: {last}")


def wrong_rollup(word: str) -> Refusal:
    """Return the refusal of a message that would take the place of what there is no word for."""
    return Refusal("10111", f'rollup value invalid: "{word}"')


def wrong_stream(why: str) -> Refusal:
    """Return the refusal of settings that a stream cannot have, or not any more."""
    return Refusal("10052", why)


def unchangeable(what: str) -> Refusal:
    """Return the refusal of a consumer that is there, and differs in what stays as it is."""
    return Refusal("10012", f"{what} can not be updated")
