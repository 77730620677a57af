"""Systems with one known bug each, that a search can be measured on and learn from.

The broken twins of `models`, each with the claim that tells it best; and any folder of files
that have a system `broken` and a list `CLAIMS`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import attrs

from benchmarks.gallery import exhibits
from chaosharness import Property, System
from chaosharness.system import Run


@attrs.frozen(eq=False)
class Bug:
    """A system that breaks a claim under some faults, and not without any.

    Attributes:
        name: Of the system.
        family: Systems of one family share most of their code: who learns from one of them
            has seen the others.
        system: The system.
        claims: What it breaks; one of them is enough.
    """

    name: str
    family: str
    system: System
    claims: tuple[Property, ...]

    def breaks(self, run: Run) -> bool:
        """Say whether a run breaks a claim."""
        return any(one.findings(run.evidence()) for one in self.claims)


def of_models() -> Iterator[Bug]:
    """Yield the broken twins whose run without any fault is fine."""
    for one in exhibits():
        system, claim = one.system()
        family = one.target.partition(":")[0].removesuffix(".broken").rpartition(".")[2]
        bug = Bug(one.name, family, system, (claim,))
        if not bug.breaks(system.run()):
            yield bug


def of_folder(folder: Path) -> Iterator[Bug]:
    """Yield the systems named `broken` in the files of a folder; each is a family of its own."""
    for path in sorted(folder.glob("*.py")):
        spec = spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[path.stem] = module_from_spec(spec)
        spec.loader.exec_module(module)
        bug = Bug(path.stem, path.stem, module.broken, tuple(module.CLAIMS))
        if not bug.breaks(module.broken.run()):
            yield bug
