"""What the user's code prints and logs in hundreds of runs does not bury the answer."""

import json
import subprocess
import sys

import pytest

from tests.cli.test_ends import SHOP as PLAIN

LOUD = """
import faulthandler, io, logging, os, warnings
from chaosharness import never_charged_twice

logging.basicConfig(level=logging.INFO)  # takes the stream that is there when it is imported
logging.info("imported")
print("imported")
sys.stdout.reconfigure(line_buffering=True)
faulthandler.enable()
sys.stdout = io.TextIOWrapper(sys.stdout.buffer, "latin-1", write_through=True)  # and it goes
assert sys.stdout.encoding and not sys.__stderr__.isatty() and sys.stderr.fileno() >= 0
shop.claim(never_charged_twice(bank))


def loud(handler):
    def on_order(order):
        logging.info("got %s", order["id"])
        print("got it")
        sys.stderr.write("and said so\\n")
        sys.stdout.buffer.write(b"raw \\xff\\n")
        print("own", file=sys.__stdout__)
        print("own", file=sys.__stderr__)
        handler(order)

    return on_order
"""


@pytest.fixture
def command(tmp_path):
    """Run a command on a system that says much, when it is imported and in each run."""
    quiet = 'env.consume(bus, "orders", lambda order: client.charge(order["id"], 5))'
    assert quiet in PLAIN
    said = quiet.replace("lambda", "loud(lambda") + ")"
    (tmp_path / "shop.py").write_text(PLAIN.replace(quiet, said) + LOUD)

    def ran(*words):
        return subprocess.run(
            [sys.executable, "-m", "chaosharness", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return ran


RUN = ["run", "shop:shop", "--faults", "1", "--budget", "40"]


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_search_shows_what_the_failing_run_said_and_counts_the_rest(command, workers):
    done = command(*RUN, "--workers", workers, "--first")
    assert done.returncode == 1
    assert done.stderr == ""
    shown, _, rest = done.stdout.partition("What your code logged\n")
    assert "imported" not in done.stdout
    assert "got it" not in shown
    first = [line.split("  ", 1) for line in rest.splitlines()[:5]]
    assert [" ".join(line).split("pay")[1].strip() for line in first] == [
        "INFO root: got o1",
        "got it",
        "and said so",
        "raw \\xff",
        "own   (2 times)",
    ]
    last = done.stdout.splitlines()[-1]
    assert last.startswith("Not shown: ")
    assert last.endswith(" lines that your code logged; replay shows them.")


def test_a_replay_shows_all_of_it(command):
    command(*RUN, "--report", "out")
    done = command("replay", "out/shop-never-charged-twice.json")
    assert done.returncode == 1
    assert done.stderr.count("INFO:root:got o1") == 2  # in one run: it is made several times
    assert "and said so" in done.stderr
    assert done.stdout.count("got it") == 2
    assert "raw \\xff" in done.stdout
    silent = command("replay", "out/shop-never-charged-twice.json", "--json")
    assert silent.stderr == ""
    assert json.loads(silent.stdout)["verdict"] == "failing"


def test_reports_have_it_and_mask_it(command, tmp_path):
    command(*RUN, "--report", "out", "--redact", "id")
    for form in ("txt", "md", "html"):
        text = (tmp_path / "out" / f"shop-never-charged-twice.{form}").read_text()
        assert "What your code logged" in text
        assert "got o1" not in text
    done = command("report", "out/shop-never-charged-twice.json", "--format", "text")
    assert done.stderr == ""
    assert "INFO root: got [id 1]" in done.stdout


@pytest.mark.parametrize("words", [("sites", "--json"), ("graph",), ("guarantees", "--json")])
def test_other_commands_are_as_quiet(command, words):
    done = command(*words, "shop")
    assert done.stderr == ""
    assert "got it" not in done.stdout
    assert "imported" not in done.stdout
    assert not words[1:] or json.loads(done.stdout)


def test_a_mistake_is_told_all_the_same(command):
    done = command("run", "shop:nothing")
    assert done.returncode == 3
    assert done.stderr.startswith("chaosharness: ")


@pytest.mark.parametrize(
    "words", [("--service", "pai"), ("--fault", "crahs"), ("--operation", "chrge")]
)
def test_a_slip_in_what_sites_are_asked_for_is_told(command, words):
    done = command("sites", "shop", *words)
    assert done.returncode == 3
    assert words[1] in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_slip_in_what_is_to_be_masked_is_told(command):
    """Or it stands in the open in a report that goes elsewhere, and nobody knows."""
    words = ("--redact", "idd", "--redact", "cents_", "--redact", "iban")
    done = command(*RUN, "--report", "out", *words)
    assert done.returncode == 1
    assert "nothing is called 'idd', which was to be masked; there is 'id'\n" in done.stderr
    assert "nothing is called 'iban', which was to be masked\n" in done.stderr
    assert "cents_" not in done.stderr, "joints do not count"
    done = command("report", "out/shop-never-charged-twice.json", "--redact", "orderr")
    assert done.stderr == (
        "chaosharness: nothing is called 'orderr', which was to be masked; there is 'order'\n"
    )
