"""What a duck type does not have: it says so, and the run ends.

An `AttributeError` would do neither: it is caught, or it kills a process that is started again, and
the user learns of restarts and nothing of the reason.
"""

from __future__ import annotations

from collections.abc import Container
from typing import NoReturn

from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.places import asked_or_awaited_at
from chaosharness.handlers.port import call_off


def not_modelled(
    library: str, kind: str, name: str, *, absent: Container[str] = (), instead: str = ""
) -> NoReturn:
    """Say that a library's class has something here that is not modelled, and call the run off.

    For the `__getattr__` of a duck type.

    Args:
        library: The library's name.
        kind: The class that it stands for.
        name: What was asked for.
        absent: Names that the real class lacks too, and that others may ask for.
        instead: What does the same, and is modelled.

    Raises:
        AttributeError: It is private, or the real one lacks it too.
        InvalidDefinition: It is not modelled.
    """
    if name.startswith("_") or name in absent:
        raise AttributeError(name)
    cure = instead or "Leave it out of the code under test, or pass a double for it"
    call_off(
        InvalidDefinition(
            f"{library}: {kind}.{name} is not modelled{asked_or_awaited_at()}. {cure}; what is "
            "modelled, the documentation of its adapter says"
        )
    )
