"""Every error this package raises on purpose.

ChaosharnessError
├── InvalidDefinition (TypeError)      the user put a system or a property together wrongly
│   ├── RefusedValue                   a value that no port takes
│   │   └── UnserialisablePayload      a message that cannot be encoded
│   ├── InvalidValue (ValueError)      an argument that is not what is allowed there
│   ├── NotAwaited                     a call that was made and never awaited
│   └── IllegalFault                   a fault which the product could never suffer
├── InvalidSchedule (ValueError)       a schedule or file that cannot be used here
├── RealIO                             user code left the simulated world
├── Nondeterminism                     one schedule, two histories
├── PropertyViolated (AssertionError)  a property does not hold: a result, not a malfunction
├── NothingProved (AssertionError)     the runs put nothing to the test: green would say nothing
└── InternalError                      a bug of ours

Abandoned (BaseException) is thrown into code whose incarnation has crashed, and
Spinning (BaseException) into code that never reaches a port, where it cannot be taken away.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any


class ChaosharnessError(Exception):
    """Base of everything this package raises on purpose."""


class InvalidDefinition(ChaosharnessError, TypeError):
    """A system, model or property is put together wrongly. Nothing was run."""


class InvalidValue(InvalidDefinition, ValueError):
    """An argument that is not what is allowed there: which, what it is, what it may be, where."""


class RefusedValue(InvalidDefinition):
    """A value that no real client would take either, made by the code while it ran.

    Without faults it is a mistake to be mended first, and ends the run. After a fault it is an
    error that this code raises because of the fault, as a client library's would be.
    """


class UnserialisablePayload(RefusedValue):
    """A message that cannot be written as bytes, or read as the declared type."""


class NotAwaited(InvalidDefinition):
    """A call that was made and never awaited, so that nothing of it happened.

    Attributes:
        has_line: Whether the line of the call is known. If not, the same run, made once more
            with origins kept, shows it.
    """

    def __init__(self, words: str, *, has_line: bool) -> None:
        super().__init__(words)
        self.has_line = has_line


class Hopeless(InvalidDefinition):
    """Code that fails without any fault, and would each time. What it raised is the cause.

    Attributes:
        history: What happened until the run was called off.
        is_early: Whether the run has to be made again, for what was first imported in it.
    """

    history: Any = None
    is_early: bool = False


class IllegalFault(InvalidDefinition):
    """A fault that a real deployment of this product could never suffer."""


class InvalidSchedule(ChaosharnessError, ValueError):
    """A schedule, or a file that holds one, cannot be used: what, where, and what to do."""


class RealIO(ChaosharnessError):
    """User code connected, or started a process or a thread for real, inside virtual time."""

    def __init__(self, what: str, *, where: str, at: str = "", by: str = "") -> None:
        advice = next((words for names, words in _INSTEAD if what.startswith(names)), _FROM_ENV)
        called = what
        if by in STANDS_FOR:
            called = f"{by}, and so {what}"
            advice = f"What {by} connects to is no part of this system: {STANDS_FOR[by]}."
        super().__init__(
            f"{where} called {called}{at}, which would leave the simulated world.\n{advice}"
        )
        self.what = what
        self.where = where


_RABBITMQ = 'add bus = RabbitMQ("bus") and AMQP(HOST, bus), with the host name of its address'
_AWS = "add the queues, topics or tables that it asks for, and AWS(...) of them"
_POSTGRESQL = 'add PostgreSQL("db", schema), which stands for it where a server is at hand'
_STAND_IN = (
    "pass what calls it into the code under test, and give it one here on a part of the system "
    "(env.connect of a KeyValue or a SQLite store, env.client of an External)"
)
STANDS_FOR = {
    **dict.fromkeys(("pika", "aio_pika", "aiormq", "amqp"), _RABBITMQ),
    **dict.fromkeys(("boto3", "botocore", "aiobotocore"), _AWS),
    **dict.fromkeys(("psycopg", "psycopg2", "asyncpg"), _POSTGRESQL),
    "celery": f"{_RABBITMQ}; or, where its broker is Redis, a RedisStore. Others are not modelled",
    "kombu": f"{_RABBITMQ}; or, where its broker is Redis, a RedisStore. Others are not modelled",
    "nats": 'add NATS("bus", streams), which stands for any server, or with url= for one',
    **dict.fromkeys(("motor", "pymongo"), f"MongoDB is not modelled; {_STAND_IN}"),
    **dict.fromkeys(
        ("aiomysql", "MySQLdb", "mysql", "pymysql"), f"MySQL is not modelled; {_STAND_IN}"
    ),
    "websockets": f"WebSockets are not modelled; {_STAND_IN}",
    "redis": 'add RedisStore("cache"), or for streams Redis("bus", streams); url= says for which',
    "stripe": 'add Web("api.stripe.com", part, routes=...)',
}
"""Libraries that connect, by their package, and what stands for that which they connect to."""

_ADDRESS = re.compile(r"<[^<>]{1,200} at 0x[0-9a-fA-F]{6,}>")


_FROM_ENV = (
    "Take what you need from env instead (env.sleep, env.client, env.connect, "
    "env.publisher), or pass a double into the handler."
)
_INSTEAD = (
    (
        (
            "socket.",
            "http.client.",
            "urllib.",
            "asyncio's loop.getaddrinfo",
            "asyncio's loop.create_c",
        ),
        "What answers there is a third party: model it as an External, and call it by env.client; "
        'or say what stands behind the host name, Web("api.bank.example", part, routes=...), and '
        "httpx, requests and aiohttp get there as they are.",
    ),
    (
        ("smtplib.", "ftplib.", "imaplib.", "poplib.", "telnetlib."),
        "What answers there is a third party: pass what calls it into the code under test, and "
        "give it one here that calls an External (env.client).",
    ),
    (
        ("signal.signal", "signal.alarm", "signal.setitimer"),
        "Leave signals to the code that starts the process (below if __name__ == '__main__'): here "
        "a service is stopped by GracefulStop, which sends SIGTERM, or by Crash. A timeout or a "
        "timer is env.sleep or env.every.",
    ),
    (
        ("asyncio.run", "an asyncio event loop"),
        "The loop is here already: give env.main, env.serve or env.consume the async function "
        "itself (env.main(main) in place of asyncio.run(main())); what it awaits takes virtual "
        "time.",
    ),
    (
        ("os._exit", "os.abort", "os.kill", "signal."),
        "Leave that call out; sys.exit(...) ends a service as a crash does.",
    ),
    (
        ("threading.",),
        "Threads that services start run in virtual time; this code belongs to none. A timer is "
        "env.every(seconds, function), a loop of its own is env.main(loop).",
    ),
    (
        (
            *("os.fork", "os.posix_spawn", "os.spawn", "os.system", "os.exec"),
            *("multiprocessing.", "subprocess.", "pty.", "ProcessPoolExecutor."),
            "asyncio's loop.subprocess",
        ),
        "Another program is a third party: model what it does as an External, or pass a double "
        "into the handler. What a module does while it is imported is its own affair. A pool of "
        "threads runs in virtual time (ThreadPoolExecutor).",
    ),
)
"""What a call begins with, and what to do in its place: the first that fits."""


class Nondeterminism(ChaosharnessError):
    """The same schedule produced two different histories.

    Attributes:
        index: The first event that differs.
        survived: What had changed outside of the services in between, by name.
    """

    def __init__(
        self,
        *,
        index: int,
        first: str,
        second: str,
        schedule: str,
        survived: Sequence[str] = (),
        files: Sequence[str] = (),
        asked_at: str = "",
    ) -> None:
        why = (
            "Something read a global, an id() or the order of a set. Make the handler take it\n"
            "from its arguments, then try again: chaosharness replay --twice FILE"
        )
        address = _ADDRESS.search(first + second)
        if address is not None:
            why = (
                f"The address of an object stands there ({address[0]}): another one each time.\n"
                "Give its class a __repr__ of its own, or write its fields; an item of the\n"
                "workload had best be a dict or a dataclass."
            )
        if survived:
            why = (
                f"Outside of the services this changed in between: {'; '.join(survived)}.\n"
                "It outlives a crash here, and in production it would not. Make it inside the\n"
                "function that builds the service, or in a module."
            )
        if files:
            why = (
                f"Code of a service writes files: {', '.join(files)}.\n"
                "They are the machine's own: each run begins with what the last one left. Keep it\n"
                "in a store of the system (SQLite, KeyValue), or give each run a folder of its own."
            )
        why += "\nWhat an installed package keeps is of a process if it is named: System(own=[...])"
        super().__init__(
            f"event {index} differs between two runs of {schedule}:\n"
            f"  first:  {first}\n"
            f"  second: {second}\n"
            + (f"It was asked for at {asked_at}.\n" if asked_at else "")
            + why
        )
        self.index = index
        self.survived = tuple(survived)

    @classmethod
    def told(cls, text: str, *, index: int, survived: Sequence[str] = ()) -> Nondeterminism:
        """Return the error that another process told of, in its words."""
        error = cls(index=index, first="", second="", schedule="", survived=survived)
        error.args = (text,)
        return error


class PropertyViolated(ChaosharnessError, AssertionError):
    """A property does not hold. This is the result, not a malfunction.

    Each property raises a subclass of its own (see `checkers.violation_class`), because
    Hypothesis tells bugs apart by their exception type.

    Attributes:
        run: The run that broke it (a `Run`), or None.
        findings: What was found, pointing into the run's history.
        property: The `Property`, or None.
        counterexample: The smallest `Counterexample`, where a search found it; or None.
    """

    run: Any = None
    findings: Any = ()
    property: Any = None
    counterexample: Any = None


class NothingProved(ChaosharnessError, AssertionError):
    """The runs were made, and put nothing to the test. To call that green would be a lie.

    Nothing was consumed or handled, there was no workload or no fault, everything was put
    aside, or no claim was put to the test. The message says which, and what to do.
    """


class InternalError(ChaosharnessError):
    """A bug in chaosharness. Please report it with the schedule."""


class Abandoned(BaseException):
    """Thrown into code whose incarnation has crashed, so that it ends. Never catch it."""


class Spinning(BaseException):
    """Thrown into a handler that runs on without ever reaching a port."""

    def __init__(self, where: str, seconds: float) -> None:
        super().__init__(f"{where} ran for {seconds:g} s of real time without reaching a port")
        self.where = where
        self.seconds = seconds
