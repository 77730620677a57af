"""Runs in other processes: the same result for any number of them, whatever becomes of one."""

import json
import os
import signal
import subprocess
import sys

import pytest

from chaosharness import External, Property, Schedule, System, explore
from chaosharness.errors import ChaosharnessError, InvalidDefinition, Nondeterminism
from chaosharness.kernel.deadline import called_off_when
from chaosharness.search.planner import batch_sizes
from chaosharness.search.seen import Examiner
from chaosharness.search.workers.channel import Channel, Late
from chaosharness.search.workers.pool import Pool
from chaosharness.search.workers.process import Worker
from chaosharness.search.workers.wire import Wire
from tests.search.planted import Registry, one, right, two
from tests.search.workers.subjects import OWN, loud

TWO = "tests.search.planted:two"

forked = pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform cannot fork")


def told(**words):
    """Return a whole campaign as text."""
    return json.dumps(explore(two(), runs_max=120, **words).to_json(), sort_keys=True)


def pool(system, count=1, **words):
    """Return a pool for a system, and its examiner."""
    examiner = Examiner(system, tuple(system.properties), system.examples)
    examiner.see(Schedule())
    return Pool(examiner, count, **words), examiner


def schedules(system, count):
    """Return the first schedules that a search tries."""
    seen = []
    explore(
        system,
        runs_max=count,
        faults_max=1,
        on_progress=lambda _: None,
        properties=[recorder(seen)],
    )
    return [Schedule(one) for one in seen if one]


def recorder(seen):
    def judge(evidence):
        seen.append(evidence.faults)
        return []

    return Property("recorded", judge)


def spelled(seen):
    """Return all that was seen of a run, but for the run itself."""
    return (
        seen.schedule,
        seen.unused,
        list(seen.attempts.items()),
        seen.ending,
        [(verdict.tested, [one.summary for one in verdict.firsts()]) for verdict in seen.verdicts],
    )


# ---- one result


@pytest.mark.parametrize("mode", ["portfolio", "small-first", "random", "guided"])
@forked
def test_the_result_is_the_same_for_any_number_of_processes(mode):
    alone = told(mode=mode, faults_max=3)
    for workers in (1, 2, 3):
        assert told(mode=mode, faults_max=3, workers=workers) == alone


def test_a_process_that_loads_the_system_anew_says_the_same():
    alone = told(target=TWO)
    assert told(target=TWO, workers=2, start="spawn") == alone


def test_batches_grow_by_one_rule_and_then_stay():
    sizes = batch_sizes()
    assert [next(sizes) for _ in range(9)] == [1, 1, 2, 4, 8, 16, 32, 32, 32]


@forked
def test_what_a_worker_tells_is_what_is_seen_here_and_takes_less_than_a_kilobyte():
    system = two()
    wanted = schedules(system, 60)
    hands, examiner = pool(system, 2)
    here = [examiner.see(one) for one in wanted]
    assert list(map(spelled, hands.results(wanted))) == list(map(spelled, here))
    hands.close()
    wire = Wire(examiner.calm)
    assert max(len(wire.pack(one)) for one in here) < 1_000


@forked
def test_what_breaks_crosses_with_its_cause_and_a_digest():
    system = one()
    wanted = schedules(system, 60)
    hands, examiner = pool(system)
    here = [examiner.see(schedule) for schedule in wanted]
    there = list(hands.results(wanted))
    hands.close()
    assert list(map(spelled, there)) == list(map(spelled, here))
    broken = [place for place, seen in enumerate(here) if seen.verdicts[0].findings]
    assert broken
    for place, seen in enumerate(there):
        assert seen.digest == (here[place].run.digest() if place in broken else "")


@forked
def test_what_the_code_prints_is_printed_once_and_in_order(capsys):
    printed = []
    for workers in (0, 2):
        explore(loud(), faults_max=1, runs_max=12, workers=workers)
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert printed[0].count("step 0\nstep 1") >= 7


# ---- what may become of a process


@forked
def test_a_process_that_is_killed_in_the_middle_of_a_batch_changes_nothing():
    system = two()
    wanted = schedules(system, 40)
    hands, examiner = pool(system, 2)
    told = []
    for place, seen in enumerate(hands.results(wanted)):
        if place in (3, 4, 20):
            os.kill(hands.seats[place % 2].worker.pid, signal.SIGKILL)
        told.append(spelled(seen))
    assert told == [spelled(examiner.see(one)) for one in wanted]
    assert hands.replaced >= 1
    hands.close()


