"""Scripts that nobody wrote: programs drawn from a small alphabet, for a workflow that runs them.

A program has parts; at the end of each the workflow waits until its client, who has given it time
to get there, does what the part says and tells it to go on. So nothing depends on who is faster.
"""

import asyncio
import random
from collections.abc import Awaitable, Iterable
from typing import Any, Final

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, ChildWorkflowError
from temporalio.workflow import ActivityCancellationType

from tests.orchestrators.temporal.scripts.scripts import SCRIPTS, Script, told
from tests.orchestrators.temporal.scripts.workflows import (
    ACTIVITIES,
    WORKFLOWS,
    charge,
    fails_until,
    seconds,
    takes,
)

SEEDS: Final = 64
PATIENCE_S: Final = 0.8
"""How long a client waits beyond what a part takes at most."""

Operation = list[Any]
Program = dict[str, Any]


@activity.defn
async def refuses(order: str) -> str:
    raise ApplicationError(f"no {order}", type="Refused", non_retryable=True)


@activity.defn
async def beats(duration: float) -> str:
    """Beats once, fails, and tells what it had beaten at its next attempt."""
    told = [*activity.info().heartbeat_details]
    activity.heartbeat(f"attempt {activity.info().attempt}")
    await asyncio.sleep(duration)
    if not told:
        raise ApplicationError("the first one", type="First")
    return f"after {told}"


ONCE: Final = RetryPolicy(maximum_attempts=1)
SOON: Final = RetryPolicy(
    initial_interval=seconds(0.1), backoff_coefficient=1.0, maximum_attempts=3
)


