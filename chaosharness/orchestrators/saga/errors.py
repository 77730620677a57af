"""What ends a step, and what ends the work of an orchestrator on a saga."""

from __future__ import annotations

__all__ = ["Fenced", "Refused"]


class Refused(Exception):
    """A step will not happen, and did not: raised by an action, and in code that asked for it.

    Attributes:
        step: Which step, where it is raised in the code of a saga.
        why: Why not.
    """

    def __init__(self, why: str = "", *, step: str = "") -> None:
        super().__init__(f"{step}: {why}" if step and why else step or why)
        self.step = step
        self.why = why


class Fenced(Exception):
    """Somebody else has the lease on the saga by now: what was to be written is not (N2)."""
