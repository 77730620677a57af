"""`chaosharness compare`."""

import json

import attrs
import pytest
from click.testing import CliRunner

from chaosharness import System
from chaosharness.cli import main
from chaosharness.search.comparison import Survival, compared, costs_of
from models.small.watchers import watchers

WATCHERS = "models.small.watchers:watchers"
AGAIN = "models.hybrid.broken:mails_again"


def shown(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["compare", *arguments])
    return result.exit_code, result.output


def test_a_broken_twin_is_told_with_its_least_faults_beside_one_that_survives() -> None:
    code, text = shown(AGAIN, WATCHERS, "--budget", "12")
    assert code == 1
    assert "Redeliver: never twice: mail.send: Schedule((Redeliver(" in text
    second = text.partition("[2] watchers")[2]
    assert "Schedule(" not in second


def test_a_budget_that_runs_out_is_no_survival() -> None:
    code, text = shown(WATCHERS, "--budget", "3")
    assert code == 2
    assert "unknown, 2 of " in text


def test_all_single_faults_survived_are_exit_code_0() -> None:
    code, text = shown(WATCHERS, "--json", "--budget", "1000")
    [row] = json.loads(text)
    assert (code, row["outcome"]) == (0, "survives")
    assert row["survival"]["Crash"]["tried"] == row["survival"]["Crash"]["total"] > 0


def test_a_system_without_work_survives_nothing() -> None:
    idle = System("idle")

    @idle.entry(examples=[])
    def nothing(env, item):
        raise AssertionError("nothing comes in")

    found = compared(idle, runs_max=2)
    assert found.unproved
    assert found.outcome == "unknown"


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [
        ({}, "survives"),
        ({"tried": 0, "total": 0}, "nowhere"),
        ({"complete": False}, "unknown"),
        ({"restless": 1}, "unknown"),
    ],
)
def test_what_is_not_known_is_not_survived(changed, outcome) -> None:
    one = Survival(tried=3, total=3, complete=True, broken=())
    assert attrs.evolve(one, **changed).outcome == outcome


def test_costs_are_counted_in_the_calm_run() -> None:
    history = watchers().calm().history
    costs = costs_of(history)
    assert costs.published == sum(event.kind == "publish" for event in history) > 0
    assert costs.items == sum(event.kind == "arrive" for event in history)


def test_a_page_of_systems_side_by_side(tmp_path) -> None:
    page = tmp_path / "compared.html"
    code, _ = shown(AGAIN, WATCHERS, "--budget", "12", "--html", str(page))
    assert code == 1
    text = page.read_text("utf-8")
    assert "order hybrid breaks" in text
    assert "Redeliver: never twice: mail.send" in text
    assert "Where a new step must go" not in text, "the two have no effects in common"
    assert "<script" not in text


def test_who_changes_for_a_new_step() -> None:
    right = "models.questions.step_between:right"
    both = "models.questions.step_between:both_listen_to_paid"
    between = ("--between", "bank.charge", "courier.book")
    _, text = shown(right, both, "--budget", "2", *between)
    row = next(line for line in text.splitlines() if line.startswith("a new step"))
    assert row.split()[3:] == ["clearance", "shipping"]


def test_an_effect_that_no_system_has_is_refused() -> None:
    right = "models.questions.step_between:right"
    code, text = shown(right, "--budget", "2", "--between", "bank.charg", "courier.book")
    assert code != 0
    assert "no calm run of these systems has an effect 'bank.charg'; there are: bank.cha" in text
