"""What becomes of a counterexample: each verdict, and the files it comes from."""

import attrs
import pytest

from chaosharness import Crash, LostReply, Poison, Schedule, Site, replay, smallest
from chaosharness.counterexample import Counterexample
from chaosharness.errors import ChaosharnessError, InvalidDefinition, InvalidSchedule
from chaosharness.search.regressions import load, load_all, save, write
from tests.search.boxes import at_most, boxes
from tests.search.planted import EXAMPLES, counts_its_runs, never_charged_twice, one, right, two

CHARGE = "payments.on_order/bank.charge"


@pytest.fixture(scope="module")
def found():
    return attrs.evolve(smallest(one()), target="tests.search.planted:one")


# ---- verdicts


def test_failing(found):
    again = replay(found, one())
    assert again.verdict == "failing"
    assert again.reason == "never charged twice: o1 was charged twice"
    assert again.property == "never charged twice"
    assert again.findings
    assert again.same_history
    assert str(again) == "failing: never charged twice: o1 was charged twice"


def test_failing_with_another_history(found):
    again = replay(attrs.evolve(found, digest="0" * 16), one())
    assert (again.verdict, again.same_history) == ("failing", False)


def test_fixed(found):
    again = replay(found, right())
    assert again.verdict == "fixed"
    assert again.reason.startswith("every fault struck, and 'never charged twice' holds")
    assert not again.findings


def test_stale_names_the_fault_that_found_no_site(found):
    gone = attrs.evolve(
        found, schedule=Schedule([Crash(Site("payments.on_purchase/bank.charge", "after"))])
    )
    again = replay(gone, one())
    assert again.verdict == "stale"
    assert again.reason.startswith(
        "1 of 1 faults found no site: after payments.on_purchase/bank.charge for item 1."
    )
    assert again.unused == tuple(gone.schedule)


def test_stale_says_what_moved_since_a_file_was_written(found):
    gone = Schedule([Crash(Site(CHARGE, "after", attempt=9))])
    text = attrs.evolve(found, schedule=gone).encode()
    old = Counterexample.decode(text.replace('"chaosharness": 2', '"chaosharness": 1'))
    moved = (
        "The file is of format 1: there attempts counted for the item, and now they count for "
        "each message"
    )
    assert replay(old, one()).reason.endswith(moved)
    assert "format" not in replay(Counterexample.decode(text), one()).reason


def test_a_file_of_format_1_is_read(found):
    old = Counterexample.decode(found.encode().replace('"chaosharness": 2', '"chaosharness": 1'))
    assert replay(old, one()).same_history


def test_stale_where_the_fault_cannot_happen_any_more(found):
    illegal = attrs.evolve(found, schedule=Schedule([Poison(Site(CHARGE))]))
    again = replay(illegal, one())
    assert again.verdict == "stale"
    assert "poison before payments.on_order/bank.charge for item 1" in again.reason
    assert again.run is None


def test_failing_although_one_fault_found_no_site(found):
    more = found.schedule.with_(Crash(Site(CHARGE, "after", entity=9)))
    again = replay(attrs.evolve(found, schedule=more), one())
    assert again.verdict == "failing"
    assert "found no site: after payments.on_order/bank.charge for item 9" in again.reason


def test_different_property():
    system = boxes("a", "b")
    system.claim(at_most("a", 1), at_most("b", 1))
    known = smallest(system, at_most("b", 1))
    fixed = boxes("a", "b")
    fixed.claim(at_most("b", 99), at_most("a", 1))
    again = replay(attrs.evolve(known, property="b at most 99"), fixed)
    assert again.verdict == "different property"
    assert again.property == "a at most 1"
    assert again.reason.startswith("'b at most 99' holds now, but not a at most 1: a was filled 2")


def test_nondeterministic():
    known = Counterexample(
        property="a at most 1",
        system="counts",
        schedule=Schedule(),
        items=(1,),
        findings=(),
        digest="",
    )
    again = replay(known, counts_its_runs(), property=at_most("a", 1))
    assert again.verdict == "nondeterministic"
    assert "times=1" in again.reason and "times=2" in again.reason


def test_as_plain_values_it_is_the_same_each_time(found):
    assert replay(found, one()).to_json() == replay(found, one()).to_json()
    assert replay(found, one()).to_json()["digest"] == found.digest


