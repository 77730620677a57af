"""Which libraries have an adapter, and how one is loaded: when user code imports its library.

A library that is imported already is met when a part asks for it; one that is imported later, even
by a handler, is met as soon as it is there. What nobody imports is never loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import packages_distributions
from types import ModuleType
from typing import Any, Final

from chaosharness.adapters.dispatch import Library, install, version_of
from chaosharness.errors import InvalidDefinition
from chaosharness.system.parts import MEETS

ADAPTERS: Final = {
    "aio_pika": "chaosharness.adapters.amqp.aio_pika",
    "aiobotocore": "chaosharness.adapters.aws.aiobotocore",
    "aiohttp": "chaosharness.adapters.http.aiohttp",
    "aiokafka": "chaosharness.adapters.kafka.aiokafka",
    "aiormq": "chaosharness.adapters.amqp.aiormq",
    "aiosqlite": "chaosharness.adapters.databases.aiosqlite",
    "amqp": "chaosharness.adapters.amqp.py_amqp",
    "anyio": "chaosharness.adapters.anyio",
    "arq.worker": "chaosharness.adapters.queues.arq",
    "asgiref": "chaosharness.adapters.asgiref",
    "asyncpg": "chaosharness.adapters.databases.asyncpg",
    "boto3": "chaosharness.adapters.aws.boto3",
    "botocore": "chaosharness.adapters.aws.botocore",
    "celery": "chaosharness.adapters.celery.celery",
    "celery.backends.redis": "chaosharness.adapters.celery.results",
    "confluent_kafka": "chaosharness.adapters.kafka.confluent",
    "django": "chaosharness.adapters.http.django",
    "django.db": "chaosharness.adapters.databases.django",
    "dramatiq.worker": "chaosharness.adapters.queues.dramatiq",
    "faststream": "chaosharness.adapters.amqp.faststream",
    "flask": "chaosharness.adapters.http.flask",
    "grpc": "chaosharness.adapters.grpc",
    "httpx": "chaosharness.adapters.http.httpx",
    "huey.consumer": "chaosharness.adapters.queues.huey",
    "kafka": "chaosharness.adapters.kafka.kafka_python",
    "kombu.connection": "chaosharness.adapters.amqp.kombu",
    "kombu.transport.redis": "chaosharness.adapters.celery.redis",
    "multiprocessing": "chaosharness.adapters.multiprocessing",
    "nats": "chaosharness.adapters.nats.nats",
    "pika": "chaosharness.adapters.amqp.pika",
    "psycopg": "chaosharness.adapters.databases.psycopg",
    "psycopg2": "chaosharness.adapters.databases.psycopg2",
    "redis": "chaosharness.adapters.databases.redis",
    "requests": "chaosharness.adapters.http.requests",
    "socketserver": "chaosharness.adapters.socketserver",
    "sqlalchemy": "chaosharness.adapters.databases.sqlalchemy",
    "sqlalchemy.sql.elements": "chaosharness.adapters.databases.compiled",
    "sqlite3": "chaosharness.adapters.databases.sqlite",
    "socket": "chaosharness.adapters.network.sockets",
    "ssl": "chaosharness.adapters.tls",
    "stripe": "chaosharness.adapters.http.stripe",
    "taskiq": "chaosharness.adapters.amqp.taskiq",
    "temporalio": "chaosharness.adapters.temporal.clients",
    "temporalio.worker": "chaosharness.adapters.temporal.workers",
    "tqdm.std": "chaosharness.adapters.tqdm",
    "urllib3": "chaosharness.adapters.http.urllib3",
    "uuid_utils": "chaosharness.adapters.uuid_utils",
}
"""The package that is imported, and the module that holds its `LIBRARY`."""

COMMON: Final = {"kafka": "KafkaConsumer"}
"""Packages that a project may have one of its own of, and what is only in the library."""

BY_THEMSELVES: Final = (
    "aiosqlite",
    "arq.worker",
    "confluent_kafka",
    "dramatiq.worker",
    "grpc",
    "huey.consumer",
    "multiprocessing",
    "psycopg",
    "psycopg2",
    "socketserver",
    "sqlalchemy.sql.elements",
    "temporalio",
    "temporalio.worker",
    "tqdm.std",
    "uuid_utils",
)
"""Libraries that open sockets in C, or files in a thread, or wait in C, where no guard sees it: met
in every system, to stand for them or to refuse what nothing stands for. And SQLAlchemy's compiler,
also beneath an engine whose connections a creator makes."""

_WANTED: Final[set[str]] = set()
_UNASKED: Final[set[str]] = set()
"""Of those that are wanted: what no part has asked for, and what may be another version."""

_LATER: Final[set[str]] = set()
"""Those that could not be met yet when they were imported: an adapter, or the library itself, was
being loaded."""


def speak(packages: Iterable[str]) -> None:
    """Have these libraries met, now where they are imported, else when they are.

    Args:
        packages: Names of packages, each in `ADAPTERS`.

    Raises:
        InvalidDefinition: One is not as its adapter knows it.
    """
    for package in packages:
        if not _WANTED:
            sys.meta_path.insert(0, _Watch())
        assert package in ADAPTERS
        _WANTED.add(package)
        _UNASKED.discard(package)
        if package in sys.modules:
            _load(package)


def refuse_late(packages: Iterable[str]) -> None:
    """Refuse what user code has made of these libraries before they were met.

    Raises:
        InvalidDefinition: It names the first.
    """
    for package in packages:
        if package in sys.modules and _is_library(package):
            library: Library = import_module(ADAPTERS[package]).LIBRARY
            if library.late is not None:
                library.late()


def meet(packages: Iterable[str]) -> None:
    """Have those met that have an adapter: others pass through one of these."""
    _catch_up()
    speak(package for package in packages if package in ADAPTERS)
    unasked = [package for package in BY_THEMSELVES if package not in _WANTED]
    if unasked and not _WANTED:
        sys.meta_path.insert(0, _Watch())
    _WANTED.update(unasked)
    _UNASKED.update(unasked)
    for package in unasked:
        if package in sys.modules:
            _load(package)


MEETS.append(meet)


def _is_library(package: str) -> bool:
    """Say whether an imported package is the library, and not one that only has its name."""
    known = COMMON.get(package)
    return known is None or hasattr(sys.modules[package], known)


def _load(package: str) -> None:
    """Meet a library; where its room is being loaded just now, as soon as that is done."""
    if not _is_library(package):
        return
    if _is_loading(ADAPTERS[package]):
        _LATER.add(package)
        return
    try:
        library: Library | None = getattr(_adapter_of(package), "LIBRARY", None)
        if library is not None:
            install(library)
    except InvalidDefinition:
        if _is_unfinished(package.partition(".")[0]):
            _LATER.add(package)  # it takes something from a part that is not imported yet
            return
        if package not in _UNASKED:
            raise
    _catch_up()


def _catch_up() -> None:
    """Meet what could not be met before, as far as that can be now."""
    for one in sorted(_LATER):
        _LATER.discard(one)
        _load(one)


def _is_unfinished(module: str) -> bool:
    """Say whether a module is being imported just now."""
    found = sys.modules.get(module)
    return bool(getattr(getattr(found, "__spec__", None), "_initializing", False))


def _adapter_of(package: str) -> ModuleType:
    """Return the module that meets a library.

    Raises:
        InvalidDefinition: Something that it takes from the library is not there; or another
            library is not, by which it stands for this one.
    """
    try:
        return import_module(ADAPTERS[package])
    except ImportError as error:
        top = package.partition(".")[0]
        name = next(iter(packages_distributions().get(top, ())), top)
        missing = (error.name or "").partition(".")[0]
        if missing not in (top, "", "chaosharness") and isinstance(error, ModuleNotFoundError):
            raise InvalidDefinition(
                f"{name} is stood for inside a run by way of {missing}, which is not installed: "
                f"pip install {missing}, or the extra of chaosharness for {name}"
            ) from None
        if missing != top:
            raise
        raise InvalidDefinition(
            f"{name} {version_of(name)} is not as its adapter knows it: {error.msg}. Install a "
            "version that the extra of chaosharness for it asks for, or report this one"
        ) from None


def _is_loading(adapter: str) -> bool:
    """Say whether an adapter, or one beside it, is being loaded, and has imported the library."""
    if adapter in sys.modules:
        return _is_unfinished(adapter)
    room = f"{adapter.rpartition('.')[0]}."
    beside = (module for name, module in [*sys.modules.items()] if name.startswith(room))
    return any(getattr(module.__spec__, "_initializing", False) for module in beside)


class _Watch(MetaPathFinder):
    """Sees a library being imported, and has its adapter loaded when that is done."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in _WANTED:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loading(spec.loader, name)
                return spec
        return None


class _Loading(Loader):
    """Loads a module as its own loader does, and then its adapter."""

    def __init__(self, real: Any, name: str) -> None:
        self._real = real
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Make the module as the real loader does."""
        made: ModuleType | None = self._real.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, then meet it; its own loader is what it keeps."""
        spec = module.__spec__
        module.__loader__ = self._real
        if spec is not None:
            spec.loader = self._real
        self._real.exec_module(module)
        _load(self._name)
