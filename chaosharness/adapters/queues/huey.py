"""huey: its consumer is refused.

Source:
    huey 2.5 to 3.5, `huey/consumer.py` (`Consumer.start`), `huey/storage.py`.

Not modelled:
    All of it. Its workers wait at the server (`BRPOP`) or ask it ten times a second, and its
    scheduler looks at the clock for ever, so that no run comes to rest.
"""

from __future__ import annotations

from typing import Final

from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.adapters.queues import refusing

_WHY: Final = "its workers wait at the server, and its scheduler looks at the clock for ever"

LIBRARY: Final = Library(
    "huey",
    tested=">=2.5,<4",
    seams=(Seam("huey.consumer:Consumer.start", ("self",), refusing("huey", _WHY)),),
)
