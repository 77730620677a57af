"""kombu, beneath Celery: a connection that is given several addresses.

It fails over from one to the next, as its own does: nodes of one broker. Two brokers are refused.

Source:
    kombu 5.7, `connection.py` (`Connection.alt`, `failover_strategy`).

Not modelled:
    Addresses that no `AMQP` has: what comes to one of them is refused there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

from kombu.utils.url import parse_url

from chaosharness.adapters.amqp.amqp import refuse_two
from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.handlers.port import current_scope


def _establish(real: Any, self: Any) -> Any:
    if len(self.alt or ()) > 1:
        urls = [one if "://" in one else f"amqp://{one}" for one in self.alt]
        known = [parse_url(one) for one in urls if one.startswith(("amqp", "pyamqp"))]
        addresses = [(one["hostname"] or "localhost", one["port"]) for one in known]
        refuse_two(current_scope("kombu.connect"), "kombu", addresses)
    return real(self)


@cache
def _has_librabbitmq(real: Callable[[], Any]) -> Any:
    """Return what the first connection of this process was told: each looks for it on the disk."""
    return real()


LIBRARY: Final = Library(
    "kombu",
    part="failover",
    tested=">=5.4,<6",
    seams=(
        Seam("kombu.connection:Connection._establish_connection", ("self",), _establish),
        Seam("kombu.connection:supports_librabbitmq", (), _has_librabbitmq),
    ),
)
