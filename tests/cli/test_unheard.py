"""Nobody reads what is printed: what was found stays found, in one line and the right exit code."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_ends import SHOP as PLAIN

FULL = Path("/dev/full")
COMMAND = ["-m", "chaosharness"]
RUN = ["run", "shop:shop", "--faults", "1", "--budget", "40"]
SHOP = f"""{PLAIN}
from chaosharness import never_charged_twice
shop.claim(never_charged_twice(bank))
"""
GOOD = SHOP.replace('order["id"], 5)', 'order["id"], 5, key=order["id"])')


def ran(tmp_path, *words, source=SHOP, to):
    """Run a command whose standard output is a full disk, a reader that leaves, or closed."""
    (tmp_path / "shop.py").write_text(source)
    line = {"full": "> /dev/full", "closed": ">&-", "left": "| head -c 1 > first"}[to]
    shell = f'set -o pipefail; "$0" "$@" {line}'
    done = subprocess.run(
        ["bash", "-c", shell, sys.executable, *COMMAND, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stderr


needs_full = pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")


@needs_full
@pytest.mark.parametrize("to", ["full", "closed"])
@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_finding_ends_in_1_though_nobody_was_told(tmp_path, to, words):
    code, error = ran(tmp_path, *RUN, *words, to=to)
    assert code == 1, error
    assert len(error.splitlines()) == 1
    assert "cannot be printed" in error
    assert "finding" in error


@needs_full
@pytest.mark.parametrize("to", ["full", "closed"])
def test_findings_are_written_all_the_same(tmp_path, to):
    code, error = ran(tmp_path, *RUN, "--report", "out", to=to)
    assert code == 1, error
    assert "out has the reports" in error
    written = {one.name for one in (tmp_path / "out").iterdir()}
    assert {"index.html", "shop-never-charged-twice.json"} <= written
    aloud = ran(tmp_path, *RUN, "--report", "aloud", to="left")
    assert aloud[0] == 1, aloud
    assert {one.name for one in (tmp_path / "aloud").iterdir()} == written


@needs_full
def test_what_holds_and_was_told_nobody_is_no_success(tmp_path):
    code, error = ran(tmp_path, "run", "shop:shop", "--faults", "1", source=GOOD, to="full")
    assert code == 3
    words = "what is to be read here cannot be printed: No space left on device"
    assert error == f"chaosharness: {words}\n"


@needs_full
@pytest.mark.parametrize("command", ["sites", "graph"])
def test_other_commands_end_in_3(tmp_path, command):
    code, error = ran(tmp_path, command, "shop:shop", to="full")
    assert code == 3
    assert len(error.splitlines()) == 1
    assert "a bug in chaosharness" not in error


@needs_full
def test_a_soak_keeps_what_it_found(tmp_path):
    code, error = ran(tmp_path, "soak", "shop:shop", "--seconds", "2", to="full")
    assert code == 1, error
    assert "soak/findings has the reports" in error
    assert list((tmp_path / "soak" / "findings").glob("*.json"))


@needs_full
@pytest.mark.parametrize("words", ["--help", "--version", "run --help"])
def test_help_that_nobody_can_read_is_no_bug_of_ours(tmp_path, words):
    code, error = ran(tmp_path, *words.split(), to="full")
    assert code == 3, error
    assert error.startswith("chaosharness: what is to be read here cannot be printed: No space")
    assert len(error.splitlines()) == 1
