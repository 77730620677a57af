"""Files: what is in them, how large they are, that they replay, and that they are whole."""

import json
import os
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from chaosharness.counterexample import Counterexample, claimed
from chaosharness.errors import ChaosharnessError, InvalidDefinition, InvalidSchedule
from chaosharness.faults import Crash, Delay
from chaosharness.kernel.site import Site
from chaosharness.reporting import (
    FORMATS,
    history_from_json,
    history_to_json,
    to_json,
    to_pytest,
    write,
)
from chaosharness.reporting.formats.snippets import schedule_code
from chaosharness.schedule import Schedule
from tests.inner_pytest import LEAN
from tests.reporting.shops import CRASH, NO_RECEIPT, double_charge, small

ROOT = Path(__file__).parents[3]


# ---- JSON


def test_the_file_of_a_one_fault_bug_fits_in_a_kilobyte_and_reads_back():
    one = double_charge()
    text = to_json(one)
    assert len(text.encode()) <= 1024
    back = Counterexample.decode(text)
    assert back.schedule == one.schedule
    assert back.items == one.items
    assert back.digest == one.digest


def test_the_history_beside_it_reads_back_the_same():
    history = double_charge().history
    text = history_to_json(history, system="shop")
    assert history_from_json(text).digest() == history.digest() == json.loads(text)["digest"]
    assert len(text.splitlines()) == len(history) + 2, "one event a line"


@pytest.mark.parametrize("text", ["", "[]", '{"chaosharness": 1}', '{"chaosharness": 99}'])
def test_what_is_no_history_is_refused(text):
    with pytest.raises(InvalidSchedule):
        history_from_json(text)


# ---- the generated test


def run_pytest(folder: Path, source: str, system: str) -> subprocess.CompletedProcess[str]:
    """Run a generated test in a process of its own, in which `shop_under_test` is a system."""
    (folder / "shop_under_test.py").write_text(
        f"from tests.reporting.shops import {system} as shop\n", "utf-8"
    )
    (folder / "test_it.py").write_text(source, "utf-8")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *LEAN, "test_it.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_generated_test_fails_on_its_own_and_passes_when_fixed(tmp_path):
    source = to_pytest(double_charge(target="shop_under_test:shop"))
    broken = run_pytest(tmp_path, source, "without_key")
    assert broken.returncode == 1, broken.stdout
    assert "order o1 was charged 2 times" in broken.stdout
    fixed = run_pytest(tmp_path, source, "with_key")
    assert fixed.returncode == 0, fixed.stdout + fixed.stderr


def test_a_test_whose_site_is_gone_proves_nothing_and_says_so(tmp_path):
    source = to_pytest(double_charge(target="shop_under_test:shop"))
    gone = run_pytest(tmp_path, source.replace("payments.on_order/", "payments.old/"), "with_key")
    assert gone.returncode == 1
    assert "No fault found its site" in gone.stdout


def test_the_generated_test_says_what_it_is():
    source = to_pytest(double_charge())
    assert source.startswith(
        '"""never charged twice: order o1 was charged 2 times for 500 cents each; promised: once\n'
    )
    assert "1. payments crashes after bank.charge for item 1 (o1), and restarts at once." in source
    assert 'WORKLOAD = [{"id": "o1", "cents": 500}, {"id": "o2", "cents": 700}]' in source or (
        'WORKLOAD = [{"cents": 500, "id": "o1"}, {"cents": 700, "id": "o2"}]' in source
    )


def test_without_a_target_there_is_no_test_to_write():
    for target in ("", "shop", "shop:", "a b:c", "shop:1"):
        with pytest.raises(InvalidDefinition, match="no test can be written"):
            to_pytest(double_charge(target=target))


def test_a_claim_is_found_by_its_name_also_if_it_was_assumed():
    shop = small()
    assert claimed(shop, "never charged twice") is shop.properties[0]
    assert claimed(shop, "idempotent").assumption
    with pytest.raises(InvalidDefinition, match="does not claim 'no such'"):
        claimed(shop, "no such")


def namespace(source: str) -> dict[str, object]:
    found: dict[str, object] = {}
    exec("from chaosharness import *", found)
    exec(f"value = {source}", found)
    return found


@pytest.mark.parametrize("width", [30, 50, 76, 100])
@pytest.mark.parametrize(
    "schedule",
    [
        Schedule(),
        Schedule([CRASH]),
        Schedule([CRASH, NO_RECEIPT]),
        Schedule([Crash(Site("a.b/" + "very_" * 30 + "long", "after", 3, 2), down="long")]),
        Schedule([Delay(Site('a.b/it\'s "quoted" \\ n'), lasting=250)]),
    ],
)
def test_a_schedule_as_code_is_that_schedule(schedule, width):
    assert namespace(schedule_code(schedule, width))["value"] == schedule


