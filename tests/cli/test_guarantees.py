"""`chaosharness guarantees`."""

import json

from click.testing import CliRunner

from chaosharness.cli import main

BOARD = "models.aws.board"


def shown(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["guarantees", *arguments])
    return result.exit_code, result.output


def test_it_says_what_a_system_needs_and_how_to_see_more():
    code, text = shown(f"{BOARD}:last_word_wins")
    assert code == 1
    assert "board-naive fails on SQS standard, holds on FIFO." in text
    assert f"chaosharness run {BOARD}:last_word_wins.weaker.standard" in text


def test_a_system_that_needs_nothing_is_exit_code_0():
    code, text = shown(f"{BOARD}:board", "--json")
    declared, weak = json.loads(text)
    assert code == 0
    assert (declared["result"], declared["needed"]) == ("holds", None)
    assert (weak["name"], weak["result"], weak["needed"]) == ("standard", "holds", "not needed")
    assert weak["brokers"] == ["bus"]


def test_brokers_that_cannot_promise_less_are_said():
    code, text = shown("models.aws.till:till")
    assert code == 0
    assert "till holds as declared; its brokers cannot promise less." in text


def test_a_budget_that_runs_out_is_exit_code_2():
    assert shown(f"{BOARD}:board", "--budget", "5")[0] == 2


def test_a_name_that_is_not_there_is_one_sentence():
    result = CliRunner().invoke(main, ["run", f"{BOARD}:board.weaker.stnadard"])
    assert result.exit_code == 3
    assert "system 'board' has no weaker 'stnadard'; it has standard" in result.output
