"""The orchestrator outside of any run: over a plain sqlite3 file, as in production."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from chaosharness.errors import InvalidDefinition
from chaosharness.orchestrators.saga import (
    SCHEMA,
    Approval,
    Command,
    Fallback,
    Fenced,
    Journal,
    Orchestrator,
    Parallel,
    Refused,
    Retry,
    Saga,
    SagaStore,
    Step,
)


class Clock:
    """The time, which the test lets go on."""

    def __init__(self) -> None:
        self.ms = 1_000_000

    def __call__(self) -> int:
        return self.ms


class House:
    """A file, a clock, and what was called."""

    def __init__(self, path: Path) -> None:
        self.path = path / "sagas.db"
        self.clock = Clock()
        self.called: list[tuple[str, str]] = []
        self.behaviour: dict[str, Callable[[Command], Any]] = {}
        self.db = self.connect()
        self.db.executescript(SCHEMA + "CREATE TABLE stock (pieces INTEGER);")

    def connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path)

    def do(self, command: Command) -> Any:
        self.called.append((command.action, command.key))
        return self.behaviour.get(command.action, lambda _: None)(command)

    def orchestrator(self, saga: Saga, **options: Any) -> Orchestrator:
        calls = {action: self.do for action in saga.actions()}
        given = {"now_ms": self.clock, "sleep": lambda _: None, "calls": calls, **options}
        return Orchestrator(saga, self.connect(), **given)

    def status(self, id: str) -> str:
        query = "SELECT status FROM saga_executions WHERE id = ?"
        [(status,)] = self.connect().execute(query, (id,)).fetchall()
        return str(status)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


ORDER = Saga("order", Step("charge", undo="refund", retry=Retry(times=2)), Step("ship"))


def test_a_saga_goes_through(house: House) -> None:
    house.orchestrator(ORDER).start("o1", {"cents": 5})
    assert house.called == [("charge", "o1/charge/charge"), ("ship", "o1/ship/ship")]
    assert house.status("o1") == "completed"


def test_what_died_is_gone_on_with_by_another_one_when_its_lease_is_over(house: House) -> None:
    def die(_: Command) -> None:
        raise KeyboardInterrupt

    house.behaviour["ship"] = die
    with pytest.raises(KeyboardInterrupt):
        house.orchestrator(ORDER).start("o1")
    del house.behaviour["ship"]
    other = house.orchestrator(ORDER)
    other.look_after()
    assert house.status("o1") == "running"
    house.clock.ms += 60_000
    other.look_after()  # takes over: nobody knows how the call came out
    house.clock.ms += 1_000
    other.look_after()
    assert house.status("o1") == "completed"
    assert house.called == [
        ("charge", "o1/charge/charge"),
        ("ship", "o1/ship/ship"),
        ("ship", "o1/ship/ship"),
    ]


def test_an_error_says_nothing_unless_it_was_said_what_it_means(house: House) -> None:
    def fail(error: Exception) -> Callable[[Command], None]:
        def behave(_: Command) -> None:
            raise error

        return behave

    house.behaviour["charge"] = fail(ConnectionRefusedError("no"))
    saga = Saga("order", Step("charge", undo="refund", retry=Retry(times=1)))
    house.orchestrator(saga).start("o1")
    assert house.status("o1") == "parked"
    house.orchestrator(saga, not_happened=(ConnectionRefusedError,)).start("o2")
    house.orchestrator(saga, refusals=(ConnectionRefusedError,)).start("o3")
    assert (house.status("o2"), house.status("o3")) == ("compensated", "compensated")
    assert [action for action, _ in house.called] == ["charge"] * 3


def test_a_zombie_is_fenced(house: House) -> None:
    other = house.orchestrator(ORDER)

    def stall(command: Command) -> None:
        if command.fence == 1:
            house.clock.ms += 61_000  # longer than the lease: somebody else goes on
            other.look_after()
            house.clock.ms += 1_000
            other.look_after()

    house.behaviour["charge"] = stall
    with pytest.raises(Fenced, match="lease 1 of saga o1 is not the last one any more"):
        house.orchestrator(ORDER).start("o1")
    assert house.status("o1") == "completed"
    assert [action for action, _ in house.called] == ["charge", "charge", "ship"]


def test_a_local_step_is_done_once_and_undone_where_it_refuses(house: House) -> None:
    def take(db: sqlite3.Connection, command: Command) -> int:
        db.execute("INSERT INTO stock VALUES (1)")
        if command.input == "none":
            raise Refused("none left")
        return 1

    saga = Saga("order", Step("take"))
    sagas = house.orchestrator(saga, calls={}, local={"take": take})
    sagas.start("o1", "none")
    sagas.start("o2", "some")
    sagas.start("o2", "some")
    assert (house.status("o1"), house.status("o2")) == ("compensated", "completed")
    assert house.connect().execute("SELECT count(*) FROM stock").fetchone() == (1,)


def test_commands_are_sent_after_they_are_stored_and_replies_are_taken(house: House) -> None:
    sent: list[Command] = []
    saga = Saga("order", Parallel(Step("charge", undo="refund"), Step("reserve")), Step("ship"))
    sagas = house.orchestrator(saga, calls={}, send=sent.append)
    sagas.start("o1")
    assert [one.action for one in sent] == ["charge", "reserve"]
    sagas.on_reply(sent[1].reply())
    sagas.on_reply(sent[1].reply())  # again: changes nothing
    sagas.on_reply(sent[0].reply())
    assert [one.action for one in sent] == ["charge", "reserve", "ship"]
    sagas.on_reply(sent[2].reply("refused"))
    sagas.on_reply(sent[3].reply())
    assert house.status("o1") == "compensated"
    assert Journal(house.connect()).due("order", house.clock.ms + 10**9) == []


def test_what_could_not_be_sent_is_sent_later(house: House) -> None:
    sent: list[Command] = []

    def send(command: Command) -> None:
        if house.clock.ms < 1_060_000:
            raise TimeoutError("no broker")
        sent.append(command)

    sagas = house.orchestrator(Saga("order", Step("charge")), calls={}, send=send)
    with pytest.raises(TimeoutError):
        sagas.start("o1")
    house.clock.ms += 60_000
    sagas.look_after()
    assert [one.action for one in sent] == ["charge"]


def test_a_reply_while_another_one_has_the_saga_is_kept_for_it(house: House) -> None:
    sent: list[Command] = []
    saga = Saga("order", Parallel(Step("charge"), Step("weigh")), Step("ship"))
    other = house.orchestrator(saga, calls={"weigh": house.do}, send=sent.append)
    house.behaviour["weigh"] = lambda _: other.on_reply(sent[0].reply())
    house.orchestrator(saga, calls={"weigh": house.do}, send=sent.append).start("o1")
    assert [one.action for one in sent] == ["charge", "ship"]


def test_what_an_old_index_says_is_looked_at_again(house: House) -> None:
    class Stale(Journal):
        """Reads what is due from a replica that is behind."""

        def due(self, saga: str, now_ms: int) -> list[str]:
            return ["o1", "o1", "never heard of"]

    sagas = house.orchestrator(ORDER, journal=Stale(house.connect()))
    sagas.start("o1")
    before = house.connect().execute("SELECT * FROM saga_journal").fetchall()
    sagas.look_after()
    assert house.connect().execute("SELECT * FROM saga_journal").fetchall() == before
    assert len(house.called) == 2


def test_sagas_of_two_kinds_share_a_database(house: House) -> None:
    sent: list[Command] = []
    one = house.orchestrator(Saga("one", Step("a")), calls={}, send=sent.append)
    two = house.orchestrator(Saga("two", Step("b")), calls={}, send=sent.append)
    one.start("x")
    two.start("y")
    two.on_reply(sent[0].reply())  # of the other kind: kept for it
    assert house.status("x") == "running"
    one.look_after()
    assert house.status("x") == "completed"
    one.on_reply(attrs.evolve(sent[0].reply(), saga="never heard of"))
    assert Journal(house.connect()).replies("never heard of") == []


def test_a_person_answers_and_is_told_when_there_is_nothing_to_answer(house: House) -> None:
    sagas = house.orchestrator(Saga("order", Approval("check"), Step("ship")))
    sagas.start("o1")
    assert house.status("o1") == "parked"
    refusal = sagas.resolve("o1", "ship", "done")
    assert str(refusal) == "NotParked: 'ship' of o1 is not parked"
    assert sagas.resolve("o1", "check", "done", why="looked at it") is None
    assert house.status("o1") == "completed"
    assert str(sagas.resolve("o9", "check", "done")) == "Unknown: there is no saga 'o9'"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Saga("order"), "saga 'order' has no steps: give it steps, or one async function"),
        (lambda: Saga("order", "charge"), "'charge' is none of these"),
        (lambda: Saga("order", Step("a"), Step("a")), "saga 'order' has two steps named 'a'"),
        (lambda: Parallel(Step("a")), "Parallel takes two branches or more"),
        (lambda: Step("a", retry=3), "step 'a' says retry=3: give it a Retry"),  # type: ignore[arg-type]
        (lambda: Step("a", unknown="undo"), "step 'a' says unknown=\"undo\" and has no undo"),
        (
            lambda: Step("a", fallback=Fallback("a")),
            "step 'a' asks for 'a' twice: give each provider an action of its own",
        ),
        (lambda: Step("a", undo="a"), "step 'a' is undone by 'a', which is what it does"),
        (
            lambda: Step("a", undo="x", fallback=Fallback("b", undo="a")),
            "step 'a' is undone by 'a', which is what it does",
        ),
        (lambda: Retry(times=0), "Retry: times must be a whole number from 1, not 0"),
        (lambda: SagaStore("db", lease_ms=0), "SagaStore: lease_ms must be a whole number from 1"),
        (
            lambda: Orchestrator(ORDER, sqlite3.connect(":memory:"), now_ms=Clock(), sleep=id),
            "nobody does 'charge' of saga 'order': give calls=",
        ),
    ],
)
def test_what_is_put_together_wrongly_is_told(make: Callable[[], object], words: str) -> None:
    with pytest.raises(InvalidDefinition) as told:
        make()
    assert words in str(told.value)


def test_errors_that_mean_no_are_classes_and_one_alone_will_do(house: House) -> None:
    """Any other would be told by the first error that comes, as a TypeError of Python's own."""
    alone = house.orchestrator(ORDER, refusals=KeyError, not_happened=[OSError])
    assert (alone.refusals, alone.not_happened) == ((Refused, KeyError), (OSError,))
    for wrong in (("KeyError",), "KeyError", 3):
        with pytest.raises(InvalidDefinition, match="not_happened must be a tuple of classes"):
            house.orchestrator(ORDER, not_happened=wrong)


def test_an_input_that_json_cannot_say_is_told(house: House) -> None:
    with pytest.raises(InvalidDefinition, match="the input of saga o1 is kept as JSON"):
        house.orchestrator(ORDER).start("o1", object())


def test_code_that_awaits_something_else_is_told(house: House) -> None:
    class Else:
        def __await__(self) -> Any:
            yield "something"

    async def order(saga: Any, input: Any) -> None:
        await Else()

    with pytest.raises(InvalidDefinition, match="it awaited 'something'"):
        house.orchestrator(Saga("order", order), send=id).start("o1")


def test_two_that_work_with_one_connection_at_once_are_told(house: House) -> None:
    """What one wrote would be taken back with what the other did, and the journal be torn."""
    shared = house.orchestrator(ORDER)
    with shared.journal.transaction():  # amid which somebody else comes
        with pytest.raises(InvalidDefinition, match=r"(?s)test_orchestrator.py:\d+.*of its own"):
            shared.start("o1", {})
        assert shared.journal.db.in_transaction  # and nothing of the first is taken back
    shared.start("o1", {})
    house.orchestrator(ORDER).start("o2", {})
    assert [house.status(id) for id in ("o1", "o2")] == ["completed", "completed"]
