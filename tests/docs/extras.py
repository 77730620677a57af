"""What `pip install '.[extra]'` brings, and an interpreter that has nothing else."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

INSTALL = re.compile(r"pip install (?:-e )?'\.\[([^\]]+)\]'")
OTHER = re.compile(r"^\$ pip install ([\w-]+)$", re.MULTILINE)
HIDING = """
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path

LIST = Path(__file__).with_name("hidden.txt")

class Hides(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if path is None and name in LIST.read_text("utf-8").split():  # it grows shorter by and by
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None

sys.meta_path.insert(0, Hides())
"""


def installs(text: str) -> list[str]:
    """Return the commands of a text that install something."""
    found = [one[0] for one in INSTALL.finditer(text)]
    return [*found, *(one[0].removeprefix("$ ") for one in OTHER.finditer(text))]


def named_by(text: str) -> frozenset[Requirement]:
    """Return what a text says to install; nothing where it names nothing."""
    extras = [f"chaosharness[{one}]" for one in INSTALL.findall(text)]
    return frozenset(map(Requirement, [*extras, *OTHER.findall(text)]))


def hide_others(named: frozenset[Requirement], folder: Path) -> None:
    """Have interpreters that find this folder first find no package that these do not bring."""
    brought = frozenset().union(*(_brought(one.name, tuple(sorted(one.extras))) for one in named))
    hidden = [
        package
        for package, names in packages_distributions().items()
        if not any(canonicalize_name(name) in brought for name in names)
    ]
    (folder / "hidden.txt").write_text("\n".join(hidden), "utf-8")
    (folder / "sitecustomize.py").write_text(HIDING, "utf-8")


@cache
def _brought(name: str, extras: tuple[str, ...]) -> frozenset[str]:
    """Return the distributions that come with one, itself among them."""
    found: set[str] = set()
    left = [(canonicalize_name(name), extras)]
    asked = set(left)
    while left:
        one, wanted = left.pop()
        found.add(one)
        try:
            needs = [Requirement(line) for line in requires(one) or ()]
        except PackageNotFoundError:
            continue
        for need in needs:
            marker = need.marker
            if marker is None or any(marker.evaluate({"extra": it}) for it in ("", *wanted)):
                entry = (canonicalize_name(need.name), tuple(sorted(need.extras)))
                if entry not in asked:
                    asked.add(entry)
                    left.append(entry)
    return frozenset(found)
