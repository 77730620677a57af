"""Temporal's own client: a real server is refused, which it would reach from Rust.

Its engine of ours, `Temporal`, gives services a `temporalio.client.Client` by `env.client`.

Source:
    temporalio 1.x, `service.py`: `ServiceClient.connect` is where every client connects.

Not modelled:
    Connecting by an address. A client that a module made before.
"""

from __future__ import annotations

from typing import Any, Final

from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.places import asked_at
from chaosharness.handlers.port import call_off, current_scope


async def _connect(real: Any, config: Any) -> Any:
    place = current_scope("Client.connect").place
    call_off(
        InvalidDefinition(
            f"temporalio: {place} connects to {config.target_host}{asked_at()}, a real server: add "
            'Temporal("temporal"), and have the code take its client, env.client(temporal)'
        )
    )


LIBRARY: Final = Library(
    "temporalio",
    tested=">=1.24,<2",
    seams=(Seam("temporalio.service:ServiceClient.connect", ("config",), _connect),),
)
