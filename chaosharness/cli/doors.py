"""The group of commands: a mistake ends in one clear line and the right exit code."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

import click

from chaosharness.cli.screen import say
from chaosharness.errors import ChaosharnessError, InternalError

HOLDS, VIOLATED, UNKNOWN, TROUBLE, BUG = range(5)


class Doors(click.Group):
    """A group whose every mistake ends in one clear line and the right exit code."""

    def main(self, *arguments: Any, **words: Any) -> Any:
        words["standalone_mode"] = False
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
        sys.exit(code if isinstance(code, int) else HOLDS)


def fail(text: str, *, code: int = TROUBLE) -> NoReturn:
    """Print what is wrong, and leave."""
    say(f"chaosharness: {text}", err=True)
    sys.exit(code)
