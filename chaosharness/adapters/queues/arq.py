"""arq: its worker is refused.

Source:
    arq 0.25 to 0.28, `arq/worker.py` (`Worker.main`, `Worker._poll_iteration`).

Not modelled:
    All of it. Its loop asks for what is due by the clock, twice a second and for ever, so that no
    run comes to rest; and what a dead worker had in hand is taken up when a key has expired.
"""

from __future__ import annotations

from typing import Final

from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.adapters.queues import refusing

_WHY: Final = (
    "it asks what is due by the clock, twice a second and for ever, and takes up what a dead "
    "worker had in hand when a key has expired"
)

LIBRARY: Final = Library(
    "arq",
    tested=">=0.25,<1",
    seams=(Seam("arq.worker:Worker.main", ("self",), refusing("arq", _WHY)),),
)
