"""Django: an error that it answers for with 500 is told, with its line, and not only its status.

Source:
    Django 5, "Signals", `got_request_exception`.
"""

from __future__ import annotations

from typing import Final

from django.core.signals import got_request_exception

from chaosharness.adapters.dispatch import Library
from chaosharness.adapters.http.wsgi import note_raised


def _listen() -> None:
    got_request_exception.connect(note_raised, weak=False, dispatch_uid="chaosharness")


LIBRARY: Final = Library("django", tested=">=4.2,<6", warm=_listen)
