"""Flask: an error that it answers for with 500 is told, with its line, and not only its status.

Source:
    Flask 3, "Signals": sent for an error that no handler of the application took.
"""

from __future__ import annotations

from typing import Final

from flask import got_request_exception

from chaosharness.adapters.dispatch import Library
from chaosharness.adapters.http.wsgi import note_raised


def _listen() -> None:
    got_request_exception.connect(note_raised, weak=False)


LIBRARY: Final = Library("flask", tested=">=3,<4", warm=_listen)
