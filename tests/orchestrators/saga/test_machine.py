"""The pure machine of a saga, rule by rule (N1 to N14), in both of its forms."""

from __future__ import annotations

import pytest

from chaosharness.orchestrators.saga import (
    Approval,
    Begin,
    Command,
    Fallback,
    Flow,
    Parallel,
    Record,
    Refused,
    Reply,
    Resolve,
    Retry,
    Saga,
    SagaMachine,
    Step,
    TakeOver,
)

TWICE = Retry(times=2, first_ms=100)


class Drive:
    """A machine, and what it has asked for so far."""

    def __init__(self, saga: Saga, *, calls: tuple[str, ...] = ()) -> None:
        self.saga = saga
        self.calls = frozenset(calls)
        self.machine = SagaMachine(saga, "s1", calls=self.calls, lease_ms=1_000)
        self.now = 0
        self.records: list[Record] = []
        self.asked: list[Command] = []
        self.machine.apply(Begin({"cents": 5}), 0)
        self.read()

    def read(self) -> list[str]:
        """Take what happened; return what is asked for."""
        taken = self.machine.take()
        self.records += taken
        found = [self.machine.command(one) for one in taken if one.kind == "asked"]
        self.asked += found
        return [one.action for one in found]

    def say(self, action: str, outcome: str = "done", value: object = None) -> list[str]:
        """Answer what was asked for last under an action; return what is asked for next."""
        command = [one for one in self.asked if one.action == action][-1]
        self.machine.apply(command.reply(outcome, value), self.now)  # type: ignore[arg-type]
        return self.read()

    def wait(self) -> list[str]:
        """Let time go on to when it acts next."""
        due = self.machine.due()
        assert due is not None
        self.machine.tick(due - 1)
        assert self.machine.take() == []  # `due` never lies
        self.now = max(self.now, due)
        self.machine.tick(self.now)
        return self.read()

    def again(self) -> SagaMachine:
        """Return the machine as its records have it."""
        return SagaMachine(self.saga, "s1", self.records, calls=self.calls, lease_ms=1_000)

    @property
    def status(self) -> str:
        assert self.again().execution == self.machine.execution
        return self.machine.execution.status


STEPS = (
    Step("charge", undo="refund", retry=TWICE, undo_retry=TWICE),
    Step("reserve", undo="release", retry=TWICE, undo_retry=TWICE),
    Step("ship", retry=TWICE),
)


async def by_code(saga: Flow, order: object) -> object:
    await saga.do("charge", undo="refund", retry=TWICE, undo_retry=TWICE)
    await saga.do("reserve", undo="release", retry=TWICE, undo_retry=TWICE)
    return await saga.do("ship", retry=TWICE)


FORMS = [
    pytest.param(Saga("order", *STEPS), id="data"),
    pytest.param(Saga("order", by_code), id="code"),
]


@pytest.mark.parametrize("saga", FORMS)
def test_steps_are_asked_for_one_after_the_other(saga: Saga) -> None:
    drive = Drive(saga)
    assert [one.action for one in drive.asked] == ["charge"]
    assert drive.say("charge") == ["reserve"]
    assert drive.say("reserve") == ["ship"]
    assert drive.say("ship") == []
    assert drive.status == "completed"
    assert drive.machine.due() is None


@pytest.mark.parametrize("saga", FORMS)
def test_what_happened_is_undone_in_reverse(saga: Saga) -> None:
    drive = Drive(saga)
    drive.say("charge")
    drive.say("reserve")
    assert drive.say("ship", "refused") == ["release"]
    assert drive.say("release") == ["refund"]
    assert drive.say("refund") == []
    assert drive.status == "compensated"


@pytest.mark.parametrize("saga", FORMS)
def test_what_is_refused_first_leaves_nothing_to_undo(saga: Saga) -> None:
    drive = Drive(saga)
    assert drive.say("charge", "refused") == []
    assert drive.status == "compensated"


def test_the_key_is_the_same_at_each_attempt_and_so_is_what_is_said_under_it() -> None:
    drive = Drive(Saga("order", Parallel(Step("a", retry=TWICE), Step("b")), Step("c")))
    first = drive.asked[0]
    drive.say("b", value=7)
    drive.wait()
    assert drive.wait() == ["a"]
    second = drive.asked[-1]
    assert (first.key, first.results) == (second.key, second.results) == ("s1/a/a", {})
    assert (first.attempt, second.attempt) == (1, 2)
    assert drive.say("a", value=8) == ["c"]
    assert drive.asked[-1].results == {"a": 8, "b": 7}


def test_an_attempt_that_failed_is_asked_for_again_after_a_wait() -> None:
    drive = Drive(Saga("order", Step("charge", retry=Retry(times=3, first_ms=100, factor=3))))
    assert drive.say("charge", "failed") == []
    assert drive.machine.due() == 100
    assert drive.wait() == ["charge"]
    drive.say("charge", "failed")
    assert drive.machine.due() == 400
    drive.wait()
    drive.say("charge", "failed")
    assert drive.status == "compensated"  # known not to have happened: nothing to undo


