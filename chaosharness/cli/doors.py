"""The group of commands: a mistake ends in one clear line and the right exit code."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

import click

from chaosharness.cli.screen import say
from chaosharness.errors import ChaosharnessError, InternalError, InvalidDefinition
from chaosharness.handlers.exits import IN_CHARGE, stand_for

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
        except click.ClickException as error:
            fail(error.format_message())
        except InternalError as error:
            fail(f"a bug in chaosharness, please report it: {error}", code=BUG)
        except ChaosharnessError as error:
            fail(str(error))
        except SystemExit as error:
            if error.code.__class__ is Leave:
                raise
            fail(f"the code under test ended the process: SystemExit({error.code!r})")
        except BrokenPipeError:
            sys.stderr.close()
            code = TROUBLE
        except Exception as error:
            if "CHAOSHARNESS_TRACEBACK" in os.environ:
                raise
            fail(
                f"a bug in chaosharness, please report it: {type(error).__name__}: {error}\n"
                "Set CHAOSHARNESS_TRACEBACK=1 to see where.",
                code=BUG,
            )
        finally:
            IN_CHARGE.remove(_refuse_to_end)
        sys.exit(code if isinstance(code, int) else HOLDS)


class Leave(int):
    """An exit code of ours, to be told from one that the code under test gives."""


def _refuse_to_end(call: str) -> None:
    """Keep the process alive: it has a result to give."""
    frame = sys._getframe(2)
    raise InvalidDefinition(
        f"{call} was called at {frame.f_code.co_filename}:{frame.f_lineno}, which would end the "
        "process before there is a result: leave that call out"
    )


def fail(text: str, *, code: int = TROUBLE) -> NoReturn:
    """Print what is wrong, and leave."""
    say(f"chaosharness: {text}", err=True)
    sys.exit(Leave(code))
