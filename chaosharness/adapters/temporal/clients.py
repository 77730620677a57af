"""`Client.connect`: which `Temporal` of the system stands for an address.

The client is the library's own. To connect asks the server for what it is, as the library does:
where it does not answer, the library's `RuntimeError` is raised.

Source:
    temporalio 1.x, `service.py`: `ServiceClient.connect` is where every client connects; the words
    of sdk-core's `ClientInitError`.

Not modelled:
    Several namespaces on one server: each `Temporal` is one namespace. TLS, keys, metadata. A
    client that a module made before.
"""

from __future__ import annotations

from typing import Any, Final

from temporalio.service import RPCError

from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.adapters.spoken import note_spoken
from chaosharness.adapters.temporal.runtimes import SEAMS
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.places import asked_at
from chaosharness.handlers.port import call_off, current_scope
from chaosharness.kernel.scope import Scope
from chaosharness.orchestrators.temporal.engine import OpenTemporal

LIBRARY_NAME: Final = "temporalio"


async def _connect(real: Any, config: Any) -> Any:
    from temporalio.api.workflowservice.v1 import GetSystemInfoRequest, GetSystemInfoResponse

    from chaosharness.orchestrators.temporal.rpc import service_of

    scope = current_scope("Client.connect")
    engine = server_at(scope, str(config.target_host))
    note_spoken(scope, LIBRARY_NAME, f"{engine.name}.connect")
    service = service_of(engine, config)
    if config.lazy:
        return service
    try:
        await service._rpc_call(
            "get_system_info",
            GetSystemInfoRequest(),
            GetSystemInfoResponse,
            service="workflow",
            retry=False,
            metadata={},
            timeout=None,
        )
    except RPCError as error:
        raise RuntimeError(f"Failed client connect: Server connection error: {error}") from error
    return service


def server_at(scope: Scope, address: str) -> OpenTemporal:
    """Return the server that stands for an address.

    Raises:
        InvalidDefinition: None does, or several, which calls the run off.
    """
    states = scope.world.states.values()
    all_of_it = [one for one in states if isinstance(one, OpenTemporal)]
    found = [one for one in all_of_it if one.definition.address in (None, address)]
    exact = [one for one in found if one.definition.address == address]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if found:
        names = " and ".join(repr(one.name) for one in found)
        words = f"which may mean {names}: say with address= what each of them stands for"
    elif all_of_it:
        known = ", ".join(f"{one.definition.address} ({one.name!r})" for one in all_of_it)
        words = f"which is no server of this system; it has: {known}"
    else:
        words = (
            'a real server: add Temporal("temporal"), which stands for it; or have the code '
            "take its client, env.client(temporal)"
        )
    call_off(
        InvalidDefinition(f"temporalio: {scope.place} connects to {address}{asked_at()}, {words}")
    )


LIBRARY: Final = Library(
    LIBRARY_NAME,
    tested=">=1.18,<2",
    seams=(Seam("temporalio.service:ServiceClient.connect", ("config",), _connect), *SEAMS),
)
