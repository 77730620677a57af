"""How a target may be typed, and what a project says once for all its searches."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from chaosharness.cli import main

SHOP = """
from chaosharness import Gateway, Kafka, System, never_charged_twice

shop = System("shop")
bus = shop.add(Kafka("bus", topics={"orders": 1}))
bank = shop.add(Gateway("bank"))


@shop.service("payments")
def payments(env):
    client = env.client(bank)

    def on_order(order):
        client.charge(order["id"], order["cents"])

    env.consume(bus, "orders", on_order)


@shop.entry(examples=[{"id": "o1", "cents": 500}, {"id": "o2", "cents": 700}])
def place(env, order):
    env.publisher(bus)("orders", order, key=order["id"])


shop.claim(never_charged_twice(bank))
"""


@pytest.fixture
def here(tmp_path, monkeypatch, request):
    """A project with one system, in a module whose name no other test uses."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"configured_{abs(hash(request.node.name))}"
    Path(f"{name}.py").write_text(SHOP)
    return name


def chaos(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


def says(text):
    Path("pyproject.toml").write_text(f"[tool.chaosharness]\n{text}\n")


@pytest.mark.parametrize(
    "typed", ["{}", "{}:shop", "{}.py", "{}.py:shop", "./{}.py:shop", "{here}/{}.py:shop"]
)
def test_a_target_may_be_typed_as_one_thinks_of_it(here, tmp_path, typed):
    target = typed.format(here, here=tmp_path)
    result = chaos("run", target, "--faults", 1, "--report", "out")
    assert result.exit_code == 1, result.output
    (file,) = Path("out").glob("shop-*-twice.json")
    assert json.loads(file.read_text())["target"] == f"{here}:shop"
    assert chaos("replay", file).exit_code == 1


def test_a_file_in_a_folder_that_is_no_package_is_found(here):
    folder = Path("chaos tests")
    folder.mkdir()
    Path(f"{here}.py").rename(folder / f"{here}_b.py")
    result = chaos("run", folder / f"{here}_b.py", "--faults", 1)
    assert result.exit_code == 1, result.output


def test_what_the_project_says_counts_and_the_command_line_wins(here):
    says(f'target = "{here}"\nfaults = 1\nseed = 7\nreport = "out"\nredact = ["cents"]')
    result = chaos("run", "--json")
    told = json.loads(result.output)
    assert (told["faults_max"], told["seed"], result.exit_code) == (1, 7, 1)
    report = next(Path("out").glob("*.txt")).read_text()
    assert "500" not in report.replace("[cents", "")
    assert json.loads(chaos("run", "--json", "--seed", 8).output)["seed"] == 8
    assert "bank.charge" in chaos("sites").output


def test_the_nearest_file_above_counts(here, monkeypatch):
    says(f'target = "{here}"\nfaults = 1')
    Path("deep").mkdir()
    monkeypatch.chdir("deep")
    assert chaos("sites").exit_code == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fault = 1", "[tool.chaosharness] fault is unknown; known are target, faults"),
        ('faults = "two"', "faults must be a whole number, not 'two'"),
        ("faults = true", "faults must be a whole number, not True"),
        ("seconds = []", "seconds must be a number"),
        ('redact = "card"', "redact must be a list of texts, not 'card'"),
        ("redact = [1]", "redact must be a list of texts"),
        ("faults = ", "cannot be read"),
    ],
)
def test_what_the_project_says_wrongly_is_one_clear_line(here, text, words):
    says(text)
    result = chaos("run", here)
    assert result.exit_code == 3
    assert "pyproject.toml" in result.output and words in result.output
    assert result.output.count("\n") == 1


def test_sites_can_be_narrowed_down(here):
    everything = chaos("sites", here).output
    assert "after payments.on_order/bank.charge   (2 sites)" in everything
    narrow = chaos("sites", here, "--service", "payments", "--fault", "crash").output
    assert "client.place" not in narrow and "bank.charge" in narrow
    *lines, last = narrow.splitlines()
    assert set(lines[1::2]) == {"    crash"}
    assert last == "6 sites, 6 faults in the calm run of 'shop'"
    each = chaos("sites", here, "--operation", "bank.charge", "--item", 2, "--each").output
    assert "after payments.on_order/bank.charge for item 2" in each and "item 1" not in each
    assert chaos("sites", here, "--service", "nobody").output.startswith("0 sites")


def test_a_shell_learns_what_may_be_typed(tmp_path):
    words = {"_CHAOSHARNESS_COMPLETE": "bash_source"}
    command = [str(Path(sys.executable).with_name("chaosharness"))]
    done = subprocess.run(
        command, env=os.environ | words, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "complete" in done.stdout
