"""Random requests of processes of tasks, answered by Airflow's own execution API and by ours.

python -m benchmarks airflow_requests

Random DAGs as in `benchmarks/airflow.py`. Between two rounds of the scheduler a process asks for
something: to begin a try, by the same process or another one; a heartbeat; success, failure, skip,
reschedule; to skip what comes after. It asks by the id of the present try or of an earlier one, in
order or not. Status codes are compared, and after each round all states, tries and the run's state.
"""

from __future__ import annotations

import contextlib
import io
import random
import sys
import time
import warnings
from functools import cache
from typing import Any

from benchmarks.airflow import Real, prepare, random_dag
from chaosharness.machines.machine import Refusal
from chaosharness.orchestrators.airflow.definition import AirflowDAG
from chaosharness.orchestrators.airflow.machine import Machine
from chaosharness.orchestrators.airflow.reader import read_dag
from chaosharness.orchestrators.airflow.records import DagRun

SEQUENCES = 60
STEPS_MAX = 40
ASKED = (
    *("start", "start", "heartbeat", "success", "failed", "failed", "failed for good"),
    *("skipped", "up_for_reschedule", "skip downstream"),
)


@cache
def api_client() -> Any:
    """Return a client of Airflow's execution API, in this process."""
    import httpx
    from airflow.api_fastapi.execution_api.app import InProcessExecutionAPI

    return httpx.Client(
        transport=InProcessExecutionAPI().transport, base_url="http://airflow.invalid/"
    )


class Process:
    """Asks both: what Airflow answers, and what ours does, as HTTP status codes."""

    def __init__(self, machine: Machine, dag: AirflowDAG, run: DagRun) -> None:
        self.machine, self.dag, self.run = machine, dag, run
        self.client = api_client()

    def _theirs(self, method: str, id: str, what: str, **body: Any) -> int:
        from airflow.utils import timezone

        for name in [name for name, value in body.items() if value == "now"]:
            body[name] = timezone.utcnow().isoformat()
        code = self.client.request(method, f"/task-instances/{id}/{what}", json=body).status_code
        return 200 if code == 204 else code

    def ask(self, what: str, task_id: str, ids: tuple[str, str], pid: int, at_ms: int) -> Any:
        """Return our status code and Airflow's; None where nothing was asked."""
        ours, theirs = ids
        machine, task = self.machine, self.run.tasks[task_id]
        answer: Any
        match what:
            case "start":
                answer = machine.start(ours, str(pid), at_ms)
                code = self._theirs("PATCH", theirs, "run", state="running", hostname="host",
                                    unixname="me", pid=pid, start_date="now")  # fmt: skip
            case "heartbeat":
                own = int(task.holder or 1)
                answer = machine.heartbeat(ours, at_ms)
                code = self._theirs("PUT", theirs, "heartbeat", hostname="host", pid=own)
            case "skip downstream":
                after = self.dag.after(task_id)
                if not after or (task.state, task.id) != ("running", ours):
                    return None  # a process skips while it runs, and only then
                answer = machine.skip(ours, after)
                code = self._theirs("PATCH", theirs, "skip-downstream", tasks=[*after])
            case "up_for_reschedule":
                answer = machine.finish(ours, what, at_ms, due_ms=0)
                code = self._theirs("PATCH", theirs, "state", state=what, end_date="now",
                                    reschedule_date="now")  # fmt: skip
            case "failed" | "failed for good":
                final = what != "failed" or task.state == "failed"
                again = not final and task.try_number <= task.max_tries
                answer = machine.finish(ours, "failed", at_ms, final=final)
                state = "up_for_retry" if again else "failed"  # its process knows: `should_retry`
                code = self._theirs("PATCH", theirs, "state", state=state, end_date="now")
            case _:
                answer = machine.finish(ours, what, at_ms)
                code = self._theirs("PATCH", theirs, "state", state=what, end_date="now")
        return (int(answer.code) if isinstance(answer, Refusal) else 200), code


def difference(seed: int) -> str:
    """Say where ours and Airflow answer or decide differently; nothing where they do not."""
    from airflow.utils.session import create_session

    chance = random.Random(seed)
    made = random_dag(chance, f"requests_{seed}", mapped=0)
    dag = read_dag(made)
    machine = Machine({dag.dag_id: dag})
    run = machine.trigger(dag.dag_id, "r", {}, 0)
    assert isinstance(run, DagRun)
    process = Process(machine, dag, run)
    ids: dict[str, list[tuple[str, str]]] = {name: [] for name in run.tasks}
    with create_session() as session:
        real = Real(made, session)
        for step in range(STEPS_MAX):
            real.decide()
            machine.schedule(step * 1_000)
            real.queue()
            for name, id in real.ids().items():
                if (pair := (run.tasks[name].id, id)) not in ids[name]:
                    ids[name].append(pair)
            mine = {name: (one.state, one.try_number) for name, one in run.tasks.items()}
            if (mine, run.state) != (real.states(), real.state):
                return f"seed {seed}, step {step}: {mine} {run.state}, Airflow {real.states()}"
            if run.state != "running":
                return ""
            busy = [name for name, one in run.tasks.items() if one.state in ("queued", "running")]
            name = chance.choice(busy if busy and chance.random() < 0.75 else list(mine))
            which = ids[name][-1] if chance.random() < 0.75 else chance.choice(ids[name])
            what, pid = chance.choice(ASKED), chance.choice((1, 1, 1, 2))
            codes = process.ask(what, name, which, pid, step * 1_000)
            time.sleep(0.002)
            session.commit()
            if codes is not None and codes[0] != codes[1]:
                return f"seed {seed}, step {step}: {what} of {which[0]}: {codes[0]}, not {codes[1]}"
    return ""


def differences(count: int) -> list[str]:
    """Return where sequences 0 up to a number differ."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        prepare()
        return [found for seed in range(count) if (found := difference(seed))]


def main(count: int = SEQUENCES) -> int:
    """Print how many sequences differ, and where."""
    started = time.perf_counter()
    found = differences(count)
    print(*found, sep="\n", end="\n" if found else "")
    took = time.perf_counter() - started
    print(f"{count} sequences of {STEPS_MAX} requests: {len(found)} differ ({took:.0f} s)")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else SEQUENCES))
