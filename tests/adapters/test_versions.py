"""Every adapter fits the version of its library that is installed here."""

import re
import tomllib
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

from chaosharness.adapters import dispatch
from chaosharness.adapters.libraries import ADAPTERS

PROJECT = Path(__file__, "../../../pyproject.toml").resolve()
STANDARD = ("multiprocessing", "socket", "socketserver", "sqlite3", "ssl")
BENEATH = (
    *STANDARD,
    "aiormq",
    "amqp",
    "asgiref",
    "botocore",
    "grpcio",
    "kombu",
    "arq",
    "dramatiq",
    "huey",
    "psycopg2",
    "psycopg2-binary",
    "tqdm",
    "uuid_utils",
)
"""Of the standard library, brought by another one, or one that no extra has to bring."""


def asked_for():
    """Return what pyproject.toml asks for of each library, by its name in small letters."""
    extras = tomllib.loads(PROJECT.read_text("utf-8"))["project"]["optional-dependencies"]
    found = {}
    for extra, requirements in extras.items():
        if extra not in ("bench", "test", "docs"):
            for one in requirements:
                name, bounds = re.fullmatch(r"([\w-]+)(?:\[\w+\])?([^;]*).*", one).groups()
                found.setdefault(name.lower(), set()).add(bounds)
    return found


@pytest.mark.parametrize("package", ADAPTERS)
def test_what_an_adapter_is_tested_with_is_what_its_extra_asks_for(package):
    pytest.importorskip(package)
    library = import_module(ADAPTERS[package]).LIBRARY
    if library.name not in BENEATH:
        assert asked_for()[library.name.lower()] == {library.tested}


@pytest.mark.parametrize("package", ADAPTERS)
def test_an_adapter_fits_its_library(package):
    pytest.importorskip(package)
    library = import_module(ADAPTERS[package]).LIBRARY
    dispatch.install(library)  # refuses a library that is not as it is known
    for one in (*library.seams, *library.swaps):
        _, _, real = dispatch._found(
            library, one.where, *getattr(one, "fits", ()), more=getattr(one, "more", False)
        )
        assert callable(real)
    if package not in STANDARD:
        assert version(library.name)


@pytest.mark.parametrize("package", ADAPTERS)
def test_an_adapter_says_where_it_was_read_and_what_it_leaves_out(package):
    pytest.importorskip(package)
    module = import_module(ADAPTERS[package])
    assert module.__doc__
    if package not in ("ssl", "stripe", "flask", "django"):
        assert "Source:" in module.__doc__ and "Not modelled:" in module.__doc__
