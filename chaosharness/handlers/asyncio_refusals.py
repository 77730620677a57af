"""What an asyncio loop on virtual time does not do: real I/O, being run by others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from chaosharness.errors import RealIO
from chaosharness.handlers.asyncio_unvisited import UnvisitedLoop

RUNNING = "cannot be called from a running event loop"


def _refusing(name: str) -> Callable[..., NoReturn]:
    def refuse(self: RefusingLoop, *arguments: Any, **options: Any) -> NoReturn:
        host = arguments[0] if arguments else None
        host = host.decode("latin-1") if isinstance(host, bytes) else host
        shown = f"({host!r})" if isinstance(host, str) else ""
        raise self.refuse(f"asyncio's loop.{name}{shown}")

    refuse.__name__ = name
    return refuse


class RefusingLoop(UnvisitedLoop):
    """Accepts what has no meaning here, refuses what would leave the simulated world."""

    slow_callback_duration = float("inf")

    def hosts(self) -> Iterable[Any]:
        """Return those who may listen at an address of the system: nobody, unless it is said."""
        return ()

    async def create_connection(
        self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any
    ) -> Any:
        """Connect to an address of the system, where somebody listens; refuse any other."""
        for one in self.hosts():
            if getattr(one, "at", None) == (host, port) and hasattr(one, "connect_stream"):
                protocol = protocol_factory()
                return one.connect_stream(protocol, self), protocol
        raise self.refuse(f"asyncio's loop.create_connection({host!r})")

    def refuse(self, what: str) -> RealIO:
        """Call the run off; return what to raise."""
        raise NotImplementedError

    def is_running(self) -> bool:
        """Say whether this loop runs: always, as far as its code can see."""
        return True

    def get_debug(self) -> bool:
        """Say whether debug mode is on: never."""
        return False

    def set_debug(self, enabled: bool) -> None:
        """Accept it, without effect."""

    def set_default_executor(self, executor: Any) -> None:
        """Accept it, and never use it: functions run beside the loop."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Shut nothing down."""

    async def shutdown_asyncgens(self) -> None:
        """Shut nothing down."""

    def run_forever(self) -> NoReturn:
        """Refuse: the kernel runs this loop."""
        raise RuntimeError(f"run_forever {RUNNING}")

    def run_until_complete(self, future: Any) -> NoReturn:
        """Refuse: the kernel runs this loop."""
        if asyncio.iscoroutine(future):
            future.close()
        raise RuntimeError(f"run_until_complete {RUNNING}")

    def stop(self) -> NoReturn:
        """Refuse: only a crash stops this loop."""
        raise self.refuse("loop.stop")

    def close(self) -> NoReturn:
        """Refuse: only a crash stops this loop."""
        raise self.refuse("loop.close")

    # ---- refused

    add_reader: Any = _refusing("add_reader")
    add_writer: Any = _refusing("add_writer")
    connect_accepted_socket: Any = _refusing("connect_accepted_socket")
    connect_read_pipe: Any = _refusing("connect_read_pipe")
    connect_write_pipe: Any = _refusing("connect_write_pipe")
    create_unix_connection: Any = _refusing("create_unix_connection")
    getaddrinfo: Any = _refusing("getaddrinfo")
    getnameinfo: Any = _refusing("getnameinfo")
    remove_reader: Any = _refusing("remove_reader")
    remove_writer: Any = _refusing("remove_writer")
    sendfile: Any = _refusing("sendfile")
    sock_accept: Any = _refusing("sock_accept")
    sock_connect: Any = _refusing("sock_connect")
    sock_recv: Any = _refusing("sock_recv")
    sock_recv_into: Any = _refusing("sock_recv_into")
    sock_recvfrom: Any = _refusing("sock_recvfrom")
    sock_recvfrom_into: Any = _refusing("sock_recvfrom_into")
    sock_sendall: Any = _refusing("sock_sendall")
    sock_sendfile: Any = _refusing("sock_sendfile")
    sock_sendto: Any = _refusing("sock_sendto")
    start_tls: Any = _refusing("start_tls")
    subprocess_exec: Any = _refusing("subprocess_exec")
    subprocess_shell: Any = _refusing("subprocess_shell")
