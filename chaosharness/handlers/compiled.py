"""Libraries that connect in C or in Rust, where no guard sees it: what they do goes past a run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from typing import Final

COMPILED: Final = frozenset(
    {
        *("MySQLdb", "adbc_driver_postgresql", "aerospike", "couchbase", "connectorx", "curl_cffi"),
        *("cx_Oracle", "glide", "glide_sync", "ibm_db", "primp", "psqlpy", "pulsar", "pycurl"),
        *("pylibmc", "pymssql", "pynng", "pyodbc", "turbodbc", "uamqp", "zmq"),
    }
)
"""Packages that open sockets by themselves, and that nothing here stands for. Those that an adapter
refuses by name (grpc, psycopg2) are none."""


def past_everything(holds: Callable[[Collection[str]], Collection[str]]) -> list[str]:
    """Say which of these the user's modules have something of.

    Args:
        holds: Says which of some packages they have something of.
    """
    there = COMPILED & sys.modules.keys()
    held = sorted(holds(there)) if there else ()
    return [f"{one} (it connects outside of Python, past all that is here)" for one in held]
