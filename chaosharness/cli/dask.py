"""A Dask cluster as the one who makes the runs: the extra `chaosharness[dask]`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from chaosharness.errors import ChaosharnessError


def client_of(address: str | None) -> Any:
    """Return a client of a scheduler; None where no address is given.

    Raises:
        ChaosharnessError: Dask is not installed, or nobody answers there.
    """
    if address is None:
        return None
    try:
        distributed = import_module("distributed")
    except ImportError:
        raise ChaosharnessError(
            "--dask needs Dask, which is not installed: pip install 'chaosharness[dask]'"
        ) from None
    try:
        return distributed.Client(address, timeout="10s")
    except (OSError, ValueError) as error:
        words = str(error).splitlines() or [type(error).__name__]
        raise ChaosharnessError(f"no Dask scheduler at {address}: {words[0]}") from None
