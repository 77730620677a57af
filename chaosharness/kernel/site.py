"""Sites: places where a fault may strike, named by their cause and not by a step number."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from itertools import compress
from operator import itemgetter
from typing import Any, Final, Literal

import attrs

from chaosharness.kernel.allowed import one_of, refused, text, whole
from chaosharness.kernel.message_names import EVERY, fits, is_name

Phase = Literal["before", "after"]
PHASES: Final = ("before", "after")

_OPERATION: Final = itemgetter(0)

_SPELLING = re.compile(
    r"(?P<phase>before|after) (?P<operation>.+?)"
    r"(?: for item (?P<entity>\d+))?"
    r"(?:, message (?P<message>.+?)|, (?P<every>every) message)?"
    r"(?:, attempt (?P<attempt>\d+))?"
)


def _a_message(_: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not isinstance(value, str) or (value and not is_name(value)):
        right = (
            "the number of a message and what published it, '2 of orders.on_order/bus.publish "
            f"lines', or {EVERY!r}"
        )
        raise refused("Site", attribute.name, right, value)


@attrs.frozen(order=True)
class Site:
    """A place where a fault may strike.

    Attributes:
        operation: Who does what: `payments.on_order_created/bank.charge` for the call
            that this handler makes, `bus.orders/deliver to payments` for what a broker
            does by itself.
        phase: `before` the operation takes effect, or `after` it.
        entity: Which workload item is at the causal root, from 1; 0 where there is none
            (a service's own loop).
        attempt: The how-manieth time this operation is reached for this message, from 1; for
            this entity where no message is in hand.
        message: Which message of this entity is in hand, by its cause: `2 of
            orders.on_order/bus.publish lines` is the second one that this operation
            published. Empty is the first message to get there: often there is one only.
            `every` is each of them.
    """

    operation: str = attrs.field(validator=text())
    phase: Phase = attrs.field(default="before", validator=one_of(*PHASES))
    entity: int = attrs.field(default=1, validator=whole(0))
    attempt: int = attrs.field(default=1, validator=whole(1))
    message: str = attrs.field(default="", validator=_a_message, kw_only=True)

    def __str__(self) -> str:
        message = f", message {self.message}" if self.message else ""
        if self.message == EVERY:
            message = f", {EVERY} message"
        attempt = f", attempt {self.attempt}" if self.attempt != 1 else ""
        entity = f" for item {self.entity}" if self.entity else " for item 0"
        return f"{self.phase} {self.operation}{entity}{message}{attempt}"

    @classmethod
    def parse(cls, text: str) -> Site:
        """Read the spelling of `str(site)`.

        Raises:
            ValueError: The text is not such a spelling.
        """
        match = _SPELLING.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{text!r} names no site; write '<before|after> <operation> for item <n>[, "
                "message <n> of <operation>][, attempt <n>]', for example "
                "'after payments.on_order/bank.charge for item 1'"
            )
        phase: Phase = "before" if match["phase"] == "before" else "after"
        entity = 1 if match["entity"] is None else int(match["entity"])
        message = match["message"] or match["every"] or ""
        return cls(match["operation"], phase, entity, int(match["attempt"] or 1), message=message)


def first_at(reached: Collection[tuple[str, int, str]], site: Site) -> str | None:
    """Return the message that a site means, among those that got to operations, in their order."""
    there = compress(reached, map(site.operation.__eq__, map(_OPERATION, reached)))
    for _, entity, message in there:
        if entity == site.entity and fits(site.message, message):
            return message
    return None


def attempts_at(reached: Mapping[tuple[str, int, str], int], site: Site) -> int:
    """Return how often the message that a site means got there, at most if it means every one."""
    if site.message == EVERY:
        here = (site.operation, site.entity)
        return max((times for key, times in reached.items() if key[:2] == here), default=0)
    message = first_at(reached, site)
    return 0 if message is None else reached[site.operation, site.entity, message]


@attrs.define
class Armed:
    """A fault of the schedule, waiting for its site."""

    site: Site
    fault: Any
    struck: bool = False
