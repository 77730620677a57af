"""Where the real server for these tests is, and whether there is one."""

import os

import pytest

SERVER = os.environ.get("CHAOSHARNESS_POSTGRESQL", "host=127.0.0.1 connect_timeout=2")


def needs_postgresql():
    """Skip, and say so, where no server is to be had."""
    psycopg = pytest.importorskip("psycopg")
    try:
        psycopg.connect(SERVER, dbname="postgres").close()
    except psycopg.OperationalError as error:
        pytest.skip(f"no PostgreSQL server: {str(error).splitlines()[0]}")
