"""Laws of the saga machine, whatever is answered, when, how often, and whoever takes over."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from chaosharness.orchestrators.saga import (
    Begin,
    Command,
    Fallback,
    Flow,
    Parallel,
    Record,
    Refused,
    Retry,
    Saga,
    SagaMachine,
    Step,
    TakeOver,
)

FEW = Retry(times=2, first_ms=10)


async def in_code(saga: Flow, input: object) -> None:
    await saga.do("a", undo="undo a", retry=FEW)
    try:
        await saga.together(saga.do("b", undo="undo b"), saga.do("c", undo="undo c", retry=FEW))
    except Refused:
        await saga.do("d", undo="undo d")
        raise
    await saga.do("e")


SAGAS = [
    Saga("steps", Step("a", undo="undo a", retry=FEW), Step("b"), Step("c", undo="undo c")),
    Saga(
        "branches",
        Parallel(
            Step("a", undo="undo a", retry=FEW),
            [
                Step("b", undo="undo b"),
                Step("c", retry=FEW, fallback=Fallback("c2", undo="undo c2")),
            ],
        ),
        Step("d", undo="undo d", retry=FEW, unknown="undo"),
        Step("e"),
    ),
    Saga("code", in_code),
]

UNDOABLE = {"steps": "ac", "branches": ("a", "b", "c2", "d"), "code": "abcd"}
"""Actions that have one which undoes them, by saga."""


class World:
    """Participants that know their keys, and what has become of each command."""

    def __init__(self) -> None:
        self.decided: dict[str, str] = {}
        self.happened: list[str] = []
        self.under: dict[str, tuple[object, ...]] = {}

    def hear(self, command: Command, wanted: str) -> str:
        """Do what is asked, once for each key; return how it comes out."""
        said = (command.value, command.results, command.input, command.phase)
        assert self.under.setdefault(command.key, said) == said
        if command.phase == "undo":
            wanted = "done" if wanted == "refused" else wanted
        if wanted in ("failed", "lost"):
            return wanted
        how = self.decided.setdefault(command.key, "refused" if wanted == "refused" else "done")
        if how == "done" and command.action not in self.happened:
            self.happened.append(command.action)
        return "unknown" if wanted == "unknown" else how


ANSWERS = st.sampled_from(["done", "done", "refused", "failed", "unknown", "lost", "answer lost"])


@settings(max_examples=150, deadline=None)
@given(data=st.data(), saga=st.sampled_from(SAGAS), by_call=st.booleans())
def test_laws(data: st.DataObject, saga: Saga, by_call: bool) -> None:
    world = World()
    calls = saga.actions() if by_call else frozenset[str]()
    machine = SagaMachine(saga, "s1", calls=calls, lease_ms=50)
    machine.apply(Begin(1), 0)
    journal: list[Record] = []
    open_commands: list[Command] = []
    now = lease = 0
    for turn in range(200):
        new = machine.take()
        journal += new
        open_commands += [machine.command(one) for one in new if one.kind == "asked"]
        if turn % 3 == 0:  # whoever reads it anew has the same in hand
            again = SagaMachine(saga, "s1", journal, calls=calls, lease_ms=50)
            again.lease = lease
            assert again.execution == machine.execution
            machine = again
        calm = turn > 40
        if machine.execution.going in ("completed", "compensated", "parked"):
            break
        if open_commands and (calm or data.draw(st.booleans())):
            index = 0 if calm else data.draw(st.integers(0, len(open_commands) - 1))
            command = open_commands.pop(index)
            how = "done" if calm else data.draw(ANSWERS)
            said = world.hear(command, "done" if how == "answer lost" else how)
            if how not in ("lost", "answer lost"):
                machine.apply(command.reply(said), now)  # type: ignore[arg-type]
        elif not calm and data.draw(st.integers(0, 9)) == 0:
            lease += 1
            machine.apply(TakeOver(lease, from_silent=True), now)
        else:
            due = machine.due()
            if due is None:
                break
            if due > now:
                machine.tick(due - 1)
                assert machine.take() == []
            now = max(now, due)
            machine.tick(now)
    journal += machine.take()
    judge(machine, world, journal)


def judge(machine: SagaMachine, world: World, journal: list[Record]) -> None:
    execution = machine.execution
    happened = world.happened
    assert execution.status in ("completed", "compensated", "parked")
    tasks = execution.of("do")
    if execution.status == "completed":
        assert not any(action.startswith("undo") for action in happened)
        assert all(tasks[step].action in happened for step in tasks)
    elif execution.status == "compensated":
        done = [one for one in journal if one.kind == "done" and one.phase == "do"]
        undone = [one for one in journal if one.kind == "done" and one.phase == "undo"]
        undoable = [one for one in done if one.action in UNDOABLE[machine.saga.name]]
        told = [one.action for one in undone]
        in_reverse = [f"undo {one.action}" for one in reversed(undoable)]
        assert [one for one in told if one in in_reverse] == in_reverse
        for one in set(told) - set(in_reverse):  # what may have happened is undone as well
            assert any(task.unsure and f"undo {task.action}" == one for task in tasks.values())
        for action in happened:
            if action in UNDOABLE[machine.saga.name]:
                assert f"undo {action}" in happened
    else:
        parked = [task for task in execution.tasks.values() if task.state == "parked"]
        assert parked and all(task.unsure or task.phase == "undo" for task in parked)
    before = execution.version
    machine.tick(10**9)
    if execution.status != "parked":
        assert (machine.take(), execution.version) == ([], before)
        assert machine.due() is None
