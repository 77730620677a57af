"""What a type checker says of a user's own file."""

import subprocess
import sys

RIGHT = "from chaosharness import Gateway, Kafka, System, chaos_test, check\n"


def checked(folder, source):
    (folder / "theirs.py").write_text(source)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "theirs.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout


def test_a_name_that_there_is_not_is_told_and_those_that_there_are_are_known(tmp_path):
    told = checked(tmp_path, f"{RIGHT}from chaosharness import Kafak\nreveal_type(System('a'))\n")
    assert 'Module "chaosharness" has no attribute "Kafak"; maybe "Kafka"?' in told
    assert 'Revealed type is "chaosharness.system.system.System"' in told
    assert "Found 1 error" in told
