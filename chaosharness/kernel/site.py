"""Sites: places where a fault may strike, named by their cause and not by a step number."""

from __future__ import annotations

import re
from typing import Any, Final, Literal

import attrs

Phase = Literal["before", "after"]
PHASES: Final = ("before", "after")

_SPELLING = re.compile(
    r"(?P<phase>before|after) (?P<operation>.+?)"
    r"(?: for item (?P<entity>\d+))?(?:, attempt (?P<attempt>\d+))?"
)


def _not_negative(_: object, attribute: attrs.Attribute[int], value: int) -> None:
    if not isinstance(value, int) or value < (1 if attribute.name == "attempt" else 0):
        raise ValueError(f"'{attribute.name}' of a site must be a whole number, not {value!r}")


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
        attempt: The how-manieth time this operation is reached for this entity, from 1.
    """

    operation: str = attrs.field(validator=attrs.validators.min_len(1))
    phase: Phase = attrs.field(default="before", validator=attrs.validators.in_(PHASES))
    entity: int = attrs.field(default=1, validator=_not_negative)
    attempt: int = attrs.field(default=1, validator=_not_negative)

    def __str__(self) -> str:
        attempt = f", attempt {self.attempt}" if self.attempt != 1 else ""
        entity = f" for item {self.entity}" if self.entity else " for item 0"
        return f"{self.phase} {self.operation}{entity}{attempt}"

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
                "attempt <n>]', for example 'after payments.on_order/bank.charge for item 1'"
            )
        phase: Phase = "before" if match["phase"] == "before" else "after"
        entity = 1 if match["entity"] is None else int(match["entity"])
        return cls(match["operation"], phase, entity, int(match["attempt"] or 1))


@attrs.define
class Armed:
    """A fault of the schedule, waiting for its site."""

    site: Site
    fault: Any
    struck: bool = False
