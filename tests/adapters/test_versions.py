"""Every adapter fits the version of its library that is installed here."""

from importlib import import_module
from importlib.metadata import version

import pytest

from chaosharness.adapters import dispatch
from chaosharness.adapters.libraries import ADAPTERS


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
    if package not in ("socket", "ssl", "sqlite3"):  # of the standard library
        assert version(library.name)


@pytest.mark.parametrize("package", ADAPTERS)
def test_an_adapter_says_where_it_was_read_and_what_it_leaves_out(package):
    pytest.importorskip(package)
    module = import_module(ADAPTERS[package])
    assert module.__doc__
    if package not in ("ssl", "stripe", "flask", "django"):
        assert "Source:" in module.__doc__ and "Not modelled:" in module.__doc__
