"""A system that goes on between steps: send, let it settle, look, send more.

A run is a pure function of what goes into it, so nothing has to be kept alive: each step runs
the system anew with one item more, and what came before is the same again, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from chaosharness.checkers import Books, Property
from chaosharness.errors import InvalidDefinition, PropertyViolated
from chaosharness.faults import EVERY_KIND, Fault
from chaosharness.handlers.places import asked_at
from chaosharness.kernel.history import Event
from chaosharness.schedule import Schedule
from chaosharness.search.write_up import counterexample_of
from chaosharness.system import Run, System
from chaosharness.system.system import SETTLES_MS


class Live:
    """A system in the middle of its life, for tests that go step by step.

    >>> live = Live(shop)
    >>> live.send(Place("o1", 500), Crash(Site("payments.on_placed/bank.charge", "after")))
    >>> live.send(Cancel("o1"))
    >>> live.check()

    Each step finds the system settled: it comes an hour of virtual time after the one before,
    and half an hour after that all trouble is over, as when calm begins. Services, their
    memory, stores and third parties go on from step to step.

    A step costs a run of all steps so far: a few milliseconds each.

    Args:
        system: The system. Its entry says how an item comes in.

    Attributes:
        items: What was sent so far.
        faults: The faults of all steps, each at the item of its step.
        run: The run of all steps so far; None before the first.

    Raises:
        InvalidDefinition: It is no system.
    """

    def __init__(self, system: System) -> None:
        if not isinstance(system, System):
            raise InvalidDefinition(f"Live takes a System, not {system!r}{asked_at()}")
        self.system = system
        self.items: list[Any] = []
        self.faults: list[Fault] = []
        self._drawn = False
        self.run: Run | None = None
        self._settled: System | None = None

    def __repr__(self) -> str:
        return f"Live({self.system.name!r}, after {len(self.items)} steps)"

    def send(self, item: Any, *faults: Fault | Schedule) -> Run:
        """Send one item more, under some faults, and let the system settle.

        Args:
            item: What comes in.
            faults: What goes wrong meanwhile, or a schedule of it. Sites are written as if this
                were the only item: `Site("payments.on_order/bank.charge")`.

        Returns:
            The run of all steps so far.

        Raises:
            InvalidDefinition: One is no fault; or the system was not settled when this step came.
            IllegalFault: One asks for what the product could never do.
        """
        number = len(self.items) + 1
        mine = [_at_item(fault, number) for fault in _each(faults)]
        self._settled = self._settled or self.system.settled
        self._see_settled(number)
        self._drawn |= any(isinstance(one, Schedule) and one.drawn for one in faults)
        schedule = Schedule([*self.faults, *mine], drawn=self._drawn)
        run = self._settled.run([*self.items, item], schedule)
        self.items.append(item)
        self.faults += mine
        self.run = run
        return run

    @property
    def books(self) -> Books:
        """What the system holds now: rows of its stores, ledgers of third parties.

        Raises:
            InvalidDefinition: Nothing was sent yet.
        """
        return Books(self._ran("books").history, tuple(self.items))

    @property
    def events(self) -> list[Event]:
        """What happened since the last step came in, oldest first."""
        number, found = len(self.items), list(self._ran("events").history)
        begun = (one.index for one in found if one.kind == "arrive" and one.entity == number)
        return found[next(begun, 0) :]

    def check(self, *properties: Property) -> None:
        """Judge the system as it is now, after all steps so far.

        Args:
            properties: The claims; by default what the system claims or, where it claims
                nothing, what can be assumed of any.

        Raises:
            PropertyViolated: With the counterexample: the steps, and the faults that it needs.
            NothingProved: Nothing was put to the test, or no fault found its site.
        """
        __tracebackhide__ = True
        run = self._ran("check")
        try:
            run.check(*properties)
        except PropertyViolated as error:
            counterexample_of(error, properties=properties or None, drawn=False)
            raise

    def _ran(self, what: str) -> Run:
        if self.run is None:
            raise InvalidDefinition(f"Live.{what} before the first send{asked_at()}")
        return self.run

    def _see_settled(self, number: int) -> None:
        """See that whatever the step before began was over when this one came."""
        before = self.run
        if before is None:
            return
        over_ms = before.history.raw[-1][0]
        if over_ms >= (number - 1) * SETTLES_MS:
            reason = before.ending.reason.rstrip(".") or f"it went on for {over_ms / 1000:,.0f} s"
            raise InvalidDefinition(
                f"step {number} of {self.system.name!r} cannot begin{asked_at()}: step "
                f"{number - 1} had not settled an hour after it came, since {reason}. If that is a "
                f"mistake, claim it (never_stuck()), and check() finds it after step {number - 1}; "
                "if not, leave out the fault that does it: kinds=[...] of schedules(...)"
            )


def _each(faults: Iterable[Fault | Schedule]) -> Iterable[Fault]:
    for one in faults:
        if isinstance(one, Schedule):
            yield from one
        elif isinstance(one, EVERY_KIND):
            yield one
        else:
            raise InvalidDefinition(f"{one!r} is neither a fault nor a Schedule{asked_at()}")


def _at_item(fault: Fault, number: int) -> Fault:
    """Return a fault at the item of a step; one at nobody's item stays there."""
    if fault.site.entity != 1:
        return fault
    return attrs.evolve(fault, site=attrs.evolve(fault.site, entity=number))
