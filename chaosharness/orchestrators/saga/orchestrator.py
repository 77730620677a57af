"""What drives sagas: takes a lease, decides, makes it durable, and only then acts.

It runs inside a service, over what a service has anyway: a connection, a clock, functions that
call others, a function that sends. So every crash, lost reply, failed commit and pause of the
service strikes it where it would in production, where it runs as it is.

*Source*: rules N1 to N14; Kleppmann, "How to do distributed locking" (2016), on fencing tokens.
*Not modelled*: a database that is awaited; `asynchronous.py` has actions that are.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Generator, Mapping
from functools import partial
from inspect import isawaitable, iscoroutinefunction, signature
from typing import Any, Final, Literal

import attrs

from chaosharness.errors import ChaosharnessError, InvalidDefinition, RefusedValue
from chaosharness.handlers.colours import made_at
from chaosharness.kernel import allowed
from chaosharness.kernel.places import asked_at
from chaosharness.machines.machine import Refusal
from chaosharness.orchestrators.saga.definition import Saga
from chaosharness.orchestrators.saga.errors import Fenced, Refused
from chaosharness.orchestrators.saga.journal import Change, Journal
from chaosharness.orchestrators.saga.machine import Begin, Resolve, SagaMachine, TakeOver
from chaosharness.orchestrators.saga.records import Command, Outcome, Phase, Reply
from chaosharness.orchestrators.saga.shape import tell_database

__all__ = ["Orchestrator"]

PASSING: Final = (ConnectionError, TimeoutError, sqlite3.OperationalError, Fenced)
"""What the loop sees past: next time round it is tried again."""

ASYNC: Final = (
    "an action of saga {!r}, or its send=, is async: take AsyncOrchestrator, which awaits them"
)

Action = Callable[[Command], Any]
Local = Callable[[sqlite3.Connection, Command], Any]
Errors = tuple[type[Exception], ...]


@attrs.define
class Held:
    """A saga in our hands: what is to be done before anything more is decided."""

    machine: SagaMachine
    lease: int
    call: Command | None
    outbox: list[tuple[int, Command]]


class Orchestrator:
    """Runs the sagas of one definition. Make one for each connection, so for each consumer.

    Args:
        saga: What it runs.
        db: A connection to the database that has its tables: a `SagaStore`, or any with
            `chaosharness.orchestrators.saga.SCHEMA`.
        now_ms: The clock: `env.now_ms`.
        sleep: How to wait: `env.sleep`.
        calls: Actions that are called: `action(command)` returns the result.
        local: Actions in the same database: `action(db, command)`, done once, in the
            transaction that says so (N13).
        send: Sends a command to whoever does it, for all other actions. Replies come to `on_reply`.
        refusals: Errors of actions that mean no for ever; `Refused` always does.
        not_happened: Errors that mean that nothing happened. Any other error says nothing (N5).
        lease_ms: How long a saga is held without a word: longer than any call may last.
        poll_s: How often `run` looks for what is due.
        journal: What writes the tables, where that is not SQLite's `Journal`.
        machine: What decides.

    Raises:
        InvalidDefinition: An action has nobody who does it.
    """

    def __init__(
        self,
        saga: Saga,
        db: sqlite3.Connection,
        *,
        now_ms: Callable[[], int],
        sleep: Callable[[float], Any],
        calls: Mapping[str, Action] | None = None,
        local: Mapping[str, Local] | None = None,
        send: Callable[[Command], Any] | None = None,
        refusals: Errors = (),
        not_happened: Errors = (),
        lease_ms: int = 60_000,
        poll_s: float = 30.0,
        journal: Journal | None = None,
        machine: type[SagaMachine] = SagaMachine,
    ) -> None:
        self.saga = saga
        tell_database(saga, db)
        self.journal = Journal(db) if journal is None else journal
        self.machine = machine
        self.now_ms = now_ms
        self.sleep = sleep
        self.calls = dict(calls or {})
        self.local = dict(local or {})
        self.send = send
        self.refusals: Errors = (Refused, *_errors("refusals", refusals))
        self.not_happened: Errors = _errors("not_happened", not_happened)
        if not allowed.is_whole(lease_ms, 1):
            raise allowed.refused("Orchestrator", "lease_ms", "a whole number from 1", lease_ms)
        for name, action in self.local.items():
            if iscoroutinefunction(action):
                raise InvalidDefinition(
                    f"the local action {name!r} of saga {saga.name!r} is async, and runs inside a "
                    f"transaction: make it plain, or give it as one of calls={asked_at()}"
                )
        for name, done in [*self.calls.items(), *self.local.items()]:
            if not callable(done):
                raise InvalidDefinition(
                    f"the action {name!r} of saga {saga.name!r} is {allowed.spelled(done)}, and "
                    f"no function{asked_at()}"
                )
        if not isinstance(poll_s, int | float) or not poll_s > 0:
            raise allowed.refused("Orchestrator", "poll_s", "more than 0 seconds", poll_s)
        self.lease_ms = lease_ms
        self.poll_s = poll_s
        undone = sorted(saga.actions() - self.calls.keys() - self.local.keys())
        if undone and send is None:
            raise self._nobody_does(undone[0], asked_at())

    def _nobody_does(self, action: str, where: str = "") -> InvalidDefinition:
        return InvalidDefinition(
            f"nobody does {action!r} of saga {self.saga.name!r}: give calls={{{action!r}: "
            f"function}}, local=, or send= for what others do{where}"
        )

    def _see_that_it_fits(self, name: str) -> None:
        """Refuse an action that cannot be called with a command: not a line of it has run."""
        try:
            signature(self.calls[name]).bind(None)
        except ValueError:  # nobody knows what it takes
            return
        except TypeError as error:
            raise InvalidDefinition(
                f"the action {name!r} of saga {self.saga.name!r} is called with one command, and "
                f"that does not fit: {error}"
            ) from None

    # ---- from outside

    def start(self, id: str, value: Any = None) -> None:
        """Start a saga, once for each id, and go on with it as far as it goes (N12).

        Args:
            id: Its name, the client's: a second start under it changes nothing.
            value: Its input: anything that JSON can say.
        """
        self._work(self.begin(id, value))

    def on_reply(self, reply: Reply) -> None:
        """Take the reply to a command: the handler of a queue or topic of replies."""
        self._work(self.hear(reply))

    def resolve(
        self,
        id: str,
        step: str,
        outcome: Outcome | Literal["retry"],
        value: Any = None,
        *,
        why: str = "",
        phase: Phase = "do",
    ) -> Refusal | None:
        """Say what a person has found out about a parked step; return None, or why it is ignored.

        Args:
            id: Which saga.
            step: Which step; "" for code that was stuck, and is mended.
            outcome: `done`; `refused`: it did not happen; `retry`: ask again.
            value: Its result.
            why: For the journal.
            phase: `undo` for a compensation.
        """
        held, refusal = self.settle(id, Resolve(step, outcome, value, why, phase))
        self._work(held)
        return refusal

    def run(self) -> None:
        """Look after what is due, and what others left behind, for ever: `env.main(sagas.run)`."""
        while True:
            self.look_after()
            self.sleep(self.poll_s)

    def look_after(self) -> None:
        """Look after what is due now, and what others left behind."""
        for id in self.due():
            try:
                self._work(self.take_over(id))
            except PASSING:
                continue

    # ---- what comes first of each, in one transaction: who is in our hands then

    def begin(self, id: str, value: Any) -> Held | None:
        """Write that a saga has begun, if it is new."""
        _check_json(value, f"the input of saga {id}")
        with self.journal.transaction():
            new = self.journal.begin(id, self.saga.name)
            return self._take(id, Begin(value)) if new else None

    def hear(self, reply: Reply) -> Held | None:
        """Write what was answered."""
        with self.journal.transaction():
            if self.journal.row(reply.saga) is None:
                return None
            self.journal.hear(reply)
            return self._take(reply.saga)

    def settle(self, id: str, said: Resolve) -> tuple[Held | None, Refusal | None]:
        """Write what a person has said; return why it is ignored, where it is."""
        with self.journal.transaction():
            row = self.journal.row(id)
            if row is None:
                return None, Refusal("Unknown", f"there is no saga {id!r}")
            if row.is_held(self.now_ms()):
                return None, Refusal("Busy", f"somebody is working on {id!r}: say it again later")
            refusal = self._machine(id).apply(said, self.now_ms())
            return (None, refusal) if refusal else (self._take(id, said), None)

    def due(self) -> list[str]:
        """Return the sagas that are due, or left behind; none where the database is away."""
        try:
            return [*self.journal.due(self.saga.name, self.now_ms())]
        except PASSING:
            return []

    def take_over(self, id: str) -> Held | None:
        """Take a saga that is due."""
        with self.journal.transaction():
            return self._take(id)

    # ---- transactions

    def _machine(self, id: str) -> SagaMachine:
        calls = frozenset((*self.calls, *self.local))
        records = self.journal.records(id)
        return self.machine(self.saga, id, records, calls=calls, lease_ms=self.lease_ms)

    def _take(self, id: str, operation: Begin | Resolve | None = None) -> Held | None:
        """Take the lease, decide, and write it: in the transaction that is open."""
        journal, now = self.journal, self.now_ms()
        row = journal.row(id)
        if row is None or row.saga != self.saga.name or row.is_held(now):
            return None  # whoever has it takes the reply, or the loop does when the lease is over
        lease = journal.lease(id, row, now + self.lease_ms)
        machine = self._machine(id)
        machine.apply(TakeOver(lease, from_silent=row.lease_until_ms is not None), now)
        if operation is not None:
            machine.apply(operation, now)
        return self._write(Held(machine, lease, None, journal.outbox(id)), row.version, now)

    def _write(self, held: Held, version: int, now: int, sent: tuple[int, ...] = ()) -> Held | None:
        """Hear what has come, let time act, write all that follows; let go if nothing is left."""
        journal, machine = self.journal, held.machine
        id = machine.execution.id
        replies = journal.replies(id)
        for _, reply in replies:
            machine.apply(reply, now)
        machine.tick(now)
        records = self._with_local(machine, now)
        asked = [
            (number, machine.command(record))
            for number, record in enumerate(records, version + 1)
            if record.kind == "asked"
        ]
        commands = [one for one in asked if one[1].action not in {*self.calls, *self.local}]
        if commands and self.send is None:  # of code: its steps are not known before it runs
            raise self._nobody_does(commands[0][1].action)
        call = next((one for _, one in asked if one.action in self.calls), None)
        outbox = [one for one in held.outbox if one[0] not in sent] + commands
        busy = call is not None or bool(outbox)
        change = Change(
            id=id, lease=held.lease, version=version,
            lease_until_ms=now + self.lease_ms if busy else None,
            status=machine.execution.status, due_ms=machine.due(), records=records,
            commands=commands, sent=sent, heard=[number for number, _ in replies],
        )  # fmt: skip
        journal.write(change)
        return Held(machine, held.lease, call, outbox) if busy else None

    def _with_local(self, machine: SagaMachine, now: int) -> list[Any]:
        """Do what is asked for in this database, here and now; return all records."""
        records = machine.take()
        at = 0
        while at < len(records):
            record = records[at]
            at += 1
            if record.kind == "asked" and record.action in self.local:
                machine.apply(self._do_local(machine.command(record)), now)
                records += machine.take()
        return records

    def _do_local(self, command: Command) -> Reply:
        """Do an action in this database: what it wrote is undone where it refuses."""
        db = self.journal.db
        db.execute("SAVEPOINT step")
        try:
            value = self.local[command.action](db, command)
            done_by = made_at(self.local[command.action])
            _check_json(value, f"what {command.action!r} returned{done_by}")
            reply = command.reply("done", value)
        except self.refusals as error:
            db.execute("ROLLBACK TO step")
            reply = command.reply("refused", why=_words(error))
        db.execute("RELEASE step")
        return reply

    # ---- between transactions

    def _work(self, held: Held | None) -> None:
        """Do what is to be done, here and now."""
        doing = self.doing(held)
        ask = next(doing, None)
        while ask is not None:
            try:
                value = ask()
            except Exception as error:
                ask = _next(doing.throw, error)
            else:
                if isawaitable(value):
                    getattr(value, "close", lambda: None)()
                    raise InvalidDefinition(ASYNC.format(self.saga.name))
                ask = _next(doing.send, value)

    def doing(self, held: Held | None) -> Generator[Callable[[], Any], Any, None]:
        """Send and call, and write what came of it, until nothing is left to do.

        Yields what is to be called outside of transactions, and is sent its result.
        """
        while held is not None:
            for _, command in held.outbox:
                assert self.send is not None
                yield partial(self.send, command)
            reply = None if held.call is None else (yield from self._call(held.call))
            sent = tuple(number for number, _ in held.outbox)
            version, now = held.machine.execution.version, self.now_ms()
            with self.journal.transaction():
                if reply is not None:
                    held.machine.apply(reply, now)
                held = self._write(held, version, now, sent)

    def _call(self, command: Command) -> Generator[Callable[[], Any], Any, Reply]:
        """Do an action; return how it came out, as far as that is known."""
        try:
            value = yield partial(self.calls[command.action], command)
        except self.refusals as error:
            return command.reply("refused", why=_words(error))
        except self.not_happened as error:
            return command.reply("failed", why=_words(error))
        except ChaosharnessError:
            raise
        except Exception as error:
            if isinstance(error, TypeError):
                self._see_that_it_fits(command.action)
            return command.reply("unknown", why=_words(error))
        _check_json(value, f"what {command.action!r} returned{made_at(self.calls[command.action])}")
        return command.reply("done", value)


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _next(go_on: Callable[[Any], Any], value: Any) -> Any:
    try:
        return go_on(value)
    except StopIteration:
        return None


def _errors(name: str, given: Any) -> Errors:
    """Return classes of errors; one alone is taken as what it is."""
    some = (given,) if isinstance(given, type) else given
    if not isinstance(some, list | tuple | set | frozenset):
        raise allowed.refused("Orchestrator", name, "a tuple of classes of errors", given)
    for one in some:
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            raise allowed.refused("Orchestrator", name, "a tuple of classes of errors", one)
    return tuple(some)


def _check_json(value: Any, what: str) -> None:
    try:
        json.dumps(value)
    except (TypeError, ValueError) as error:
        raise RefusedValue(
            f"{what} is kept as JSON, and cannot be: {error}. Give a dict of plain values"
        ) from None
