"""Soaks: what was told is kept, and what was run adds up, whoever is killed meanwhile."""

import json
import os
import selectors
import signal
import subprocess
import sys
from functools import partial

import pytest

from chaosharness import Schedule
from chaosharness.counterexample import Counterexample
from chaosharness.errors import ChaosharnessError, InvalidDefinition, InvalidSchedule
from chaosharness.search.soak.folder import Folder, News
from chaosharness.search.soak.soak import Over, soak
from chaosharness.search.soak.total import Total
from tests.search.planted import one, right, two

WORDS = {"slice_runs": 60, "slices_max": 4, "exact_max": 1, "faults_max": 4}


def over_after(runs):
    """Return what ends a soak after so many runs."""
    left = iter(range(runs))

    def seen(progress):
        if next(left, None) is None:
            raise Over

    return seen


# ---- what adds up


def test_slices_of_all_soaks_add_up(tmp_path):
    first = soak(right(), tmp_path, **WORDS)
    before = first.total()
    second = soak(right(), tmp_path, **WORDS)
    after = second.total()
    assert (first.folder.number, second.folder.number) == (1, 2)
    assert (before.slices, after.slices) == (4, 8)
    assert after.runs > before.runs
    assert all(after.cells[cell] >= times for cell, times in before.cells.items())
    assert after.tested["never charged twice"] > before.tested["never charged twice"]


def test_every_schedule_is_run_once_in_a_folder_and_not_again(tmp_path):
    done = soak(right(), tmp_path, slice_runs=400, slices_max=2, exact_max=1, faults_max=3)
    (calm, level) = [done.total().levels[faults] for faults in (0, 1)]
    assert calm.complete and level.complete
    assert done.covers_everything()
    by_chance = done.total().chance
    second = soak(right(), tmp_path, slice_runs=40, slices_max=2, exact_max=1, faults_max=3)
    assert second.covers_everything()
    assert second.total().levels[1] == level
    assert second.total().chance > by_chance


def test_the_same_soak_finds_the_same_for_any_number_of_processes(tmp_path):
    told = []
    for workers in (0, 2):
        place = tmp_path / str(workers)
        done = soak(two(), place, workers=workers, **WORDS)
        files = sorted(str(path.relative_to(place)) for path in place.rglob("*.json"))
        told.append(([repr(one.schedule) for one in done.found], files, done.total()))
    assert told[0] == told[1]
    assert told[0][0]


def test_chance_of_another_soak_is_another(tmp_path):
    for _ in range(2):
        soak(right(), tmp_path, slice_runs=30, slices_max=2, exact_max=0, faults_max=4)
    slices = list(Folder(tmp_path, "shop", right().run().digest()).slices())
    assert len({one["seed"] for one in slices}) == len(slices) == 4


def test_what_led_to_something_new_is_shared(tmp_path):
    soak(right(), tmp_path, slice_runs=60, slices_max=3, exact_max=0, faults_max=4)
    folder = Folder(tmp_path, "shop", right().run().digest())
    known = folder.corpus()
    assert known and all(one.facts for one in known)
    facts = set().union(*(one.facts for one in known))
    soak(right(), tmp_path, slice_runs=60, slices_max=3, exact_max=0, faults_max=4)
    new = [one for one in folder.corpus() if one not in known]
    assert all(one.facts - facts for one in new)


def test_another_version_of_the_system_begins_anew_but_for_its_findings(tmp_path):
    soak(one(), tmp_path, **WORDS)
    other = soak(right(), tmp_path, **WORDS)
    assert (other.folder.number, other.total().slices) == (1, 4)
    assert [one.property for one in other.folder.known()] == ["never charged twice"]


# ---- what is not lost


def test_what_the_folder_has_is_not_told_again_but_counts(tmp_path):
    first = soak(one(), tmp_path, **WORDS)
    assert [found.property for found in first.found] == ["never charged twice"]
    second = soak(one(), tmp_path, **WORDS)
    assert (second.found, list(second.again)) == ([], ["shop-never-charged-twice"])


def test_a_slice_that_is_broken_off_counts_as_far_as_it_went(tmp_path):
    done = soak(right(), tmp_path, on_progress=over_after(25), exact_max=1, faults_max=4)
    assert done.ended == "its time is over"
    assert 25 <= done.total().runs <= 26


def test_what_cannot_be_written_now_is_written_later(tmp_path, monkeypatch):
    refused = []
    record = Folder.record

    def full(self, slice, value):
        if slice == 1 and not refused:
            refused.append(slice)
            raise ChaosharnessError("no space left on device")
        record(self, slice, value)

    monkeypatch.setattr(Folder, "record", full)
    done = soak(right(), tmp_path, **WORDS)
    assert refused and not done.trouble
    assert done.total().slices == 4


