"""Documentation pages as programs: their blocks are run in the order in which they stand.

- `python` blocks run in one namespace per page, in an empty folder. A block whose first line
  is `# file: NAME` is written to that file instead (`toml` blocks always are).
- `console` blocks hold commands after `$ `, each followed by what it prints; `...` stands for
  anything. `$ echo $?` shows the exit code of the command before it; a command whose exit
  code is not shown must not end in trouble (3 and above).
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs

from tests.inner_pytest import LEAN

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# file: (\S+)\n")
TROUBLE = 3
DRIVER = """
import json, pathlib, sys, traceback
names, here = {"__name__": "__page__"}, pathlib.Path.cwd()
replies, sys.stdout = sys.stdout, sys.stderr
sys.path.insert(0, str(here))
for line in sys.stdin:
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and pathlib.Path(file).is_relative_to(here):
            del sys.modules[name]  # it may have been written anew
    block, trouble = json.loads(line), ""
    try:
        exec(compile("\\n" * block["line"] + block["code"], block["page"], "exec"), names)
    except BaseException:
        trouble = traceback.format_exc()
    print(json.dumps(trouble), file=replies, flush=True)
"""


@attrs.frozen
class Block:
    """One fenced block of a page."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}, line {self.line}"


@attrs.frozen
class Command:
    """One line of a console block, and what the page shows of its output."""

    line: str
    shown: str


def blocks(path: Path, page: str) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    text = path.read_text("utf-8")
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, found[1], found[2])
        for found in FENCE.finditer(text)
    ]


def commands(block: Block) -> list[Command]:
    """Return the commands of a console block."""
    found = []
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        line, _, shown = part.partition("\n")
        found.append(Command(line.partition(" #")[0].strip(), shown))
    return found


def matches(shown: str, printed: str) -> bool:
    """Say whether an output is the one shown, where `...` stands for anything."""
    wanted = re.escape(_plain(shown)).replace(re.escape("..."), ".*?")
    return re.fullmatch(wanted, _plain(printed), re.DOTALL) is not None


def _plain(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())


class Walk:
    """Somebody who does what a page says, in an empty folder and with one interpreter."""

    def __init__(self, folder: Path, *, python: str = sys.executable, path: str = "") -> None:
        self.folder = folder
        self.python = python
        self.exit_code = 0
        strange = ("PYTEST_", "COV_", "PYTHON", "CHAOSHARNESS")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(strange)}
        self.env |= {"COLUMNS": "80", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": path}
        self.env |= {"PYTHONUTF8": "1", "NO_COLOR": "1"}
        self.driver: subprocess.Popen[str] | None = None

    def close(self) -> None:
        """End the interpreter."""
        if self.driver is not None:
            self.driver.communicate(timeout=60)

    def follow(self, block: Block, *, skip: tuple[str, ...] = ()) -> None:
        """Do what a block says; fail if something else happens than it shows."""
        if file := FILE.match(block.text):
            path = self.folder / file[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, "utf-8")
        elif block.language == "python":
            self._exec(block)
        elif block.language == "console":
            for command in commands(block):
                if command.line not in skip:
                    self._run(block, command)
        else:
            raise AssertionError(f"{block}: nobody can run a block of {block.language!r}")

    def _exec(self, block: Block) -> None:
        if self.driver is None:
            self.driver = subprocess.Popen(
                [self.python, "-c", DRIVER],
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        assert self.driver.stdin is not None and self.driver.stdout is not None
        words = {"code": block.text, "line": block.line, "page": block.page}
        self.driver.stdin.write(json.dumps(words) + "\n")
        self.driver.stdin.flush()
        trouble = json.loads(self.driver.stdout.readline() or '"the interpreter died"')
        assert not trouble, f"{block}:\n{trouble}"

    def _run(self, block: Block, command: Command) -> None:
        where = f"{block}: $ {command.line}"
        if command.line == "echo $?":
            assert command.shown.strip() == str(self.exit_code), f"{where}: {self.exit_code}"
            return
        first, *rest = shlex.split(command.line)
        assert first in ("chaosharness", "pytest", "python"), f"{where}: not known to this test"
        module = [] if first == "python" else ["-m", first]
        extra = [*LEAN] if first == "pytest" else []
        done = subprocess.run(
            [self.python, *module, *extra, *rest],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        self.exit_code = done.returncode
        assert done.returncode < TROUBLE, f"{where}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert matches(command.shown or "...", done.stdout), f"{where} printed:\n{done.stdout}"


def walk(path: Path, page: str, walker: Walk, *, skip: tuple[str, ...] = ()) -> Iterator[Block]:
    """Follow a page, and yield each block that was followed."""
    try:
        for block in blocks(path, page):
            walker.follow(block, skip=skip)
            yield block
    finally:
        walker.close()
