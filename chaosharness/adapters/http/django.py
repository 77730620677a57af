"""Django: an error that it answers for with 500 is told, with its line, and not only its status.

Source:
    Django 5, "Signals", `got_request_exception`; `core/handlers/base.py`, `db/utils.py`.
"""

from __future__ import annotations

from typing import Any, Final

from django.core.signals import got_request_exception

from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.adapters.http.wsgi import note_raised


def _listen() -> None:
    got_request_exception.connect(note_raised, weak=False, dispatch_uid="chaosharness")


def _make_view_atomic(real: Any, self: Any, view: Any) -> Any:
    from django.db import connections

    # defaults are put into the user's own dict, which is each process's, and once only
    connections.configure_settings(connections.settings)
    return real(self, view)


LIBRARY: Final = Library(
    "django",
    tested=">=4.2,<6",
    seams=(
        Seam(
            "django.core.handlers.base:BaseHandler.make_view_atomic",
            ("self", "view"),
            _make_view_atomic,
        ),
    ),
    warm=_listen,
)
