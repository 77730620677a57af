"""What a system and its runs are given: checked where it is given, told with the user's line."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.colours import is_async, made_at
from chaosharness.handlers.places import asked_at, at_line, words_of
from chaosharness.kernel import allowed
from chaosharness.kernel.world import Budget, World
from chaosharness.schedule import Schedule
from chaosharness.system.parts import name_of

_PLACES_MAX: Final = 3
"""How many services are named besides the entry."""


def check_budget(owner: str, given: Any) -> Budget:
    """Return a budget, seen to be one.

    Args:
        owner: What takes it: `System`, `run`.
        given: What it was given.

    Raises:
        InvalidDefinition: It is none.
    """
    if isinstance(given, Budget):
        return given
    right = "a Budget, such as Budget(chaos_ms=600_000), or None"
    raise allowed.refused(owner, "budget", right, given)


def names_that_wait(given: Any) -> frozenset[str]:
    """Return the names of what may wait, seen to be names.

    Raises:
        InvalidDefinition: They are not.
    """
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list | tuple | set | frozenset) or not all(
        isinstance(name, str) and name for name in names
    ):
        right = "names of workflows, states, tasks or steps: ['Subscription']"
        raise allowed.refused("System", "may_wait", right, given)
    return frozenset(names)


def check_names_that_wait(system: str, world: World, at: str) -> None:
    """Refuse a name in `may_wait` that nothing has, once a run without faults has shown them all.

    Of a saga that is code, and of a workflow of whatever name, nobody knows all names: then any may
    be right.

    Args:
        system: The name of the system.
        world: The run, which is over.
        at: The user's line that named them.
    """
    known: set[str] = set()
    for state in world.states.values():
        names_of = getattr(state, "names_that_wait", None)
        names = names_of() if names_of is not None else ()
        if names is None:
            return
        known.update(names)
    for name in sorted(world.may_wait - known):
        there = f"; there are: {allowed.listed(sorted(known))}" if known else ", and there is none"
        world.refuse(
            InvalidDefinition(
                f"System({system!r}): may_wait has {name!r}, which is no workflow, state, task or "
                f"step of this system{there}{_near(name, known)}{at}"
            )
        )


def _near(name: str, known: set[str]) -> str:
    near = allowed.meant(name, known)
    return f".{near}" if near else ""


def wired_at(given: Iterable[Callable[..., Any]]) -> str:
    """Return ` (wired at shop.py:7, shop.py:15)`: where to look when nothing happens; or nothing.

    Args:
        given: What the user gave the system, its entry last: see `System.given`.
    """
    known = dict.fromkeys(place.strip(" ()") for one in given if (place := made_at(one)))
    *services, entry = known or ("",)
    return f" (wired at {', '.join([*services[:_PLACES_MAX], entry])})" if entry else ""


def check_factory(service: str, factory: Any) -> None:
    """Refuse what cannot build a service, as far as that can be seen before it is called.

    Raises:
        InvalidDefinition: It cannot be called, is `async`, or takes something else than `env`.
    """
    if not callable(factory):
        raise InvalidDefinition(
            f"service {service!r} needs a function that builds it, not "
            f"{allowed.spelled(factory)}{asked_at()}"
        )
    what = f"service {service!r} is built by {name_of(factory)}{made_at(factory)}"
    if is_async(factory):
        raise InvalidDefinition(
            f"{what}, which is 'async def': make it 'def'. It only says what the service is made "
            "of; handlers that it gives to env.consume, and loops that it gives to env.main, may "
            "be async"
        )
    check_takes(what, factory, ("env",))


def check_takes(what: str, function: Any, values: tuple[str, ...]) -> None:
    """Refuse a function that cannot be called with so many values.

    Args:
        what: Who has it, and for what.
        function: The function.
        values: What it is called with, by name, for the message.

    Raises:
        InvalidDefinition: It takes fewer, or needs more.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # it does not say: calling it will
    try:
        signature.bind(*values)
    except TypeError as error:
        raise InvalidDefinition(
            f"{what}, which is called with ({', '.join(values)}), and takes {signature}: {error}"
        ) from None


def checked_items(owner: str, given: Any) -> tuple[Any, ...]:
    """Return a workload as a tuple.

    Raises:
        InvalidDefinition: It is no list of items; or making them raised.
    """
    if isinstance(given, Schedule):  # which is iterable: its faults would come in as items
        raise InvalidDefinition(
            f"{owner}: the workload comes first, and this is a Schedule{asked_at()}: write "
            "schedule=..."
        )
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        right = f"a list of workload items: [{allowed.spelled(given)}]"
        raise allowed.refused(owner, "items", right, given)
    try:
        return tuple(given)
    except Exception as error:
        raise InvalidDefinition(
            f"{owner}: making the items raised {words_of(error)}{at_line(error)}{asked_at()}"
        ) from error


def check_system(owner: str, given: Any) -> None:
    """Refuse what is no system: a function that makes one, most of all.

    Raises:
        InvalidDefinition: It is none.
    """
    if not isinstance(getattr(given, "services", None), dict) or isinstance(given, type):
        call = f"; call what makes it: {name_of(given)}()" if callable(given) else ""
        right = f"a System{call}"
        raise allowed.refused(owner, "system", right, given)
