"""`chaosharness graph`."""

import pytest
from click.testing import CliRunner

from chaosharness.cli import main, run


def test_it_prints_who_reacts_to_what() -> None:
    shown = CliRunner().invoke(main, ["graph", "models.order.right:order_flow", "--faults", "0"])
    assert shown.exit_code == 0, shown.output
    assert "payments.on_order does bank.charge" in shown.output
    assert "seen in 1 run of 'order flow'" in shown.output


@pytest.mark.parametrize(
    "words",
    [
        ["graph", "models.small.watchers:watchers"],
        ["compare", "models.small.trip:trip", "models.small.tickets:tickets", "--budget", "5"],
    ],
)
def test_how_far_it_is_is_told_meanwhile_and_not_among_what_it_prints(words, monkeypatch) -> None:
    monkeypatch.setattr(run, "LINE_EVERY_S", 0.0)
    shown = CliRunner().invoke(main, words)
    assert " runs, 1 fault in a schedule" in shown.stderr
    assert "in a schedule" not in shown.stdout


def test_a_circle_is_named_and_makes_it_fail() -> None:
    target = "models.small.watchers:undercut_each_other_for_ever"
    shown = CliRunner().invoke(main, ["graph", target, "--faults", "0"])
    assert shown.exit_code == 1
    assert "! a circle: " in shown.output


def test_a_mermaid_flowchart() -> None:
    shown = CliRunner().invoke(main, ["graph", "models.small.watchers:watchers", "--mermaid"])
    assert shown.output.startswith("flowchart LR\n")


def test_from_the_code_alone_and_as_a_page(tmp_path) -> None:
    page = tmp_path / "flow.html"
    target = "models.small.watchers:watchers"
    shown = CliRunner().invoke(main, ["graph", target, "--static", "--html", str(page)])
    assert shown.exit_code == 0
    assert "! may go in a circle: our-prices → their-prices → our-prices" in shown.output
    assert "read from the code of 'watchers'" in shown.output
    text = page.read_text("utf-8")
    assert 'class="circle"' in text
    assert "they.on_price" in text
    assert "<script" not in text


def test_a_page_that_cannot_be_written(tmp_path) -> None:
    target = "models.small.watchers:watchers"
    shown = CliRunner().invoke(main, ["graph", target, "--static", "--html", str(tmp_path)])
    assert shown.exit_code == 3
