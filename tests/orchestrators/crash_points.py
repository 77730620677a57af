"""A death at every point of an order saga, on every engine: what comes of it, and what is doubled.

With participants that know their keys the result is that of the calm run wherever the death comes.
With a fresh key at each attempt they know nothing, and what is made twice is what the engine's
rules say, and nothing else: `Engine.doubles` is that prediction.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

import attrs

from chaosharness import Crash, Run, Schedule, Site, System
from models.airflow import broken as airflow_broken
from models.airflow import right as airflow_right
from models.conductor import broken as conductor_broken
from models.conductor import right as conductor_right
from models.saga_engine import broken as saga_broken
from models.saga_engine import right as saga_right
from models.step_functions import broken as step_functions_broken
from models.step_functions import right as step_functions_right
from models.temporal import broken as temporal_broken
from models.temporal import right as temporal_right


@attrs.frozen
class Engine:
    """An order saga on one engine.

    Attributes:
        right: Its participants know their keys.
        keyless: They are given another key at each attempt, so that they know nothing.
        rules: By which a death doubles a charge: see `docs/explanation/orchestrators.md`.
        doubles: Whether they say so of a death, and of the run in which it came.
        places: Beginnings of the operations at which a death may come; else all but the client's.
    """

    right: Callable[[], System]
    keyless: Callable[[], System]
    rules: str
    doubles: Callable[[Crash, Run], bool]
    places: tuple[str, ...] = ("",)


def _at(*ends: tuple[str, str]) -> Callable[[Crash, Run], bool]:
    """Of a charge that was made, and whose end nobody was told: sites by their ends, and phase."""

    def said(crash: Crash, _: Run) -> bool:
        site = crash.site
        return any(site.operation.endswith(end) and site.phase == phase for end, phase in ends)

    return said


def _unrecorded(_: Crash, run: Run) -> bool:
    """Whether the orchestrator died between a charge and the commit that records its answer."""
    for effect in run.history.of("effect"):
        if effect.data.get("method") != "charge":
            continue
        caller = run.history[effect.cause].actor
        later = [one for one in list(run.history)[effect.index :] if one.actor == caller]
        next_one = next((one.kind for one in later if one.kind in ("commit", "crash")), "")
        if next_one == "crash":
            return True
    return False


_DONE: Final = (("charge/bank.charge", "after"), ("charge/handle", "after"))

ENGINES: Final = {
    "saga": Engine(
        saga_right.build, saga_broken.answer_not_recorded, "N14", _unrecorded,
        ("orchestrator.on_order/",),
    ),
    # Done, and its end was not reported: the attempt times out, and there is another one.
    "temporal": Engine(
        temporal_right.build, temporal_broken.key_of_attempt, "T11, T13", _at(*_DONE)
    ),
    # A function that dies says nothing of what it did.
    "step functions": Engine(
        step_functions_right.build, step_functions_broken.key_of_attempt, "S2", _at(*_DONE)
    ),
    "conductor": Engine(
        conductor_right.build, conductor_broken.key_of_attempt, "C3, C4",
        _at(*_DONE, ("charge/report", "before")),
    ),
    "airflow": Engine(airflow_right.build, airflow_broken.key_of_try, "A3, A6", _at(*_DONE)),
}  # fmt: skip


def points(engine: Engine, run: Run) -> Iterator[Crash]:
    """Yield a death at every site that a run has reached, each time; clients do not die."""
    for (operation, entity, message), times in run.attempts.items():
        surface = run.surfaces.get(operation)
        if surface is None or operation.startswith("client."):
            continue
        if not operation.startswith(engine.places):
            continue
        for attempt in range(1, times + 1):
            for phase in ("before", "after"):
                if Crash in getattr(surface, phase):
                    yield Crash(Site(operation, phase, entity, attempt, message=message))  # type: ignore[arg-type]


def effects(run: Run) -> Counter[str]:
    """What third parties did, with how often."""
    return Counter(
        f"{event.actor}.{json.dumps(dict(event.data), sort_keys=True)}"
        for event in run.history.of("effect")
    )


def state(run: Run) -> list[object]:
    """What is there in the end, of all but the engines' own tables of attempts."""
    return [dict(event.data) for event in run.history.of("state")]


def wrong_results(engine: Engine, item: int) -> tuple[int, list[str]]:
    """Let one order die everywhere: return at how many points, and where the end is another."""
    shop = engine.right()
    items = [shop.examples[item]]
    calm = shop.run(items)
    crashes = [*points(engine, calm)]
    wrong = []
    for crash in crashes:
        run = shop.run(items, Schedule((crash,)))
        if run.unused or effects(run) != effects(calm) or state(run) != state(calm):
            wrong.append(str(crash.site))
    return len(crashes), wrong


def charges(run: Run) -> int:
    """How often money was taken."""
    return sum(one.data.get("method") == "charge" for one in run.history.of("effect"))


def doubled(engine: Engine) -> tuple[int, dict[str, bool], dict[str, bool]]:
    """Let an order without keys die everywhere: what is doubled, and what the rules say is."""
    shop = engine.keyless()
    items = [shop.examples[0]]
    calm = shop.run(items)
    assert charges(calm) == 1
    found: dict[str, bool] = {}
    predicted: dict[str, bool] = {}
    for crash in points(engine, calm):
        run = shop.run(items, Schedule((crash,)))
        assert charges(run) in (1, 2)
        found[str(crash.site)] = charges(run) == 2
        predicted[str(crash.site)] = engine.doubles(crash, run)
    return len(found), found, predicted
