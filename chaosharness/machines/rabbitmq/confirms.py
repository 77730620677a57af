"""Publisher confirms: which messages of a channel the broker has answered for, and in what frames.

Source:
    RabbitMQ documentation, "Consumer Acknowledgements and Publisher Confirms", "Publisher
    Confirms"; `rabbit_channel.erl` (`coalesce_and_send`): what is due together goes out as one
    frame with `multiple` up to the first message that is open, or refused, and one by one beyond.

Not modelled:
    Which confirms are due together is up to whoever drives this.
"""

from __future__ import annotations

import attrs


@attrs.frozen
class Confirm:
    """A frame of the broker: `basic.ack`, or `basic.nack` where it has not taken the message.

    Attributes:
        tag: The number of the message: the first on a channel is 1.
        multiple: Whether it stands for all up to this one that are open.
        acked: Whether the broker took them.
    """

    tag: int
    multiple: bool
    acked: bool


class Confirms:
    """The open messages of one channel in confirm mode."""

    __slots__ = ("_due", "_last", "open")

    def __init__(self) -> None:
        self._due: dict[int, bool] = {}
        self._last = 0
        self.open: dict[int, None] = {}

    def published(self) -> int:
        """Take a message; return its number."""
        self._last += 1
        self.open[self._last] = None
        return self._last

    def settle(self, tag: int, *, acked: bool) -> None:
        """Know what becomes of a message: it is said with the next frames."""
        if self.open.pop(tag, self) is None:
            self._due[tag] = acked

    def frames(self) -> list[Confirm]:
        """Return what is sent now."""
        due, self._due = self._due, {}
        acked = sorted(tag for tag, good in due.items() if good)
        refused = sorted(tag for tag, good in due.items() if not good)
        cutoff = min([*self.open, *refused], default=self._last + 1)
        before = [tag for tag in acked if tag < cutoff]
        found = [Confirm(before[-1], True, True)] if before else []
        found += [Confirm(tag, False, True) for tag in acked if tag > cutoff]
        return found + [Confirm(tag, False, False) for tag in refused]
