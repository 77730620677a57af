"""Scripts played on our server, and compared with what a real one recorded."""

import json
from pathlib import Path
from typing import Any, Final

from chaosharness import Env, System, Temporal
from tests.orchestrators.temporal.scripts import families, generated, limited, searched, timetabled
from tests.orchestrators.temporal.scripts.normal import normal
from tests.orchestrators.temporal.scripts.scripts import SCRIPTS
from tests.orchestrators.temporal.scripts.workflows import ACTIVITIES, WORKFLOWS

assert (
    families.SCRIPTS is limited.SCRIPTS is searched.SCRIPTS is timetabled.SCRIPTS is SCRIPTS
)  # their scripts are among them
#: Scripts in which the real server does two things in either order: compared without the order.
RACES: Final = frozenset(
    {
        "child-is-cancelled-with-its-parent",
        "child-whose-namesake-is-terminated",
        "two-children-at-once",
    }
)
RECORDED: Final = Path(__file__).with_name("recorded.json")
RECORDED_GENERATED: Final = RECORDED.with_name("recorded_generated.json")


def recordings() -> dict[str, Any]:
    """What a real server told, by script."""
    found: dict[str, Any] = {}
    for path in (RECORDED, RECORDED_GENERATED):
        found |= json.loads(path.read_text()) if path.exists() else {}
    return found


def keep(recorded: dict[str, Any]) -> None:
    """Keep what a real server told: of generated scripts one a line."""
    written = {name: one for name, one in recorded.items() if name not in generated.GENERATED}
    RECORDED.write_text(json.dumps(written, indent=1, sort_keys=True) + "\n")
    lines = [
        f"{json.dumps(name)}: {json.dumps(one, separators=(',', ':'), sort_keys=True)}"
        for name, one in sorted(recorded.items())
        if name in generated.GENERATED
    ]
    RECORDED_GENERATED.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def system(name: str, answers: list[Any]) -> System:
    """One worker, and a client that plays the script."""
    made = System("script")
    temporal = made.add(Temporal("temporal", timetable_runs=5))

    @made.service("worker")
    def worker(env: Env) -> None:
        env.worker(temporal, task_queue=name, workflows=WORKFLOWS, activities=ACTIVITIES)

    @made.entry(examples=[name])
    async def client(env: Env, name: str) -> None:
        answers[:] = await SCRIPTS[name](env.client(temporal), name)

    return made


def played(name: str) -> dict[str, Any]:
    """What the script is told by our server, and the histories of its workflows."""
    answers: list[Any] = []
    run = system(name, answers).run([name])
    histories = {
        workflow: normal(json.loads(text), name) for workflow, text in run.event_histories.items()
    }
    return {"answers": answers, "histories": histories}


def kinds(events: list[Any]) -> list[str]:
    """The kinds of events but of workflow tasks, which may be one or two, in no order."""
    found = [event["eventType"].removeprefix("EVENT_TYPE_") for event in events]
    return sorted(kind for kind in found if not kind.startswith("WORKFLOW_TASK"))


def difference(name: str, recorded: dict[str, Any]) -> str:
    """The first difference from what was recorded; empty where there is none."""
    ours = played(name)
    if ours["answers"] != recorded["answers"]:
        return f"the answers {recorded['answers']} are wanted, not {ours['answers']}"
    for workflow, wanted in recorded["histories"].items():
        got = json.loads(json.dumps(ours["histories"].get(workflow, [])))
        if name in RACES:
            wanted, got = kinds(wanted), kinds(got)
        for one, other in zip(wanted, got, strict=False):
            if one != other:
                return f"of {workflow} the event {one} is wanted, not {other}"
        if len(wanted) != len(got):
            if name in RACES:
                return f"of {workflow} the events {wanted} are wanted, not {got}"
            return f"of {workflow} {len(wanted)} events are wanted, not {len(got)}"
    return ""