def test_what_may_have_happened_is_parked_after_the_last_attempt() -> None:
    drive = Drive(Saga("order", Step("charge", undo="refund", retry=TWICE)))
    drive.wait()  # no answer in time
    drive.wait()  # asked again
    drive.say("charge", "failed")
    assert drive.status == "parked"
    assert "nobody knows whether charge happened" in drive.records[-1].why
    assert drive.machine.apply(Resolve("charge", "retry"), 90_000) is None
    assert drive.read() == ["charge"]
    assert drive.say("charge") == []
    assert drive.status == "completed"


def test_what_may_have_happened_is_undone_where_that_is_said() -> None:
    step = Step("charge", undo="refund", retry=Retry(times=1), unknown="undo")
    drive = Drive(Saga("order", Step("first", undo="unfirst"), step))
    drive.say("first")
    drive.wait()
    assert drive.asked[-1].action == "refund"
    assert drive.say("refund") == ["unfirst"]


def test_a_late_answer_is_taken_and_a_second_one_is_not() -> None:
    drive = Drive(Saga("order", *STEPS))
    drive.wait()  # overdue
    assert drive.say("charge") == ["reserve"]
    late = drive.asked[0].reply("refused")
    refusal = drive.machine.apply(late, drive.now)
    assert refusal is not None and refusal.code == "NotAsked"


def test_an_old_attempt_that_failed_says_nothing_about_the_new_one() -> None:
    drive = Drive(Saga("order", *STEPS))
    drive.wait()
    drive.wait()
    refusal = drive.machine.apply(drive.asked[0].reply("failed"), drive.now)
    assert refusal is not None and refusal.code == "Late"
    assert drive.say("charge") == ["reserve"]


def test_another_provider_is_asked_only_when_the_first_is_known_not_to_have_done_it() -> None:
    ship = Step("ship", action="dhl", undo="dhl stop", retry=TWICE,
                fallback=Fallback("ups", undo="ups stop"))  # fmt: skip
    drive = Drive(Saga("order", ship, Step("mail")))
    drive.say("dhl", "failed")
    drive.wait()
    assert drive.say("dhl", "failed") == ["ups"]
    assert drive.asked[-1].key == "s1/ship/ups"
    drive.say("ups")
    assert drive.say("mail", "refused") == ["ups stop"]

    drive = Drive(Saga("order", ship))
    drive.say("dhl", "unknown")
    drive.wait()
    drive.say("dhl", "failed")
    assert drive.status == "parked"


def test_branches_go_on_side_by_side_and_the_next_step_waits_for_all() -> None:
    saga = Saga("order", Parallel([Step("a"), Step("b")], Step("x", undo="unx")), Step("end"))
    drive = Drive(saga)
    assert [one.action for one in drive.asked] == ["a", "x"]
    assert drive.say("a") == ["b"]
    assert drive.say("b") == []
    assert drive.say("x") == ["end"]


def test_a_branch_on_its_way_is_waited_for_before_anything_is_undone() -> None:
    saga = Saga("order", Parallel(Step("a", undo="una"), Step("x", undo="unx")))
    drive = Drive(saga)
    assert drive.say("a", "refused") == []
    assert drive.status == "compensating"
    drive.wait()  # x is overdue: nobody knows, so it is asked for again, to know
    assert drive.wait() == ["x"]
    assert drive.say("x") == ["unx"]
    assert drive.say("unx") == []
    assert drive.status == "compensated"


def test_a_branch_that_is_known_not_to_have_happened_is_not_asked_for_again() -> None:
    drive = Drive(Saga("order", Parallel(Step("a"), Step("x", undo="unx"))))
    drive.say("x", "failed")
    assert drive.say("a", "refused") == []
    assert drive.status == "compensated"


def test_a_compensation_is_asked_for_again_and_then_parked() -> None:
    drive = Drive(Saga("order", *STEPS))
    drive.say("charge")
    drive.say("reserve", "refused")
    drive.say("refund", "failed")
    assert drive.wait() == ["refund"]
    drive.say("refund", "failed")
    assert drive.status == "parked"
    refusal = drive.machine.apply(Resolve("charge", "refused", phase="undo"), drive.now)
    assert refusal is not None and refusal.code == "NoAnswer"
    drive.machine.apply(Resolve("charge", "done", phase="undo"), drive.now)
    drive.read()
    assert drive.status == "compensated"


def test_a_compensation_that_is_refused_is_for_a_person() -> None:
    drive = Drive(Saga("order", *STEPS))
    drive.say("charge")
    drive.say("reserve", "refused")
    drive.say("refund", "refused")
    assert drive.status == "parked"


def test_an_approval_parks_the_saga_until_somebody_answers() -> None:
    drive = Drive(Saga("order", Step("charge", undo="refund"), Approval("check", within_ms=500)))
    drive.say("charge")
    assert drive.status == "parked"
    early = SagaMachine(drive.saga, "s1", drive.records)
    assert early.apply(Resolve("check", "done", "yes"), 100) is None
    assert early.execution.status == "completed"
    assert drive.wait() == ["refund"]  # nobody answered


