"""The gallery shows every broken twin, and what it shows is what the harness says today."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

import models.small
from benchmarks.gallery import FOLDER, Exhibit, exhibits, index, kept_ones
from chaosharness import System
from chaosharness.kernel.history import Event
from chaosharness.reporting.formats.text import TEXT_RANK_MAX, TEXT_STEPS_MAX
from chaosharness.reporting.story.decisive import extra
from chaosharness.reporting.story.select import CLOSING, is_of_a_delivery
from chaosharness.reporting.story.tell import tell
from chaosharness.search.replay import replay

EVERYTHING = exhibits()
TWINS = ("order.broken", "saga.broken", "hybrid.broken", "canary")
FILES = {"counterexample.json", "report.txt", "report.html"}


def twins() -> set[str]:
    """Return every function of the models that builds a broken twin, and needs no more."""
    small = [f"small.{one.name}" for one in iter_modules(models.small.__path__)]
    found = set()
    for name in (*TWINS, *small):
        module = import_module(f"models.{name}")
        right = name.rpartition(".")[2] if name in small else ""
        for word, value in vars(module).items():
            own = getattr(value, "__module__", "") == module.__name__
            builds = getattr(value, "__annotations__", {}).get("return") == System.__name__
            if own and builds and word != right:
                found.add(f"{name}:{word}")
    return found


def test_every_broken_twin_is_shown() -> None:
    assert {one.target for one in EVERYTHING} == twins()


def test_nothing_else_is_shown() -> None:
    folders = {path.name for path in FOLDER.iterdir() if path.is_dir()}
    assert folders == {one.name for one in EVERYTHING}
    for folder in folders:
        assert {path.name for path in (FOLDER / folder).iterdir()} == FILES


@pytest.mark.parametrize("one", EVERYTHING, ids=lambda one: one.name)
def test_reports_are_what_is_written_today(one: Exhibit) -> None:
    again = one.again()
    assert again.minimal
    for name, text in one.files(again).items():
        kept = (FOLDER / one.name / name).read_bytes()
        assert kept == text.encode(), f"{one.name}/{name}: run `python -m benchmarks.gallery`"


@pytest.mark.parametrize("one", EVERYTHING, ids=lambda one: one.name)
def test_what_decided_it_is_in_the_picture(one: Exhibit) -> None:
    """Every fault, every deed the finding points at, and what made the outcome another."""
    again = one.again()
    history, [finding, *_] = again.history, again.findings
    more = extra(history, again.passing)
    shows = [index for index in finding.events if history[index].kind not in CLOSING]
    decisive = {event.index for event in history.of("fault")} | {*shows[:10]}
    decisive |= set() if shows else more.deeds
    for story in (tell(again), tell(again, steps_max=TEXT_STEPS_MAX, rank_max=TEXT_RANK_MAX)):
        told = {index for step in story.steps for index in step.events}
        assert decisive <= told
        messages = {history[index].data.get("message") for index in told}
        repeated = {event.data["message"] for event in history.of("deliver") if again_of(event)}
        struck = {history[index].cause for index in told if is_of_a_delivery(history[index])}
        assert struck & repeated <= messages
        assert story.why, "and it is said how it came about"
    html = one.files(again)["report.html"]
    assert len(html.encode()) < 300_000
    assert html.count("<script") == 1, "the one that copies"


def again_of(delivery: Event) -> bool:
    """Say whether a message is handed out once more."""
    return int(delivery.data.get("times", 1)) > 1


@pytest.mark.parametrize("one", EVERYTHING, ids=lambda one: one.name)
def test_a_counterexample_replays_from_its_file_alone(one: Exhibit) -> None:
    again = replay(FOLDER / one.name / "counterexample.json")
    assert again.verdict == "failing"
    assert again.property == one.claim
    assert again.same_history


def test_the_index_is_what_is_written_today() -> None:
    assert (FOLDER / "README.md").read_text("utf-8") == index(kept_ones())


def test_counterexamples_of_one_fault_are_small() -> None:
    sizes = {path: path.stat().st_size for path in Path(FOLDER).glob("*/counterexample.json")}
    assert max(sizes.values()) <= 1_000
