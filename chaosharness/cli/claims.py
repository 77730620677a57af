"""What a run is judged by, where the command line says no more than the system."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from chaosharness.system import System


def to_judge(system: System, without: tuple[str, ...]) -> Any:
    """Return what to judge: the system's claims or, where it claims nothing, the assumed ones."""
    from chaosharness.checkers import assumed

    if not system.properties:
        return assumed(system, without=without)
    if without:
        claimed = ", ".join(repr(one.name) for one in system.properties)
        raise click.UsageError(
            f"--without is for systems that claim nothing; {system.name!r} claims {claimed}"
        )
    return None


def kinds_but(without: tuple[str, ...]) -> Any:
    """Return the kinds of fault to search: no garbage where nobody is to judge what comes of it.

    A message that nobody can read and that is in the way for ever breaks other claims too.
    """
    from chaosharness.checkers import poison_blocks_nobody
    from chaosharness.faults import FAULTS, Poison

    left_out = poison_blocks_nobody().name in without
    return tuple(kind for kind in FAULTS if not (left_out and kind is Poison))


def judges(system: System | None) -> Any:
    """Return what a counterexample may be judged by: the claims, else the assumed properties."""
    if system is None or system.properties:
        return None
    return to_judge(system, ())
