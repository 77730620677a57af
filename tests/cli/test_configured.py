"""How a target may be typed, and what a project says once for all its searches."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from zlib import crc32

import pytest
from click.testing import CliRunner

from chaosharness.cli import configured, main
from chaosharness.search.explore import MODES

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
    name = f"configured_{crc32(request.node.name.encode()):x}"
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
    assert not re.search(r"\b500\b", report)
    assert json.loads(chaos("run", "--json", "--seed", 8).output)["seed"] == 8
    assert "bank.charge" in chaos("sites").output


@pytest.mark.parametrize("spelled", ["{}", "./{}.py:shop"])
def test_the_nearest_file_above_counts_and_its_paths_are_from_there(
    tmp_path, monkeypatch, request, spelled
):
    name = f"above_{crc32(request.node.name.encode()):x}"
    (tmp_path / f"{name}.py").write_text(SHOP)
    deep = tmp_path / "deep" / "er"
    deep.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    says(f'target = "{spelled.format(name)}"\nbudget = 3\nreport = "out"')
    monkeypatch.chdir(deep)
    monkeypatch.setattr(sys, "path", list(sys.path))
    result = chaos("run")
    assert result.exit_code == 1, result.output
    assert "  ../../out/index.html" in result.output
    assert (tmp_path / "out" / "index.html").is_file()
    chaos("run", "--report", "mine")
    assert (deep / "mine" / "index.html").is_file()


def test_each_key_counts_and_its_option_wins(here):
    says(f'target = "{here}"\nfaults = 1\nbudget = 3\nseed = 7\nmode = "small-first"')
    told = json.loads(chaos("run", "--json").output)
    assert [told[key] for key in ("faults_max", "seed", "mode")] == [1, 7, "small-first"]
    typed = ("--faults", 2, "--budget", 1, "--seed", 8, "--mode", "random")
    other = json.loads(chaos("run", "--json", *typed).output)
    assert [other[key] for key in ("faults_max", "seed", "mode")] == [2, 8, "random"]
    assert other["runs"] < told["runs"] < 9


def test_the_other_keys_count_and_their_options_win(here):
    """Those that show in no number."""
    says('target = "nowhere"\nseconds = 0.000001\nredact = ["id"]\nreport = "out"')
    assert json.loads(chaos("run", here, "--json", "--mode", "random").output)["runs"] < 5
    assert Path("out/index.html").is_file()
    chaos("run", here, "--seconds", 60, "--budget", 3, "--redact", "cents", "--report", "mine")
    text = next(Path("mine").glob("*.md")).read_text()
    assert "o1" in text and "500" not in text


def test_what_is_left_out_is_left_out_and_the_option_wins(here):
    Path(f"{here}.py").write_text(SHOP.replace("shop.claim(", "print("))
    says('without = ["never this"]')
    for option, name in ((), "never this"), (("--without", "nor that"), "nor that"):
        assert f"{name!r}" in chaos("run", here, *option).output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fault = 1", "[tool.chaosharness] fault is unknown; known are target, faults"),
        ('faults = "two"', "faults must be a whole number, not 'two'"),
        ("faults = true", "faults must be a whole number, not True"),
        ("seconds = []", "seconds must be a number"),
        ('redact = "card"', "redact must be a list of texts, not 'card'"),
        ("redact = [1]", "redact must be a list of texts"),
        ('redact = [""]', "redact must be a list of texts"),
        ("faults = ", "cannot be read"),
        ("faults = -1", "faults must be a whole number from 0, not -1"),
        ("budget = 0", "budget must be a whole number from 1, not 0"),
        ("workers = -1", "workers must be a whole number from 0, not -1"),
        ("seconds = 0", "seconds must be a number above 0, not 0"),
        ("seconds = nan", "seconds must be a number above 0, not nan"),
        ('mode = "guidedd"', "mode must be one of portfolio, small-first, lineage"),
        ('report = ""', "report must be a text that is not empty"),
        ("target = 3", "target must be a text, not 3"),
    ],
)
def test_what_the_project_says_wrongly_is_one_clear_line(here, text, words):
    says(text)
    result = chaos("run", here)
    assert result.exit_code == 3
    assert "pyproject.toml" in result.output and words in result.output
    assert result.output.count("\n") == 1


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (("run", "--faults", -1), "Invalid value for '--faults': -1 is not in the range x>=0."),
        (("run", "--budget", 0), "Invalid value for '--budget': 0 is not in the range x>=1."),
        (("run", "--workers", -1), "Invalid value for '--workers': -1 is not in the range x>=0."),
        (("run", "--seconds", 0), "Invalid value for '--seconds': 0.0 is not in the range x>0."),
        (("run", "--seconds", "nan"), "Invalid value for '--seconds': 'nan' is no number."),
        (("soak", "--hours", -1), "Invalid value for '--hours': -1.0 is not in the range x>0."),
    ],
)
def test_a_wrong_number_is_told_by_the_option_that_was_typed(here, typed, words):
    command, *options = typed
    result = chaos(command, here, *options)
    assert (result.exit_code, result.output) == (3, f"chaosharness: {words}\n")


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
    slip = chaos("sites", here, "--service", "nobody")
    assert slip.exit_code == 3
    assert "no site is of 'nobody'; some are of bus, client, payments" in slip.output


def test_a_shell_learns_what_may_be_typed(tmp_path):
    words = {"_CHAOSHARNESS_COMPLETE": "bash_source"}
    command = [str(Path(sys.executable).with_name("chaosharness"))]
    done = subprocess.run(
        command, env=os.environ | words, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "complete" in done.stdout


def test_the_modes_of_the_command_line_are_those_of_a_search():
    """They stand twice, since nothing of a search is imported before it is needed."""
    assert configured.MODES == MODES
