"""gRPC: its connections are made in C, where no guard sees them. So its calls are refused here.

Source:
    grpcio 1.60 to 1.7x, `grpc/_channel.py` and `grpc/aio/_channel.py`: where a stub calls.

Not modelled:
    All of it. Whoever calls a service by gRPC has a stub, which can be passed in.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.places import asked_at
from chaosharness.handlers.port import call_off, current_scope


def _refuse(real: Any, self: Any, *arguments: Any, **options: Any) -> NoReturn:
    scope = current_scope("grpc")
    method = getattr(self, "_method", None) or options.get("target") or arguments[0]
    what = method.decode() if isinstance(method, bytes) else str(method)
    call_off(
        InvalidDefinition(
            f"{scope.place} calls {what} by grpc{asked_at()}, which is not modelled: it connects "
            "in C, past everything here. Pass the stub into the code under test, and give it one "
            "here that calls an External (env.client(part)) or a service (env.call)"
        )
    )


_KINDS: Final = (
    *("UnaryUnary", "UnaryStream", "SingleThreadedUnaryStream"),
    *("StreamUnary", "StreamStream"),
)

LIBRARY: Final = Library(
    "grpcio",
    tested=">=1.60,<2",
    seams=(
        *(
            Seam(f"grpc._channel:_{kind}MultiCallable.__call__", ("self",), _refuse, more=True)
            for kind in _KINDS
        ),
        Seam("grpc.aio._channel:Channel.__init__", ("self", "target"), _refuse, more=True),
    ),
)
