"""What clients can ask of SQS, and what can happen to it: operations as values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

NOTHING: Final[Mapping[str, Any]] = {}


@attrs.define(unsafe_hash=True)
class Handle:
    """A receipt handle: which message, and the how-manieth time it was received."""

    queue: str
    number: int
    nth: int

    def __str__(self) -> str:
        return f"{self.queue}/{self.number}/{self.nth}"

    @classmethod
    def parse(cls, text: str) -> Handle | None:
        """Read what `str` wrote; None where it is no receipt handle."""
        parts = text.rsplit("/", 2)
        if len(parts) != 3 or not (parts[1].isdecimal() and parts[2].isdecimal()):
            return None
        return cls(parts[0], int(parts[1]), int(parts[2]))


@attrs.define(unsafe_hash=True)
class Send:
    """SendMessage.

    Attributes:
        message: What is kept and handed on with all facts; None for a name of its own.
        size: Bytes of the body and of the attributes, names and types included.
        delay_ms: None: what the queue says.
    """

    queue: str
    body: str | bytes
    message: Any = None
    size: int = -1
    group: str | None = None
    deduplication: str | None = None
    delay_ms: int | None = None
    attributes: Mapping[str, Any] = NOTHING
    system_attributes: Mapping[str, Any] = NOTHING


@attrs.define(unsafe_hash=True)
class Receive:
    """ReceiveMessage. Waiting for messages is up to whoever drives the machine.

    Attributes:
        most: 1 to 10.
        visibility_ms: None: what the queue says.
        long_poll: Whether the caller waits where there is nothing.
        attempt: ReceiveRequestAttemptId (FIFO).
    """

    queue: str
    holder: Any = None
    most: int = 1
    visibility_ms: int | None = None
    long_poll: bool = True
    attempt: str | None = None


@attrs.define(unsafe_hash=True)
class Delete:
    """DeleteMessage."""

    queue: str
    handle: Handle


@attrs.define(unsafe_hash=True)
class ChangeVisibility:
    """ChangeMessageVisibility."""

    queue: str
    handle: Handle
    visibility_ms: int


@attrs.define(unsafe_hash=True)
class Purge:
    """PurgeQueue."""

    queue: str


@attrs.define(unsafe_hash=True)
class Configure:
    """CreateQueue, or SetQueueAttributes where there is one."""

    queue: str
    settings: Any


@attrs.define(unsafe_hash=True)
class DeleteQueue:
    """DeleteQueue."""

    queue: str


@attrs.define(unsafe_hash=True)
class StartMove:
    """StartMessageMoveTask. `to` None: each message to where it died."""

    queue: str
    to: str | None = None
    per_second_max: int | None = None


@attrs.define(unsafe_hash=True)
class CancelMove:
    """CancelMessageMoveTask."""

    task: int


# ---- what servers of a standard queue may do by themselves: nobody asks for it


@attrs.define(unsafe_hash=True)
class Copy:
    """One server keeps a copy of a message that is in hand: it survives the delete."""

    handle: Handle


@attrs.define(unsafe_hash=True)
class Withhold:
    """The servers that are asked do not have a message, until a moment."""

    queue: str
    number: int
    until: int


@attrs.define(unsafe_hash=True)
class Surface:
    """A message that was withheld is there again."""

    queue: str
    number: int


Operation = (
    Send
    | Receive
    | Delete
    | ChangeVisibility
    | Purge
    | Configure
    | DeleteQueue
    | StartMove
    | CancelMove
    | Copy
    | Withhold
    | Surface
)


@attrs.define(unsafe_hash=True)
class Sent:
    """The answer to `Send`."""

    id: str
    sequence: int
    duplicate: bool


@attrs.define(unsafe_hash=True)
class Received:
    """One message of the answer to `Receive`."""

    id: str
    body: str | bytes
    handle: Handle
    message: Any
    receives: int
    sent_ms: int
    first_received_ms: int
    group: str | None
    deduplication: str | None
    sequence: int
    attributes: Mapping[str, Any]
    system_attributes: Mapping[str, Any]
    died_in: str | None
