"""The group of commands: a mistake ends in one clear line and the right exit code."""

from __future__ import annotations

import atexit
import os
import sys
from functools import partial
from traceback import walk_tb
from typing import Any, NoReturn

import click

from chaosharness.cli.screen import Unprinted, say
from chaosharness.errors import ChaosharnessError, InternalError, InvalidDefinition
from chaosharness.handlers.exits import stand_for
from chaosharness.handlers.places import at_line, words_of
from chaosharness.kernel.places import asked_at
from chaosharness.options import IN_CHARGE

COMPLETING = "_CHAOSHARNESS_COMPLETE"
HOLDS, VIOLATED, UNKNOWN, TROUBLE, BUG = range(5)


class Doors(click.Group):
    """A group whose every mistake ends in one clear line and the right exit code."""

    def main(self, *arguments: Any, **words: Any) -> Any:
        words["standalone_mode"] = False
        stand_for()
        IN_CHARGE.insert(0, _refuse_to_end)
        try:
            code = super().main(*arguments, **words)
        except click.exceptions.Abort:
            fail("broken off")
        except click.exceptions.NoArgsIsHelpError as error:
            say(error.format_message(), err=True)  # no mistake to be named, only what there is
            raise SystemExit(Leave(TROUBLE)) from None
        except click.MissingParameter as error:
            fail(_missing(error))
        except click.ClickException as error:
            fail(error.format_message())
        except InternalError as error:
            fail(f"a bug in chaosharness, please report it: {error}", code=BUG)
        except ChaosharnessError as error:
            fail(str(error))
        except SystemExit as error:
            if error.code.__class__ is Leave:
                raise
            if COMPLETING in os.environ:
                raise SystemExit(Leave(HOLDS)) from None  # a shell asked what may be typed
            fail(f"the code under test ended the process: SystemExit({error.code!r})")
        except Unprinted as error:
            fail(str(error))
        except Exception as error:
            if isinstance(error, OSError) and _printed_by_click(error):
                fail(f"what is to be read here cannot be printed: {error.strerror}")
            if "CHAOSHARNESS_TRACEBACK" in os.environ:
                raise
            fail(
                f"a bug in chaosharness, please report it: {type(error).__name__}: {error}\n"
                "Set CHAOSHARNESS_TRACEBACK=1 to see where.",
                code=BUG,
            )
        except BaseException as error:  # GeneratorExit, pytest.skip: whatever ends tests
            fail(f"the code under test raised {words_of(error)}{at_line(error)}")
        finally:
            IN_CHARGE.remove(_refuse_to_end)
        raise SystemExit(Leave(code if isinstance(code, int) else HOLDS))


def _printed_by_click(error: OSError) -> bool:
    """Say whether click itself could not print: its help, or its version."""
    frames = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    return frames[-1:] == [click.echo.__module__]


def _missing(error: click.MissingParameter) -> str:
    """Say what is missing, how that is found out, and where a project may have said it."""
    command = error.ctx.command.name if error.ctx is not None else ""
    said = error.format_message().rstrip(".")
    if error.param is not None and error.param.name == "target":
        said += (
            ": name a module with one system, module:attribute, or a file; or write it down once, "
            "as target in [tool.chaosharness] of pyproject.toml"
        )
    return f"{said}. See chaosharness {command} --help."


class Leave(int):
    """An exit code of ours, to be told from one that the code under test gives."""


def _refuse_to_end(call: str) -> None:
    """Keep the process alive: it has a result to give."""
    raise InvalidDefinition(
        f"{call} was called{asked_at()}, which would end the process before there is a result: "
        "leave that call out"
    )


def fail(text: str, *, code: int = TROUBLE) -> NoReturn:
    """Print what is wrong, and leave."""
    say(f"chaosharness: {text}", err=True)
    raise SystemExit(Leave(code))  # not sys.exit, which the code under test may have replaced


def leave(code: int) -> NoReturn:
    """End the process with this exit code, whatever the code under test has left behind.

    Handlers of atexit run, and may not end the process themselves. Threads that go on, objects
    that are freed as Python ends, and hooks are not waited for.
    """
    IN_CHARGE.insert(0, partial(_refuse_too_late, code))
    told, sys.unraisablehook = sys.unraisablehook, _say_nothing_of_ends
    atexit._run_exitfuncs()
    sys.unraisablehook = told
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            code = code or TROUBLE  # what should have been said was not
    getattr(os._exit, "stands_for", os._exit)(code)
    raise AssertionError  # nobody comes here


class _TooLate(BaseException):
    """What a handler of atexit meets that would end the process with a code of its own."""


def _refuse_too_late(code: int, call: str) -> NoReturn:
    place = asked_at() or " by a handler of atexit"
    say(f"chaosharness: {call} was called{place}; the exit code stays {code}", err=True)
    raise _TooLate


def _say_nothing_of_ends(found: Any) -> None:
    """Hand on what a handler of atexit raised, unless that was the end of the process."""
    if not issubclass(found.exc_type, _TooLate | SystemExit):
        sys.__unraisablehook__(found)
