"""dramatiq: its worker is refused; what is sent by it goes through pika, which is met.

Source:
    dramatiq 1.16 to 2.2, `dramatiq/worker.py` (`Worker.start`), `dramatiq/brokers/rabbitmq.py`.

Not modelled:
    Its worker. Threads, connections and middleware of all processes are kept in one broker, which
    a module makes and a crash would have to take away; its threads wait for ever.
"""

from __future__ import annotations

from typing import Final

from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.adapters.queues import refusing

_WHY: Final = (
    "one broker keeps the connections and middleware of all processes, and no crash takes them away"
)

LIBRARY: Final = Library(
    "dramatiq",
    tested=">=1.16,<3",
    seams=(Seam("dramatiq.worker:Worker.start", ("self",), refusing("dramatiq", _WHY)),),
)
