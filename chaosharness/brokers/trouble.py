"""What an error of a handler leads to, and a message that cannot be read: the same words for all.

A product adds words of its own where it can do more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from inspect import signature
from typing import Any, Final, NoReturn

import attrs

from chaosharness.brokers.intake import Intake, check_options
from chaosharness.brokers.message import Message
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.port import call_off
from chaosharness.kernel.allowed import meant
from chaosharness.kernel.places import asked_at

ON_ERROR: Final = ("retry", "skip", "dead-letter", "crash")
"""What every broker knows.

`retry`: wait, and try again, for ever. `skip`: acknowledge it and go on. `dead-letter`: after
`retries_max` tries, put it aside and go on. `crash`: the process dies.
"""


def policy_of(
    on_error: Any, retries_max: Any, on_unreadable: Any, choices: tuple[str, ...] = ON_ERROR
) -> Policy:
    """Return the policy of these words, which is the same for every handler that has them.

    Raises:
        ValueError: A word is unknown, or there are no tries.
    """
    try:
        return _policy_of(on_error, retries_max, on_unreadable, choices)
    except TypeError:  # a word that cannot be looked up is none either
        return Policy(on_error, retries_max, on_unreadable, choices)


def one_of(choices: tuple[Any, ...], **given: Any) -> None:
    """Refuse a value of an option that is none of its choices.

    Raises:
        ValueError: It names the choices.
    """
    for name, value in given.items():
        if value not in choices:
            known = ", ".join(repr(one) for one in choices)
            raise ValueError(f"{name} must be one of {known}, not {value!r}")


def wired_wrongly(
    who: str, what: str, error: Exception, *, verb: str = "consumes"
) -> InvalidDefinition:
    """Return what to raise where somebody consumes something with wrong options: with the line."""
    return InvalidDefinition(f"{who} {verb} {what}{asked_at()}: {error}")


_SIMPLE: Final = frozenset({"str", "bool", "int"})


def _kind(value: Any) -> str:
    return "None" if value is None else type(value).__name__


_OURS: Final = frozenset({"lane", "surface"})
"""Keywords of publishing that no code has to give."""


def refuse_words(publish: Callable[..., Any], broker: str, words: Iterable[str]) -> NoReturn:
    """Refuse a keyword that publishing does not take: a slip, and no error for a handler to catch.

    Args:
        publish: What was called.
        broker: Where it publishes to.
        words: The keywords that it does not take.

    Raises:
        InvalidDefinition: It names the first, and calls the run off.
    """
    named = [one for one in signature(publish).parameters.values() if one.kind is one.KEYWORD_ONLY]
    known = [one.name for one in named if one.name not in _OURS]
    name = next(iter(words))
    call_off(
        InvalidDefinition(
            f"to publish to {broker}{asked_at()} takes no {name!r}.{meant(name, known)} "
            f"It takes: {', '.join(known)}"
        )
    )


def publisher_with(
    make: Callable[..., Any], options: Mapping[str, Any], who: str, broker: str
) -> Any:
    """Return a publisher that is made with options.

    Args:
        make: What a broker makes publishers with.
        options: As given, more than none.
        who: The service.
        broker: Where it publishes to.

    Raises:
        InvalidDefinition: The broker's publishers have no such option, or it takes no such value.
    """
    known = signature(make).parameters
    try:
        if not any(one.kind is one.VAR_KEYWORD for one in known.values()):  # else it refuses all
            check_options(options, (*known, "blocking", "schemas"))
            for name, value in options.items():
                kinds = str(known[name].annotation).split(" | ")
                if not _SIMPLE.isdisjoint(kinds) and _kind(value) not in kinds:
                    raise ValueError(f"{name} must be {' or '.join(kinds)}, not {value!r}")
        return make(**options)
    except InvalidDefinition:
        raise
    except (TypeError, ValueError) as error:
        raise wired_wrongly(who, broker, error, verb="publishes to") from None


@attrs.frozen
class Policy:
    """What errors lead to at one handler.

    Args:
        on_error: One of `choices`.
        retries_max: Tries before a message is put aside by `dead-letter`.
        on_unreadable: The same for a payload that cannot be decoded, where `dead-letter`
            does it at once: it will not get better. None: what `on_error` says.
        choices: The words there are.

    Raises:
        ValueError: A word is unknown, or there are no tries.
    """

    on_error: str
    retries_max: int
    on_unreadable: str | None
    choices: tuple[str, ...] = ON_ERROR

    def __attrs_post_init__(self) -> None:
        one_of(self.choices, on_error=self.on_error)
        one_of((None, *self.choices), on_unreadable=self.on_unreadable)
        whole = isinstance(self.retries_max, int) and not isinstance(self.retries_max, bool)
        if not whole or self.retries_max < 1:
            raise ValueError(f"retries_max must be at least 1, not {self.retries_max!r}")

    def at(self, intake: Intake, message: Message) -> tuple[str, int]:
        """Return what an error at a message leads to, and after how many tries."""
        if self.on_unreadable is not None:
            try:
                intake.read(message)
            except Exception:
                return self.on_unreadable, 1
        return self.on_error, self.retries_max


@lru_cache(maxsize=256, typed=True)
def _policy_of(
    on_error: Any, retries_max: Any, on_unreadable: Any, choices: tuple[str, ...]
) -> Policy:
    return Policy(on_error, retries_max, on_unreadable, choices)
