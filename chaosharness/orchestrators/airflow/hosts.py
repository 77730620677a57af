"""The workers of an Airflow: incarnations of services, which processes are begun on.

One that is told to stop takes no task any more, and ends when the processes that it has have ended.

*Source*: Celery's warm shutdown, which `airflow celery worker` has; Airflow documentation,
"Entrypoint of the image", signal propagation: `DUMB_INIT_SETSID=0`, as the Helm chart sets it for
workers, sends the signal to Celery's main process alone.
*Not modelled*: an image that sends the signal to all processes (the tasks are killed: a `Crash`).
"""

from collections.abc import Callable

import attrs

from chaosharness.kernel.scope import Incarnation
from chaosharness.orchestrators.airflow.callbacks import Loaded

__all__ = ["Fork", "Host"]

Fork = Callable[[Incarnation, int, Callable[[Incarnation], None]], None]


@attrs.frozen(eq=False)
class Host:
    """A worker: a living incarnation of a service."""

    incarnation: Incarnation
    loaded: Loaded
    fork: Fork
    hosts: list["Host"]

    def run(self, cause: int, begin: Callable[[Incarnation], None]) -> None:
        """Begin something in a process of its own."""

        def begun(process: Incarnation) -> None:
            process.on_death.append(self._one_less)
            begin(process)

        self.fork(self.incarnation, cause, begun)

    def cease(self) -> None:
        """Be given no task any more."""
        if self in self.hosts:
            self.hosts.remove(self)

    def is_busy(self) -> bool:
        """Say whether a process runs."""
        return bool(self.incarnation.processes)

    def _one_less(self) -> None:
        if self.incarnation.stopping is not None:
            self.incarnation.stopping.look()