@forked
def test_a_process_that_stands_still_is_replaced():
    system = two()
    wanted = schedules(system, 12)
    hands, examiner = pool(system, 1, patience_s=0.5)
    os.kill(hands.seats[0].worker.pid, signal.SIGSTOP)
    assert [spelled(one) for one in hands.results(wanted)] == [
        spelled(examiner.see(one)) for one in wanted
    ]
    assert hands.replaced >= 1
    hands.close()


@forked
def test_code_that_ends_every_process_is_named_with_its_schedule():
    parent = os.getpid()

    def dies(evidence):
        if evidence.faults and os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return []

    with pytest.raises(ChaosharnessError, match=r"Schedule\(.*was ended by signal 9, 3 times"):
        explore(two(), properties=[Property("dies", dies)], runs_max=20, workers=2)


@forked
def test_what_goes_wrong_in_a_run_is_said_as_if_it_were_made_here():
    def wrong(evidence):
        if len(evidence.faults) == 1 and evidence.faults[0].site.operation.endswith("charge"):
            raise ValueError("a slip")
        return []

    words = []
    for workers in (0, 2):
        with pytest.raises(InvalidDefinition, match="a slip") as caught:
            explore(two(), properties=[Property("wrong", wrong)], runs_max=200, workers=workers)
        words.append(str(caught.value))
    assert words[0] == words[1]


@forked
def test_no_process_is_left_when_a_search_is_broken_off():
    pids = []

    def stop(progress):
        if progress.runs == 30:
            raise KeyboardInterrupt

    began = Pool.__init__

    def noting(self, *arguments, **words):
        began(self, *arguments, **words)
        pids.extend(one.worker.pid for one in self.seats)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pool, "__init__", noting)
        with pytest.raises(KeyboardInterrupt):
            explore(two(), runs_max=300, mode="small-first", workers=2, on_progress=stop)
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@forked
def test_a_worker_ends_by_itself_when_its_parent_is_killed(tmp_path):
    script = tmp_path / "search.py"
    script.write_text(
        "import os, signal\n"
        "from tests.search.workers.test_workers import pool as started, two\n"
        "hands, examiner = started(two(), 2)\n"
        "print(*[one.worker.pid for one in hands.seats], flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    # the pipe has an end when nobody holds it any more: the workers inherited it
    out, _ = process.communicate(timeout=60)
    assert len(out.split()) == 2
    assert process.returncode == -signal.SIGKILL


@forked
def test_what_runs_leave_behind_in_another_process_is_noticed():
    left = []
    parent = os.getpid()

    def judge(evidence):
        if evidence.faults and os.getpid() != parent:
            left.append(1)
        return []

    system = System("leaky")
    book = system.add(External("book", Registry))

    @system.service("work")
    def work(env):
        claim = env.client(book).claim
        env.main(lambda: [claim(f"{at} of {len(left)}") for at in range(3)])

    @system.entry(examples=[1])
    def enter(env, item):
        """Nothing enters."""

    system.claim(Property("left", judge))
    with pytest.raises(Nondeterminism, match="differs between two runs"):
        explore(system, faults_max=2, runs_max=60, workers=1)


# ---- what cannot be told to another process


def test_a_process_that_loads_anew_needs_a_target():
    with pytest.raises(InvalidDefinition, match=r"say target='module:attribute'"):
        explore(two(), runs_max=20, workers=1, start="spawn")


def test_a_claim_of_the_tests_own_cannot_be_loaded_anew():
    with pytest.raises(InvalidDefinition, match="a claim of the test's own"):
        explore(two(), properties=[OWN], target=TWO, runs_max=20, workers=1, start="spawn")


def test_another_system_behind_the_target_is_noticed():
    with pytest.raises(ChaosharnessError, match=r"the calm run of .* is another one"):
        explore(right(), target=TWO, runs_max=20, workers=1, start="spawn")


def test_numbers_that_make_no_sense_are_refused():
    with pytest.raises(InvalidDefinition, match="workers must be a whole number from 0"):
        explore(two(), workers=-1)
    with pytest.raises(InvalidDefinition, match="processes cannot be started by 'thread'"):
        explore(two(), runs_max=20, workers=1, start="thread")


def test_who_waits_for_a_process_hears_that_the_search_was_ended():
    reads, writes = os.pipe()
    waiting = object.__new__(Worker)
    waiting.channel = Channel(reads, writes)

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), called_off_when(stop):
        waiting.answer(1, 0, 60.0)
    with pytest.raises(Late), called_off_when(lambda: False):
        waiting.answer(1, 0, 0.6)
    waiting.channel.close()
