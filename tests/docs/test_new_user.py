"""The walk of a new user: a fresh environment, the wheel, and the README; nothing else."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import FENCE, Walk, blocks, commands

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
SECONDS_MAX = 120
WORDS_A_MINUTE = 200


def line_of(heading: str) -> int:
    return README.read_text("utf-8").splitlines().index(heading) + 1


def minutes_of_reading() -> float:
    """Return how long the prose takes from the installation to the first finding."""
    lines = README.read_text("utf-8").splitlines()
    found = next(i for i, line in enumerate(lines) if line.startswith("$ chaosharness run"))
    text = "\n".join(lines[line_of("## Install") : found]) + "\n```\n"
    return len(re.findall(r"\w+", FENCE.sub("", text))) / WORDS_A_MINUTE


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def install(folder: Path) -> str:
    """Make an environment with nothing but the wheel in it; return its interpreter."""

    def run(*words: str) -> None:
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(words)}:\n{done.stdout}{done.stderr}"

    pip = ("-m", "pip", "--quiet", "--disable-pip-version-check")
    run(sys.executable, "-m", "venv", "user")
    python = str(folder / "user" / "bin" / "python")
    run(python, *pip, "wheel", "--no-deps", "--wheel-dir", "wheel", str(ROOT))
    [wheel] = (folder / "wheel").glob("chaosharness-*.whl")
    run(python, *pip, "install", str(wheel))
    return python


@pytest.mark.slow
def test_a_new_user_finds_the_bug_in_two_minutes(tmp_path):
    began = cpu_seconds()
    python = install(tmp_path)
    shop = tmp_path / "shop"
    shop.mkdir()
    walker = Walk(shop, python=python)
    installing = ("python3.11 -m venv .venv", ". .venv/bin/activate", "pip install .")
    seconds_to_the_bug = None
    try:
        for block in blocks(README, "README.md"):
            if block.line > line_of("## In a checkout"):
                break
            walker.follow(block, skip=installing)
            if block.language == "console" and "BROKEN" in block.text:
                assert walker.exit_code == 1
                seconds_to_the_bug = seconds_to_the_bug or cpu_seconds() - began
            if block.text.startswith("# file: shop.py"):
                assert 15 <= len(block.text.splitlines()) <= 25, "a service of twenty lines"
    finally:
        walker.close()
    assert (shop / "reports" / "shop-never-charged-twice.html").exists()
    assert seconds_to_the_bug is not None
    assert seconds_to_the_bug + 60 * minutes_of_reading() < SECONDS_MAX


def test_the_readme_has_the_two_commands_of_a_checkout():
    shown = [
        command.line
        for block in blocks(README, "README.md")
        if block.language == "console" and block.line > line_of("## In a checkout")
        for command in commands(block)
    ]
    run = "chaosharness run models.order.broken:charge_without_key --report reports/latest"
    assert shown == [run, "echo $?", 'pytest -q -n 2 -m "not slow"']
