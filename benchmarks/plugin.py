"""What the doors cost before anything runs: the unused plugin, the help, the import.

Each is measured as whole processes: a session of pytest with the plugin and without it.

No other plugin is loaded, as each would only add its own noise; and bytecode is cached, as it is
where a package is installed.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

ROUNDS = 15
PLUGIN = ("-p", "chaosharness.pytest_plugin")
DOORS = {
    "chaosharness --help": ("-m", "chaosharness", "--help"),
    "import chaosharness": ("-c", "import chaosharness"),
    "python -c pass, which both contain": ("-c", "pass"),
}
"""What is run before anything is asked for, by what it is called in the output."""


def main() -> None:
    """Print CPU milliseconds of sessions with the plugin and without it, taken in turns.

    And those of `chaosharness --help` and of `import chaosharness`, with what the latter loads.
    The cost is the median of the differences within each round: what else the machine does
    strikes both sessions of a round alike.
    """
    with TemporaryDirectory() as folder:
        Path(folder, "test_one.py").write_text("def test_one(): pass\n")
        environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        environment["PYTHONPYCACHEPREFIX"] = str(Path(folder, "bytecode"))
        session(folder, environment, *PLUGIN)  # the first one writes the bytecode
        rounds = [
            (session(folder, environment, *PLUGIN), session(folder, environment))
            for _ in range(ROUNDS)
        ]
        doors = {
            words: [process(folder, environment, *command) for _ in range(ROUNDS + 1)][1:]
            for words, command in DOORS.items()
        }
    costs = [having - lacking for having, lacking in rounds]
    having, lacking = (median(one) for one in zip(*rounds, strict=True))
    print(f"a session of one test without the plugin  {lacking:6.0f} ms")
    print(f"the same with it                          {having:6.0f} ms")
    print(f"so it costs                               {median(costs):6.0f} ms")
    for words, spent in doors.items():
        print(f"{words:<42}{median(spent):6.0f} ms")


def session(folder: str, environment: Mapping[str, str], *options: str) -> float:
    """Run pytest in a process of its own; return the CPU milliseconds that it took."""
    return process(folder, environment, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options)


def process(folder: str, environment: Mapping[str, str], *words: str) -> float:
    """Run Python in a process of its own; return the CPU milliseconds that it took."""
    began = _spent_s()
    command = [sys.executable, *words]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, env=environment)
    return 1_000 * (_spent_s() - began)


def _spent_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