def test_what_can_never_be_written_is_said_and_what_was_found_is_there(tmp_path, monkeypatch):
    def full(self, slice, value):
        raise ChaosharnessError("no space left on device")

    monkeypatch.setattr(Folder, "record", full)
    done = soak(one(), tmp_path, **WORDS)
    assert done.trouble == "no space left on device"
    assert done.found


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 9_000, '{"chaosharness": 1}', "\ud800"])
def test_files_that_somebody_spoiled_are_passed_over(tmp_path, text):
    soak(right(), tmp_path, **WORDS)
    spoiled = text.encode("utf-8", "surrogatepass")
    (version,) = [one for one in tmp_path.iterdir() if one.name != "findings"]
    for place in ("corpus", "slices"):
        (version / place / "0.json").write_bytes(spoiled)
    (tmp_path / "findings" / "strange.json").write_bytes(spoiled)
    done = soak(right(), tmp_path, **WORDS)
    assert done.total().slices == 8


def test_news_in_a_file_are_what_they_were():
    news = News(Schedule(), frozenset({("effect", "bank", "", 2)}))
    assert News.decode(news.encode("shop"), "shop") == news
    with pytest.raises(InvalidSchedule, match="facts"):
        News.decode(Schedule().encode(system="shop"), "shop")
    with pytest.raises(InvalidSchedule, match="'shop'"):
        News.decode(news.encode("shop"), "bank")


def test_slices_that_make_no_sense_count_nothing():
    total = Total.of([{}, {"cells": 7}, {"cells": {"a": 1}, "levels": [], "runs": 1}])
    assert (total.slices, total.runs, total.cells) == (0, 0, {})


def test_a_place_that_is_no_folder_is_one_clear_line(tmp_path):
    place = tmp_path / "file"
    place.write_text("")
    with pytest.raises(ChaosharnessError, match=r"cannot be written to: .*choose another folder"):
        soak(right(), place / "below", **WORDS)


def test_numbers_that_make_no_sense_are_refused(tmp_path):
    with pytest.raises(InvalidDefinition, match="faults_max"):
        soak(right(), tmp_path, faults_max=0)


# ---- the command line


def command(tmp_path, target, *options, **process):
    return subprocess.Popen(
        [sys.executable, "-m", "chaosharness", "soak", target, "--folder", str(tmp_path), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **process,
    )


def who_tells(processes, words):
    """Return the process that prints these words first: what one has told, no other tells again."""
    with selectors.DefaultSelector() as waiting:
        for process in processes:
            waiting.register(process.stdout, selectors.EVENT_READ, process)
        while waiting.get_map():
            for key, _ in waiting.select():
                line = key.fileobj.readline()
                if line.startswith(words):
                    return key.data
                if not line:
                    waiting.unregister(key.fileobj)
    raise AssertionError(f"none of them told {words!r}")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the platform knows no kill -9")
def test_two_side_by_side_and_one_of_them_killed_at_its_first_finding(tmp_path):
    words = ("tests.search.planted:one", "--exact", "1", "--seconds", "600")
    both = [command(tmp_path, *words, "--workers", "2"), command(tmp_path, *words)]
    killed = who_tells(both, "BROKEN: never charged twice")
    (beside,) = (one for one in both if one is not killed)
    killed.send_signal(signal.SIGKILL)
    killed.wait(60)
    file = tmp_path / "findings" / "shop-never-charged-twice.json"
    assert Counterexample.decode(file.read_text()).property == "never charged twice"
    _, error = beside.communicate(timeout=120)
    assert beside.returncode == 1, error
    again = command(tmp_path, *words, "--json")
    told = json.loads(again.communicate(timeout=120)[0])
    assert (told["soak"], told["again"], told["found"]) == (3, ["shop-never-charged-twice"], [])


def test_what_stands_in_no_file_is_not_said_to_be_there(tmp_path):
    """A page is larger than what this disk takes, as far as the process can tell."""
    resource = pytest.importorskip("resource")
    small = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (8_000, 8_000))
    words = ("tests.search.planted:one", "--seconds", "60", "--exact", "1")
    out, error = command(tmp_path, *words, preexec_fn=small).communicate(timeout=120)
    assert out.startswith("BROKEN: never charged twice")
    assert f"1 new finding; {tmp_path / 'findings'} has none of them" in out
    assert "cannot be written" in error


def test_a_soak_that_is_told_to_stop_says_what_it_ran(tmp_path):
    process = command(tmp_path, "tests.search.planted:right", "--hours", "5")
    while not list(tmp_path.glob("*/slices/*.json")):
        assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGTERM)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 2, error
    assert "ended since it was told to stop" in out
    assert ("0 new findings" in out and "random schedules" in out) or "schedules" in out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--seconds", "0"], "'--seconds': 0.0 is not in the range x>0"),
        (["--seconds", "nan"], "'--seconds': 'nan' is no number"),
        (["--seconds", "1", "--hours", "1"], "not both"),
        (["--workers", "-1"], "'--workers': -1 is not in the range x>=0"),
        (["--folder", os.devnull], "choose another folder"),
    ],
)
def test_a_soak_that_cannot_be_is_one_clear_line(tmp_path, options, words):
    from click.testing import CliRunner

    from chaosharness.cli import main

    folder = [] if "--folder" in options else ["--folder", str(tmp_path)]
    told = CliRunner().invoke(main, ["soak", "tests.search.planted:right", *folder, *options])
    assert told.exit_code == 3
    assert words in told.stderr and told.stderr.count("\n") == 1
