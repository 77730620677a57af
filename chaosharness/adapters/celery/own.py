"""What Celery and kombu keep once in a process: in a run each process has its own.

Applications and their tasks are shared, as all that modules hold. What they keep for the process is
looked up by incarnation: pools of connections, the result backend, which queues are consumed, the
sets of requests that a worker has in hand, the stacks of tasks that run.

Source:
    Celery 5.7, `_state.py`, `app/base.py`, `app/amqp.py`, `worker/state.py`, `utils/threads.py`,
    `utils/nodenames.py`; kombu 5.7, `pools.py`, `resource.py`, `common.py`.

Not modelled:
    What user code sets on an application or a task while it runs (`app.conf`, `app.add_task`): it
    is seen by all processes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from queue import LifoQueue
from typing import Any, Final
from weakref import WeakSet

from celery import _state
from celery.app.amqp import Queues
from celery.app.base import Celery
from celery.utils.collections import LimitedSet
from celery.utils.threads import Local
from celery.worker import state

from chaosharness.adapters.dispatch import Swap
from chaosharness.kernel.scope import SCOPE

Make = Callable[[], Any]


def mine(what: str, of: Any, make: Make) -> Any:
    """Return what the running process keeps of something; made where it has none yet."""
    scope = SCOPE.get()
    assert scope is not None
    clients = scope.incarnation.clients
    key = ("celery", what, id(of))
    found = clients.get(key)
    if found is None:
        found = clients[key] = (make(), of)  # keeps it, so that its identity is nobody else's
    return found[0]


def put(what: str, of: Any, value: Any) -> None:
    """Have the running process keep something."""
    scope = SCOPE.get()
    assert scope is not None
    scope.incarnation.clients["celery", what, id(of)] = (value, of)


class Ordered:
    """A set that is gone through in the order in which it was filled."""

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self._items = dict.fromkeys(items)

    def add(self, item: Any) -> None:
        """Take one more."""
        self._items.setdefault(item)

    def discard(self, item: Any) -> None:
        """Leave one out."""
        self._items.pop(item, None)

    def clear(self) -> None:
        """Leave out all."""
        self._items.clear()

    def __contains__(self, item: Any) -> bool:
        return item in self._items

    def __iter__(self) -> Iterator[Any]:
        return iter([*self._items])

    def __len__(self) -> int:
        return len(self._items)


def _kept(name: str, make: Make) -> Any:
    """Return an attribute that each process has for itself."""

    def get(self: Any) -> Any:
        if SCOPE.get() is None:
            return self.__dict__[name]
        return mine(name, self, make)

    def set_(self: Any, value: Any) -> None:
        if SCOPE.get() is None:
            self.__dict__[name] = value
        else:
            put(name, self, value)

    return property(get, set_)


class OwnWeakSet(WeakSet[Any]):
    """A set of requests that each process has for itself."""

    data = _kept("data", Ordered)


class OwnLimitedSet(LimitedSet):  # type: ignore[misc]
    """A set of names of tasks that each process has for itself."""

    _data = _kept("_data", dict)
    _heap = _kept("_heap", list)


def _optional(name: str) -> Any:
    """Return an attribute that each process has for itself, None until it sets it."""

    def get(self: Any) -> Any:
        if SCOPE.get() is None:
            return self.__dict__.get(name)
        return mine(name, self, lambda: None)

    def set_(self: Any, value: Any) -> None:
        if SCOPE.get() is None:
            self.__dict__[name] = value
        else:
            put(name, self, value)

    return property(get, set_)


# ---- stacks of tasks and requests


def _local() -> tuple[Any, Any]:
    """Return what stands for the storage of a `Local`, and for whose part of it is asked for."""
    storage, ident = vars(Local)["__storage__"], vars(Local)["__ident_func__"]

    def stored(self: Any) -> Any:
        real = storage.__get__(self)
        return real if SCOPE.get() is None else mine("local", self, dict)

    def who(self: Any) -> Any:
        real = ident.__get__(self)
        return real if SCOPE.get() is None else SCOPE.get

    return property(stored, storage.__set__), property(who, ident.__set__)


# ---- pools


def acquire(real: Any, self: Any, block: bool = False, timeout: float | None = None) -> Any:
    """Take something out of a pool that the running process has for itself."""
    return real(mine("pool", self, lambda: _twin(self)), block, timeout)


def _twin(pool: Any) -> Any:
    made = copy.copy(pool)
    made._resource = LifoQueue()
    made._dirty = set()
    made._closed = False
    made.setup()
    return made


# ---- names of processes


def _name_of_node(real: Any) -> Any:
    def anon_nodename(hostname: str | None = None, prefix: str = "gen") -> Any:
        scope = SCOPE.get()
        if scope is None:
            return real(hostname, prefix)
        return f"{prefix}{scope.incarnation.replica}@{hostname or scope.incarnation.service}"

    return anon_nodename


def _name_of_host(real: Any) -> Any:
    def gethostname() -> Any:
        scope = SCOPE.get()
        return real() if scope is None else scope.incarnation.service

    return gethostname


def _joins(real: Any) -> Any:
    def task_join_will_block() -> Any:
        if SCOPE.get() is None:
            return real()
        return mine("joins", task_join_will_block, lambda: False)

    return task_join_will_block


def _joins_set(real: Any) -> Any:
    def set_task_join_will_block(blocks: bool) -> None:
        from celery._state import task_join_will_block

        if SCOPE.get() is None:
            real(blocks)
        else:
            put("joins", task_join_will_block, blocks)

    return set_task_join_will_block


NOBODYS: Final = "00000000-0000-0000-0000-000000000000"
"""Where replies go that nobody reads: the backend `rpc://` is not modelled."""


def _oid(real: Any) -> Any:
    def thread_oid(self: Any) -> Any:
        return real.__get__(self) if SCOPE.get() is None else NOBODYS

    return property(thread_oid)


SWAPS: Final = (
    Swap("celery.utils.nodenames:anon_nodename", _name_of_node),
    Swap("celery.utils.nodenames:gethostname", _name_of_host),
    Swap("celery._state:task_join_will_block", _joins),
    Swap("celery._state:_set_task_join_will_block", _joins_set),
)


def keep_apart() -> None:
    """Have what is kept once in a process kept once in each process of a run."""
    stored, who = _local()
    Local.__storage__, Local.__ident_func__ = stored, who
    for requests in (state.reserved_requests, state.active_requests, state.scheduled_requests):
        requests.__class__ = OwnWeakSet
    for names in (state.revoked, state.successful_requests):
        names.__class__ = OwnLimitedSet
    Queues._consume_from = _optional("_consume_from")
    type(_state._tls).current_app = _current(_state._tls.current_app)
    Celery.thread_oid = _oid(vars(Celery)["thread_oid"])
    Celery._backend = _backend(vars(Celery)["_backend"])


def _current(first: Any) -> Any:
    """Return what the application of a process is: that of its worker, else the one made last."""
    last = [first]

    def get(self: Any) -> Any:
        if SCOPE.get() is None:
            return last[0]
        return mine("current app", _state, lambda: None) or last[0]

    def set_(self: Any, app: Any) -> None:
        if SCOPE.get() is None:
            last[0] = app
        else:
            put("current app", _state, app)

    return property(get, set_)


def _backend(real: Any) -> Any:
    def get(self: Any) -> Any:
        if SCOPE.get() is None:
            return real.__get__(self)
        return mine("backend", self, lambda: None)

    def set_(self: Any, value: Any) -> None:
        if SCOPE.get() is None:
            real.__set__(self, value)
        else:
            put("backend", self, value)

    return property(get, set_)