# ---- writing


def test_every_format_is_written_under_the_name_of_the_finding(tmp_path):
    files = write(double_charge(), tmp_path / "new" / "folder")
    assert sorted(file.name for file in files) == [
        "shop-never-charged-twice.history.json",
        "shop-never-charged-twice.html",
        "shop-never-charged-twice.json",
        "shop-never-charged-twice.md",
        "shop-never-charged-twice.txt",
        "test_shop_never_charged_twice.py",
    ]
    assert sorted((tmp_path / "new" / "folder").iterdir()) == sorted(files)
    text = files[0].read_text("utf-8")
    assert "chaosharness replay shop-never-charged-twice.json" in text
    assert tmp_path.as_posix() not in text  # a path of this machine


def test_the_same_finding_overwrites_itself(tmp_path):
    once = {file: file.read_bytes() for file in write(double_charge(), tmp_path)}
    again = {file: file.read_bytes() for file in write(double_charge(), tmp_path)}
    assert once == again
    assert len(list(tmp_path.iterdir())) == len(once)


def test_only_what_was_asked_for_is_written(tmp_path):
    [file] = write(double_charge(), tmp_path, formats=["text"])
    assert file.name == "shop-never-charged-twice.txt"
    assert write(double_charge(target=""), tmp_path, formats="pytest") == ()


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InvalidDefinition, match="no report format 'pdf'; known: text, html"):
        write(double_charge(), tmp_path, formats=["text", "pdf"])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ChaosharnessError, match=r"cannot be written to .*file/reports"):
        write(double_charge(), tmp_path / "file" / "reports")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_nothing_is_left_half_written(tmp_path):
    (tmp_path / "shop-never-charged-twice.md").mkdir()
    with pytest.raises(ChaosharnessError, match="nothing was left half-written"):
        write(double_charge(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["shop-never-charged-twice.md"]


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    before = {file: file.read_bytes() for file in write(double_charge(), tmp_path)}
    really = Path.write_bytes

    def full(path, data):
        if ".html." in path.name:
            really(path, data[:10])
            raise OSError(28, "No space left on device")
        return really(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ChaosharnessError, match="No space left on device"):
        write(attrs.evolve(double_charge(), found_after=99), tmp_path)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("at", range(7))
def test_a_set_is_whole_or_absent_wherever_the_process_ends(tmp_path, monkeypatch, at):
    """The process ends before the last name of the set (0), or before one of the six moves."""

    class Killed(BaseException):
        """Stands for kill -9: nothing is cleaned up."""

    names = ["rename", *["replace"] * 6]
    left = iter(range(at + 1))
    really = {name: getattr(Path, name) for name in set(names)}

    def ends(name):
        def move(path, target):
            if next(left, None) == at:
                raise Killed
            return really[name](path, target)

        return move

    with monkeypatch.context() as patch:
        for name in really:
            patch.setattr(Path, name, ends(name))
        with pytest.raises(Killed):
            write(double_charge(), tmp_path)
    other = attrs.evolve(double_charge(), property="something else")
    later = write(other, tmp_path)
    first = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
    first -= {path.name for path in later}
    assert len(first) == (0 if at == 0 else 6)
    assert not list(tmp_path.glob(".*.whole"))
    if first:
        assert {path.name for path in write(double_charge(), tmp_path)} == first


def test_what_was_begun_long_ago_is_thrown_away(tmp_path):
    for name, age_s in ((".old.1.part", 7_200), (".new.2.part", 60)):
        begun = tmp_path / name
        begun.mkdir()
        (begun / "a.txt.part").write_text("half")
        now = begun.stat().st_mtime
        os.utime(begun, (now - age_s, now - age_s))
    write(double_charge(), tmp_path)
    assert [path.name for path in tmp_path.glob(".*")] == [".new.2.part"]


def test_names_of_files_are_names_whatever_the_property_is_called():
    one = double_charge()
    for name in ("x" * 4_000, "ü" * 400, "???", "a/b\\c:d", "²", "\x00"):
        evolved = attrs.evolve(one, property=name)
        slug = evolved.slug()
        assert slug
        assert len(slug.encode()) <= 120
        assert not set(slug) & set("/\\:\x00 ")
        assert slug == attrs.evolve(one, property=name).slug()
    first, second = (attrs.evolve(one, property="x" * 300 + end).slug() for end in "ab")
    assert first != second


def test_all_formats_are_known():
    assert FORMATS == ("text", "html", "json", "markdown", "pytest")