# ---- what it needs


def test_a_file_says_where_its_system_is(found, tmp_path):
    again = replay(save(found, tmp_path))
    assert again.verdict == "failing"
    assert again.same_history


def test_without_a_target_the_system_must_be_given(found, tmp_path):
    path = save(attrs.evolve(found, target=""), tmp_path)
    with pytest.raises(InvalidSchedule, match="does not say where the system is"):
        replay(path)
    assert replay(str(path), one()).verdict == "failing"


def test_another_system_is_refused(found):
    with pytest.raises(InvalidSchedule, match="made for system 'shop', not 'boxes'"):
        replay(found, boxes("a"))


def test_a_property_that_is_claimed_no_more_is_said(found):
    renamed = attrs.evolve(found, property="no double charge")
    with pytest.raises(InvalidDefinition, match="does not claim 'no double charge'"):
        replay(renamed, one())
    assert replay(renamed, one(), property=never_charged_twice).verdict == "failing"


def test_a_workload_that_does_not_fit_any_more_is_said(found):
    with pytest.raises(InvalidSchedule, match="the workload does not fit Order"):
        replay(attrs.evolve(found, items=({"id": "o1"},)), one())


# ---- files


def test_the_same_finding_overwrites_itself(found, tmp_path):
    first = save(found, tmp_path)
    second = save(
        attrs.evolve(
            found,
            schedule=Schedule([LostReply(Site(CHARGE, "after")), Crash(Site(CHARGE, "after"))]),
        ),
        tmp_path,
    )
    assert first == second
    assert first.name == "shop-never-charged-twice.json"
    assert len(load(second).schedule) == 2
    assert [path.name for path in tmp_path.iterdir()] == [first.name]


def test_a_file_holds_a_counterexample_of_less_than_a_kilobyte(found, tmp_path):
    path = save(found, tmp_path / "made" / "if need be")
    assert path.stat().st_size <= 1_000
    assert load(path).schedule == found.schedule
    assert load(path).encode() == path.read_text("utf-8")


def test_all_files_of_a_folder_by_name(found, tmp_path):
    save(smallest(two(), items=EXAMPLES[:1]), tmp_path)
    save(attrs.evolve(found, system="a shop"), tmp_path)
    (tmp_path / "notes.txt").write_text("not ours")
    regressions = load_all(tmp_path)
    assert [one_.path.name for one_ in regressions] == [
        "a-shop-never-charged-twice.json",
        "shop-never-charged-twice.json",
    ]
    assert load_all(tmp_path / "nowhere") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "file.json: not a chaosharness counterexample"),
        ('{"chaosharness": 99}', "counterexample format 99 cannot be read; .*newer version"),
        ('{"chaosharness": 1}', "counterexample file is incomplete: '[a-z]+' is missing"),
        ("\x00\xff", "file.json: not a chaosharness counterexample"),
    ],
)
def test_a_file_that_is_none_is_said_with_its_name(tmp_path, text, message):
    (tmp_path / "file.json").write_text(text, "utf-8")
    with pytest.raises(InvalidSchedule, match=message):
        load_all(tmp_path)


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(InvalidSchedule, match=r"none.json cannot be read: No such file"):
        replay(tmp_path / "none.json")


def test_bytes_that_are_no_text_are_said(tmp_path):
    (tmp_path / "file.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidSchedule, match=r"file.json cannot be read: not a text"):
        load(tmp_path / "file.json")


def test_what_cannot_be_written_is_said_and_nothing_is_half_written(found, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ChaosharnessError, match=r"cannot be written: .*choose another folder"):
        save(found, tmp_path / "file")


def test_a_failure_while_writing_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    write(path, "before")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(ChaosharnessError, match="No space left on device"):
        write(path, "after")
    assert path.read_text() == "before"
    assert [one_.name for one_ in tmp_path.iterdir()] == ["file.json"]


@pytest.mark.parametrize("given", [None, 5, [], Schedule()])
def test_what_is_neither_a_counterexample_nor_its_file_is_refused(given):
    words = r"replay: counterexample must be a Counterexample, or its file, not .*test_replay.py:"
    with pytest.raises(InvalidDefinition, match=words):
        replay(given)
