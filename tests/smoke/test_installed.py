"""The installed package works by itself: no file of the repository is needed."""

import importlib
import json
import os
import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

import chaosharness

STORY = "order o1 was charged 2 times"


def run(folder, *words, fixed=False):
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    env |= {"SMOKE_FIXED": "1"} if fixed else {}
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


NEEDED = {
    ("orchestrators", "temporal"): "google temporalio",
    ("adapters", "http"): "aiohttp blinker django flask httpx multidict urllib3",
    ("adapters", "amqp"): "aio_pika aiormq amqp fast_depends faststream kombu pamqp pika vine",
    ("adapters", "celery"): "amqp billiard celery click fakeredis kombu redis vine",
    ("adapters", "aws"): "aiobotocore boto3 botocore",
    ("adapters", "temporal"): "google temporalio",
    ("adapters", "databases"): (
        "aiosqlite asyncpg django fakeredis psycopg psycopg2 redis sqlalchemy"
    ),
    ("adapters", "nats"): "nats",
    ("adapters", "kafka"): "aiokafka confluent_kafka kafka",
    ("adapters", "uuid_utils"): "uuid_utils",
    ("schemas", "formats"): "fastavro google jsonschema pydantic",
    ("stores", "postgresql"): "psycopg",
}
"""Parts of the house, and libraries of extras that only these may need when they are loaded."""


@pytest.mark.parametrize("name", chaosharness.__all__)
def test_every_public_name_can_be_imported(name):
    assert getattr(chaosharness, name) is not None


def test_every_room_can_be_imported():
    folder = Path(chaosharness.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        parts = ("chaosharness", *path.relative_to(folder).with_suffix("").parts)
        if parts[-1] in ("__main__", "__init__"):
            continue
        try:
            importlib.import_module(".".join(parts))
        except ModuleNotFoundError as missing:  # of an extra that is not installed here
            library = (missing.name or "").partition(".")[0]
            allowed = NEEDED.get(parts[1:3], "").split()
            assert library in allowed, f"{'.'.join(parts)} needs {missing.name}"


def test_the_package_says_who_it_is():
    assert version("chaosharness") == chaosharness.__version__
    found = {one.group: one for one in entry_points(name="chaosharness")}
    assert found.keys() >= {"console_scripts", "pytest11", "hypothesis"}
    for one in found.values():
        one.load()


def test_a_bug_is_found_reported_and_replayed(shop):
    done = run(shop, "chaosharness", "run", "smoke_shop:system", "--report", "reports")
    assert done.returncode == 1, done.stderr
    assert STORY in done.stdout
    file = shop / "reports" / "smoke-never-charged-twice.json"
    assert len(json.loads(file.read_text())["faults"]) == 1
    for suffix in (".html", ".md", ".txt"):
        assert STORY in file.with_suffix(suffix).read_text()
    failing = run(shop, "chaosharness", "replay", str(file), "--twice")
    assert (failing.returncode, "failing" in failing.stdout) == (1, True), failing.stderr
    pinned = run(shop, "pytest", "-q", "reports/test_smoke_never_charged_twice.py")
    assert pinned.returncode == 1, pinned.stdout
    fixed = run(shop, "chaosharness", "replay", str(file), fixed=True)
    assert (fixed.returncode, "fixed" in fixed.stdout) == (0, True), fixed.stderr


def test_the_right_one_holds(shop):
    done = run(shop, "chaosharness", "run", "smoke_shop:system", "--faults", "1", fixed=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "HOLDS" in done.stdout


def test_the_plugin_tells_the_story(shop):
    done = run(shop, "pytest", "-q", "-p", "no:cacheprovider", "test_smoke_shop.py")
    assert done.returncode == 1
    assert STORY in done.stdout
    assert "1 failed, 1 passed" in done.stdout
    assert "--chaos-replay" in done.stdout
    right = run(shop, "pytest", "-q", "-p", "no:cacheprovider", "test_smoke_shop.py", fixed=True)
    assert right.returncode == 0, right.stdout


def test_a_mistake_is_one_clear_line(shop):
    done = run(shop, "chaosharness", "run", "smoke_shop:sytem")
    assert done.returncode == 3
    assert "did you mean system?" in done.stderr
    assert "Traceback" not in done.stderr
