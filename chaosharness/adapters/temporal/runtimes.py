"""`temporalio.runtime.Runtime` as programs make one: inside a run it opens no port and no thread.

A real one begins a pool of threads in Rust, and where metrics go to Prometheus it listens on a
port of this machine: one that a process which died in a run would keep, so that the next could not
begin. Here each incarnation has its own, and none of them sends or serves anything.

Source:
    temporalio 1.35.0, `runtime.py`: `Runtime`, its default, `MetricBuffer.retrieve_updates`.

Not modelled:
    Metrics and logs of sdk-core: a `MetricBuffer` stays empty, and meters count nothing.
"""

from __future__ import annotations

from typing import Any, Final

from chaosharness.adapters.dispatch import Seam
from chaosharness.handlers.port import current_scope

DEFAULT: Final = "temporalio.runtime"
"""What an incarnation's default stands under, among its clients."""


class Core:
    """What stands for sdk-core behind a runtime: it has measured nothing."""

    def retrieve_buffered_metrics(self, durations_as_seconds: bool) -> list[Any]:
        """Return no metrics."""
        return []

    def write_test_info_log(self, message: str, extra_data: str) -> None:
        """Write nothing."""

    def write_test_debug_log(self, message: str, extra_data: str) -> None:
        """Write nothing."""


def _make(real: Any, self: Any, *, telemetry: Any, **options: Any) -> None:
    from temporalio.common import MetricMeter

    self._core_runtime = Core()
    self._metric_meter = MetricMeter.noop
    buffer = getattr(telemetry, "metrics", None)
    if buffer is not None and hasattr(buffer, "retrieve_updates"):
        buffer._runtime = self


def _default(real: Any, cls: Any) -> Any:
    clients = current_scope("Runtime.default").incarnation.clients
    if DEFAULT not in clients:
        from temporalio.runtime import TelemetryConfig

        clients[DEFAULT] = cls(telemetry=TelemetryConfig())
    return clients[DEFAULT]


def _set_default(real: Any, runtime: Any, *, error_if_already_set: bool = True) -> None:
    clients = current_scope("Runtime.set_default").incarnation.clients
    if DEFAULT in clients and error_if_already_set:
        raise RuntimeError("Runtime default already set")
    clients[DEFAULT] = runtime


SEAMS: Final = (
    Seam("temporalio.runtime:Runtime.__init__", ("self",), _make, more=True),
    Seam("temporalio.runtime:Runtime.default", ("cls",), _default),
    Seam(
        "temporalio.runtime:Runtime.set_default",
        ("runtime", "error_if_already_set"),
        _set_default,
    ),
)
