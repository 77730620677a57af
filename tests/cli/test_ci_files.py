"""What CI systems read: JUnit XML and SARIF, of broken, unknown and green campaigns."""

import json
import sys
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from chaosharness.cli import main, run
from chaosharness.search.exploration import Progress

SHOP = """
from chaosharness import Gateway, Kafka, System, never_charged_twice

shop = System("shop")
bus = shop.add(Kafka("bus", topics={"orders": 1}))
bank = shop.add(Gateway("bank"))


@shop.service("payments")
def payments(env):
    client = env.client(bank)

    def on_order(order):
        client.charge(order["id"], 5, key=KEY)

    env.consume(bus, "orders", on_order)


@shop.entry(examples=[{"id": "o1"}])
def place(env, order):
    env.publisher(bus)("orders", order, key=order["id"])


shop.claim(never_charged_twice(bank))
"""


@pytest.fixture
def ran(tmp_path, monkeypatch):
    def ran(key, *options):
        sys.modules.pop("shop_of_ci", None)
        (tmp_path / "shop_of_ci.py").write_text(SHOP.replace("KEY", key))
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(str(tmp_path))
        files = ("--junit", "out/chaos.xml", "--sarif", "out/chaos.sarif")
        command = ("run", "shop_of_ci.py:shop", "--faults", "1", *files, *options)
        result = CliRunner().invoke(main, command)
        suite = ElementTree.parse(tmp_path / "out/chaos.xml").getroot()[0]
        sarif = json.loads((tmp_path / "out/chaos.sarif").read_text("utf-8"))
        return result.exit_code, suite, sarif["runs"][0]

    return ran


def test_a_finding_is_a_failure_with_its_story_and_stands_at_the_users_line(ran, tmp_path):
    code, suite, sarif = ran("None", "--first")
    assert code == 1
    failure = suite.find("testcase[@name='never charged twice']/failure")
    assert failure.get("message") == "order o1 was charged 2 times for 5 cents each; promised: once"
    assert "no request carries an idempotency key" in " ".join(failure.text.split())
    assert suite.get("failures") == "1"
    [found] = [one for one in sarif["results"] if one["ruleId"] == "never charged twice"]
    [place, *_] = [one["physicalLocation"] for one in found["locations"]]
    assert place["artifactLocation"]["uri"] == "shop_of_ci.py"
    line = (tmp_path / "shop_of_ci.py").read_text().split("\n")[place["region"]["startLine"] - 1]
    assert "client.charge" in line
    written = (tmp_path / "out/chaos.xml").read_text() + json.dumps(sarif)
    assert str(tmp_path) not in written, "no path of a machine"


def test_green_is_a_suite_without_failures_and_unknown_is_no_green(ran):
    code, suite, sarif = ran('order["id"]')
    assert (code, suite.get("failures"), suite.get("errors")) == (0, "0", "0")
    assert sarif["results"] == []
    code, suite, sarif = ran('order["id"]', "--budget", "3")
    assert (code, suite.get("failures"), suite.get("errors")) == (2, "0", "1")
    assert suite.find("testcase[@name='what was covered']/error") is not None
    assert sarif["invocations"][0]["toolExecutionNotifications"]


def test_a_log_hears_from_a_long_search_now_and_then(monkeypatch, capsys):
    lines = run.Lines()
    progress = Progress(runs=120, runs_max=2_000, faults=1, broken=("never twice",))
    lines.show(progress)
    assert capsys.readouterr().err == "", "nothing yet: it has just begun"
    monkeypatch.setattr(run, "LINE_EVERY_S", 0.0)
    lines.show(progress)
    assert capsys.readouterr().err == (
        "chaosharness: 120 of 2,000 runs, 1 fault in a schedule, 1 broken\n"
    )