@workflow.defn
class Played:
    """Does what its program says, one operation after the other."""

    def __init__(self) -> None:
        self.gone_on = 0
        self.told: list[str] = []
        self.children = 0

    @workflow.run
    async def run(self, program: Program) -> list[Any]:
        found: list[Any] = [*program.get("so_far", [])]
        for number, part in enumerate(program["parts"]):
            for operation in part["does"]:
                if operation[0] == "continue as new":
                    rest = {"parts": program["parts"][number + 1 :], "so_far": [*found, "again"]}
                    workflow.continue_as_new(rest)
                found.append(await self.did(operation))
            if part["then"] is not None:
                await workflow.wait_condition(lambda n=number: self.gone_on > n)  # type: ignore[misc]
        return [*found, *self.told]

    async def did(self, operation: Operation) -> Any:
        name, *given = operation
        method = getattr(self, name.replace(" ", "_"))
        try:
            return await method(*given)
        except (ActivityError, ChildWorkflowError, TimeoutError) as error:
            return f"{type(error).__name__}, {type(error.__cause__).__name__}: {error.__cause__}"

    # ---- the alphabet

    async def activity(self, order: str) -> Any:
        return await workflow.execute_activity(charge, order, start_to_close_timeout=seconds(9))

    async def flaky(self, attempt: int) -> Any:
        return await workflow.execute_activity(
            fails_until, attempt, start_to_close_timeout=seconds(9), retry_policy=SOON
        )

    async def refused(self, order: str) -> Any:
        return await workflow.execute_activity(refuses, order, start_to_close_timeout=seconds(9))

    async def beating(self, duration: float) -> Any:
        return await workflow.execute_activity(
            beats, duration, start_to_close_timeout=seconds(9), retry_policy=SOON,
            heartbeat_timeout=seconds(5),
        )  # fmt: skip

    async def late(self, duration: float) -> Any:
        return await workflow.execute_activity(
            takes, duration, start_to_close_timeout=seconds(0.3), retry_policy=ONCE
        )

    async def nobody(self, duration: float) -> Any:
        return await workflow.execute_activity(
            charge, "x", schedule_to_start_timeout=seconds(duration),
            schedule_to_close_timeout=seconds(9), task_queue="nobody polls this",
        )  # fmt: skip

    async def local(self, order: str) -> Any:
        return await workflow.execute_local_activity(
            charge, order, start_to_close_timeout=seconds(9)
        )

    async def local_refused(self, order: str) -> Any:
        return await workflow.execute_local_activity(
            refuses, order, start_to_close_timeout=seconds(9)
        )

    async def sleep(self, duration: float) -> Any:
        await asyncio.sleep(duration)
        return f"slept {duration}"

    async def together(self, one: Operation, other: Operation) -> Any:
        return list(await asyncio.gather(self.did(one), self.did(other)))

    async def race(self, duration: float, limit: float) -> Any:
        """An activity against a timer: who comes second is cancelled."""
        work = workflow.start_activity(
            takes, duration, start_to_close_timeout=seconds(9),
            cancellation_type=ActivityCancellationType.TRY_CANCEL,
        )  # fmt: skip
        try:
            return await asyncio.wait_for(asyncio.shield(work), limit)
        except TimeoutError:
            work.cancel()
            try:
                return await work
            except ActivityError as error:
                await asyncio.sleep(duration)  # it goes on, and ends before anything else begins
                return f"given up, {type(error.__cause__).__name__}"

    async def never_sent(self, order: str) -> Any:
        """An activity and a timer that are cancelled before anybody hears of them."""
        work = workflow.start_activity(charge, order, start_to_close_timeout=seconds(9))
        timer = asyncio.ensure_future(asyncio.sleep(9))
        await asyncio.sleep(0)
        work.cancel()
        timer.cancel()
        found = await asyncio.gather(work, timer, return_exceptions=True)
        return [type(each).__name__ for each in found]

    async def until(self, limit: float) -> Any:
        """What never comes is waited for, for a while."""
        await workflow.wait_condition(lambda: False, timeout=seconds(limit))

    async def patched(self, name: str) -> Any:
        return workflow.patched(name)

    async def memo(self, value: str) -> Any:
        workflow.upsert_memo({"so far": value})
        return workflow.memo_value("so far")

    async def child(self, parts: list[Any]) -> Any:
        self.children += 1
        return await workflow.execute_child_workflow(
            Played.run, {"parts": parts},
            id=f"{workflow.info().workflow_id}-child-{self.children}",
        )  # fmt: skip

    async def failing_child(self, order: str) -> Any:
        return await self.child([{"does": [["raises", order]], "then": None}])

    async def tells_nobody(self, order: str) -> Any:
        other = workflow.get_external_workflow_handle("there is nobody")
        try:
            await other.signal("tell", order)
        except ApplicationError as error:
            return str(error)

    async def raises(self, order: str) -> Any:
        raise ApplicationError(f"ends with {order}", type="Ended")

    # ---- what a client does

    @workflow.signal
    def go_on(self) -> None:
        self.gone_on += 1

    @workflow.signal
    async def tell(self, what: str) -> None:
        self.told.append(what)

    @workflow.signal
    async def tell_slowly(self, what: str) -> None:
        await asyncio.sleep(0.1)
        self.told.append(f"slowly {what}")

    @workflow.update
    async def add(self, what: str) -> int:
        self.told.append(what)
        return len(self.told)

    @add.validator
    def not_nothing(self, what: str) -> None:
        if not what:
            raise ValueError("nothing is nothing")

    @workflow.update
    async def add_done(self, what: str) -> Any:
        told = await self.did(["activity", what])
        self.told.append(told)
        return told

    @workflow.query
    def how_far(self) -> list[Any]:
        return [self.gone_on, self.told]


ACTIVITIES += [refuses, beats]
WORKFLOWS.append(Played)

# ---- programs

_LASTING: Final = {
    "flaky": 0.4, "beating": 0.6, "late": 0.4, "nobody": 0.3, "sleep": 0.4, "race": 1.4,
    "until": 0.3,
    "child": 0.5, "failing child": 0.5,
}  # fmt: skip


def _simple(chance: random.Random) -> Operation:
    """An operation that is over at once, or soon."""
    letter = chance.choice("abc")
    return chance.choice(
        [
            ["activity", letter], ["activity", letter], ["flaky", chance.choice([2, 3, 5])],
            ["refused", letter], ["beating", 0.1], ["late", 0.6], ["nobody", 0.2],
            ["local", letter], ["local refused", letter], ["sleep", chance.choice([0.1, 0.2])],
            ["race", 0.1, 0.6], ["race", 0.9, 0.3], ["never sent", letter], ["until", 0.2],
            ["patched", letter], ["memo", letter], ["tells nobody", letter],
        ]
    )  # fmt: skip


