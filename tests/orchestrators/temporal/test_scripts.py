"""Client code and workflows, unmodified, as a real server and the real sdk-core answered them."""

from importlib.metadata import version
from typing import Any

import pytest

pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is not installed")

from chaosharness import Crash, Schedule, Site, explore
from chaosharness.faults import Fault
from chaosharness.system.run import OBSERVERS, Run
from tests.orchestrators.temporal.replayed import refusals
from tests.orchestrators.temporal.scripts.generated import GENERATED
from tests.orchestrators.temporal.scripts.played import difference, recordings, system
from tests.orchestrators.temporal.scripts.scripts import SCRIPTS
from tests.orchestrators.temporal.scripts.workflows import WORKFLOWS

RECORDINGS = recordings()


def test_every_script_is_recorded() -> None:
    assert sorted(RECORDINGS) == sorted(SCRIPTS)
    assert len(SCRIPTS) > 100


OLD = tuple(map(int, version("temporalio").split(".")[:2])) < (1, 24)
NOT_CANCELLED = {"start-delay-and-cancellation"}
"""A workflow that is cancelled before its first task is not told of it by the library before 1.24:
it drops a cancellation that comes with the start."""


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_our_server_answers_and_writes_what_the_real_one_did(name: str) -> None:
    found = difference(name, RECORDINGS[name])
    if OLD and name in NOT_CANCELLED:
        assert "EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED" in found
        assert "is wanted, not {'eventId': '6', 'eventType': 'EVENT_TYPE_TIMER_STARTED'" in found
    else:
        assert found == ""


def test_the_real_core_accepts_every_history() -> None:
    runs = [system(name, []).run([name]) for name in sorted(SCRIPTS)]
    assert refusals(runs, WORKFLOWS) == []


def under_every_fault(name: str) -> list[Run]:
    """The runs of a script under all single faults."""
    runs: list[Run] = []
    token = OBSERVERS.set((*OBSERVERS.get(), runs.append))
    try:
        explore(system(name, []), properties=(), faults_max=1, mode="small-first")
    finally:
        OBSERVERS.reset(token)
    return runs


def teller_was_refused(name: str, run: Run) -> bool:
    """Say whether the client was told no when it began who would have told the other workflow.

    The other one waits for ever then, as it would for a client that went home.
    """
    begins = [event for event in run.history.of("call") if event.operation.endswith(STARTS)]
    tellers = [one.index for one in begins if one.data["workflow_id"] == f"{name}-teller"]
    replies = [event for event in run.history.of("reply") if event.operation.endswith(STARTS)]
    return bool(tellers) and replies[-1].data["outcome"] == "failed"


STARTS = "temporal.start_workflow_execution"
WRITTEN = sorted(
    set(SCRIPTS) - set(GENERATED)
)  # all of them: `benchmarks.temporal_scripts --faults`
QUICK = ("local-activity-backs-off", "signal-while-a-local-activity-runs", "update-with-start")

ENDLESS = ("search-attribute-misnamed", "child-is-terminated")
"""Where nobody terminates it: it is tried for ever, or the client comes before the child."""
WITHOUT_A_WORKFLOW = ("query-of-nothing", "searched-by-what-there-is-not", "cron-that-is-none")


@pytest.mark.parametrize(
    "name",
    [*QUICK, *(pytest.param(n, marks=pytest.mark.slow) for n in WRITTEN if n not in QUICK)],
)
def test_the_real_core_accepts_what_every_single_fault_leads_to(name: str) -> None:
    runs = under_every_fault(name)
    if name not in ENDLESS and not name.startswith("cron"):  # a late client waits for more runs
        restless = [run for run in runs if run.ending.verdict != "quiet"]
        assert all(teller_was_refused(name, run) for run in restless)
    if name not in WITHOUT_A_WORKFLOW:
        assert refusals(runs, WORKFLOWS) == []


def ran(name: str, *faults: Fault) -> tuple[list[Any], Run]:
    """What a script is told under faults, and its run."""
    answers: list[Any] = []
    run = system(name, answers).run([name], Schedule(faults))
    return answers, run


def handled(run: Run, place: str) -> int:
    """How often something was carried out."""
    return sum(e.kind == "handled" and e.operation == f"{place}/handle" for e in run.history)


def test_a_local_activity_is_done_again_by_the_next_worker() -> None:
    crash = Crash(Site("worker.Locally/store decision"))
    answers, run = ran("local-activities", crash)
    assert answers == [["charged a", "charged b", "charged c"]]
    assert handled(run, "worker.charge") == 6


def test_a_local_activity_is_done_again_when_something_is_told_meanwhile() -> None:
    answers, run = ran("signal-while-a-local-activity-runs")
    assert answers == ["took 1.0"]
    assert handled(run, "worker.takes") == 2


def test_a_question_waits_for_the_worker_that_knew_and_then_goes_to_another() -> None:
    crash = Crash(Site("worker.Ledger/store decision", "after"))
    answers, run = ran("query", crash)
    assert answers == RECORDINGS["query"]["answers"]
    assert run.history[-1].at_ms > 10_000


def test_an_accepted_update_is_not_lost_with_its_worker() -> None:
    for attempt in (1, 2, 3):
        crash = Crash(Site("worker.Ledger/store decision", attempt=attempt))
        answers, _ = ran("update-that-takes-time", crash)
        assert sorted(answers[-1]) == ["a", "b"]


def test_a_client_waits_for_an_end_as_long_as_it_takes() -> None:
    crash = Crash(Site("worker.Locally/store decision"), down=60_000)
    answers, run = ran("local-activities", crash)
    assert answers == [["charged a", "charged b", "charged c"]]
    polls = [e for e in run.history if e.kind == "call" and "history" in str(e.data)]
    assert len(polls) > 2