def test_an_approval_is_dropped_where_the_saga_is_undone() -> None:
    drive = Drive(Saga("order", Parallel(Step("charge"), Approval("check"))))
    drive.say("charge", "refused")
    assert drive.status == "compensated"


def test_a_start_that_is_repeated_changes_nothing() -> None:
    drive = Drive(Saga("order", *STEPS))
    refusal = drive.machine.apply(Begin("another"), 5)
    assert refusal is not None and refusal.code == "AlreadyStarted"
    assert drive.read() == []


def test_calls_of_one_saga_are_made_one_at_a_time() -> None:
    saga = Saga("order", Parallel(Step("a"), Step("b")))
    drive = Drive(saga, calls=("a", "b"))
    assert [one.action for one in drive.asked] == ["a"]
    assert drive.say("a") == ["b"]


def test_a_call_whose_caller_is_gone_may_have_happened() -> None:
    drive = Drive(Saga("order", Step("charge", retry=TWICE)), calls=("charge",))
    drive.machine.apply(TakeOver(2, from_silent=True), 50)
    drive.read()
    assert [one.kind for one in drive.records[-2:]] == ["saga taken over", "unknown"]
    assert drive.wait() == ["charge"]
    assert (drive.asked[-1].attempt, drive.asked[-1].fence) == (2, 2)


def test_code_goes_on_where_it_catches_a_refusal() -> None:
    async def order(saga: Flow, input: object) -> str:
        try:
            await saga.do("dhl", undo="stop dhl")
            return "dhl"
        except Refused as error:
            assert (error.step, error.why) == ("dhl", "no lamps")
            await saga.do("ups")
            return "ups"

    drive = Drive(Saga("order", order))
    drive.machine.apply(drive.asked[0].reply("refused", why="no lamps"), 0)
    assert drive.read() == ["ups"]
    drive.say("ups")
    assert (drive.status, drive.machine.execution.value) == ("completed", "ups")


def test_code_may_ask_for_the_same_again_and_for_several_at_once() -> None:
    async def order(saga: Flow, input: object) -> object:
        both = await saga.together(saga.do("pick", value=1), saga.do("pick", value=2))
        await saga.approval("check")
        return both

    drive = Drive(Saga("order", order))
    assert [(one.step, one.value, one.key) for one in drive.asked] == [
        ("pick", 1, "s1/pick/pick"),
        ("pick#2", 2, "s1/pick#2/pick"),
    ]
    for command in tuple(drive.asked):
        drive.machine.apply(command.reply(value=command.value), 0)
    drive.read()
    assert drive.status == "parked"
    drive.machine.apply(Resolve("check", "done"), 0)
    drive.read()
    assert drive.machine.execution.value == (1, 2)


def test_code_that_raises_is_parked_until_it_is_mended() -> None:
    broken = True

    async def order(saga: Flow, input: object) -> None:
        await saga.do("charge")
        if broken:
            raise KeyError("cents")
        await saga.do("ship")

    drive = Drive(Saga("order", order))
    drive.say("charge")
    assert drive.status == "parked"
    why, _, line = drive.records[-1].why.rpartition(" at ")
    assert why == "its code raised KeyError: 'cents'"
    assert "test_machine.py:" in line
    broken = False
    drive.machine.apply(Resolve("", "retry"), 0)
    assert drive.read() == ["ship"]


def test_code_that_no_longer_asks_for_what_the_journal_has_is_stuck() -> None:
    async def old(saga: Flow, input: object) -> None:
        await saga.do("charge")

    async def new(saga: Flow, input: object) -> None:
        await saga.do("bill")

    drive = Drive(Saga("order", old))
    machine = SagaMachine(Saga("order", new), "s1", drive.records)
    machine.tick(0)
    assert machine.execution.status == "parked"
    words = "it does not ask for 'charge' any more, which its journal has"
    assert machine.execution.stuck == words
    assert machine.due() is None


def test_steps_that_no_longer_have_one_of_the_journal_are_stuck_too() -> None:
    drive = Drive(Saga("order", Step("charge"), Step("ship")))
    machine = SagaMachine(Saga("order", Step("ship")), "s1", drive.records)
    machine.apply(drive.asked[0].reply("failed"), 0)
    assert machine.execution.status == "parked"
    mended = SagaMachine(drive.saga, "s1", [*drive.records, *machine.take()])
    assert mended.apply(Resolve("", "retry"), 0) is None
    assert mended.execution.status == "running"


def test_a_reply_reads_as_it_was_written() -> None:
    record = Record("asked", 5, step="a", action="a", attempt=1, until_ms=7, value={"x": [1]})
    assert Record.of_text(record.as_text()) == record
    command = Command("s1", "a", "do", "a", "s1/a/a", 2, 1)
    assert command.reply("failed", why="w") == Reply("s1", "a", "do", "a", 2, "failed", None, "w")