def _operation(chance: random.Random) -> Operation:
    match chance.randrange(10):
        case 0 | 1:
            return ["together", chance.choice([["activity", "d"], ["local", "d"]]),
                    chance.choice([["sleep", 0.4], ["race", 0.9, 0.4]])]  # fmt: skip
        case 2:
            does = [_simple(chance) for _ in range(chance.randint(1, 2))]
            return ["child", [{"does": does, "then": None}]]
        case 3:
            return ["failing child", chance.choice("abc")]
        case _:
            return _simple(chance)


CLIENT: Final = (
    ["go on"], ["go on"], ["tell", "x"], ["tell slowly", "y"], ["add", "z"], ["add", ""],
    ["add done", "w"], ["ask"],
)  # fmt: skip
ENDINGS: Final = (["cancel"], ["terminate"])


def program(seed: int) -> Program:
    """Draw a program: always the same for a seed."""
    chance = random.Random(f"script {seed}")
    parts: list[dict[str, Any]] = []
    for _ in range(chance.randint(1, 3)):
        does = [_operation(chance) for _ in range(chance.randint(1, 3))]
        acts = [chance.choice(CLIENT) for _ in range(chance.randint(0, 2))]
        parts.append({"does": does, "then": [one for one in acts if one != ["go on"]]})
    ending = chance.randrange(8)
    if ending == 0:
        parts[-1]["then"] = [*parts[-1]["then"], chance.choice(ENDINGS)]
    elif ending == 1:
        parts[0]["does"].append(["raises", "e"])
    elif ending == 2:
        again = {"does": [_operation(chance)], "then": None}
        parts = [*parts[:1], {"does": [["continue as new"]], "then": None}, again]
    else:
        parts[-1]["then"] = None
    return {"parts": parts}


def lasts(value: Any) -> float:
    """How long an operation, or many of them, may take at most."""
    if isinstance(value, list) and value and isinstance(value[0], str):
        own = _LASTING.get(value[0], 0.0)
        return own + 0.1 + sum(lasts(each) for each in value[1:] if isinstance(each, list))
    if isinstance(value, dict):
        return lasts(value["does"])
    return sum(map(lasts, value)) if isinstance(value, list) else 0.0


# ---- the client


def _script(given: Program) -> Script:
    async def plays(client: Client, name: str) -> list[Any]:
        return await play(client, name, given)

    return plays


async def play(client: Client, name: str, given: Program) -> list[Any]:
    """Start a program, do what its parts say, and return what was answered."""
    handle = await client.start_workflow(Played.run, given, id=name, task_queue=name)
    found: list[Any] = []
    for part in given["parts"]:
        if part["then"] is None:
            break
        await asyncio.sleep(lasts(part) + PATIENCE_S)
        for number, (act, *words) in enumerate(part["then"]):
            found.append(await told(_acted(handle, act, f"u{len(found)}-{number}", *words)))
            await asyncio.sleep(PATIENCE_S)
        if not part["then"] or part["then"][-1] not in ENDINGS:
            await told(handle.signal(Played.go_on))
    return [*found, await told(handle.result())]


def _acted(handle: Any, act: str, id: str, word: str = "") -> Awaitable[Any]:
    match act:
        case "tell":
            return handle.signal(Played.tell, word)  # type: ignore[no-any-return]
        case "tell slowly":
            return handle.signal(Played.tell_slowly, word)  # type: ignore[no-any-return]
        case "add":
            return handle.execute_update(Played.add, word, id=id)  # type: ignore[no-any-return]
        case "add done":
            return handle.execute_update(Played.add_done, word, id=id)  # type: ignore[no-any-return]
        case "ask":
            return handle.query(Played.how_far)  # type: ignore[no-any-return]
        case "cancel":
            return handle.cancel()  # type: ignore[no-any-return]
        case _:
            return handle.terminate("enough")  # type: ignore[no-any-return]


def generated(seeds: Iterable[int]) -> dict[str, Script]:
    """The scripts of some seeds, by name."""
    return {f"generated-{seed:02}": _script(program(seed)) for seed in seeds}


GENERATED: Final = generated(range(SEEDS))
SCRIPTS.update(GENERATED)
