"""Consumers that go by themselves when nobody has asked for their messages for a while.

Those without a durable name go after five seconds, unless `inactive_threshold` says otherwise; one
that is pulled from, and whose messages are in somebody's hands, after twice its AckWait.

Source:
    nats-server 2.15, `server/consumer.go` (`deleteNotActive`): with pulls that wait, with messages
    in hands, and with subscriptions that end, each was timed at a running one. It looks now and
    then, so that one may outlive its time by as much again: here it does not.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from chaosharness.adapters.nats import api
from chaosharness.brokers.nats.nats import OpenNATS
from chaosharness.kernel.scope import Incarnation
from chaosharness.machines.nats import operations as op

NS_A_MS: Final = 1_000_000


def idle(desk: OpenNATS, key: api.Key) -> None:
    """Know that nobody asks for a consumer's messages from now on.

    Whoever asks for them again, or for the consumer, sees to it that it is gone by then. (A timer
    after each fetch would keep a run from coming to rest.)
    """
    config = api.consumers_of(desk).get(key)
    if config is not None and config["inactive_threshold"]:
        desk.clients["idle", key] = desk.world.now


def leave(desk: OpenNATS, key: api.Key) -> None:
    """Have a consumer go in a while: who asked for its messages does so no more."""
    idle(desk, key)
    since = desk.clients.get(("idle", key))
    if since is not None:
        desk.world.after(_over(desk, key, since) - since, _look, (desk, key))


def abandon(desk: OpenNATS, key: api.Key) -> None:
    """Have a consumer go in a while that nobody can ask for again: none sees when it is gone.

    So no timer is set for it, which would keep a run from coming to rest.
    """
    idle(desk, key)
    desk.clients.setdefault("abandoned", []).append(key)


def sweep(desk: OpenNATS) -> None:
    """Have those be gone that were left to themselves, and whose time is over."""
    left: list[api.Key] = desk.clients.get("abandoned", [])
    for key in left:
        see_to(desk, key)
    left[:] = [key for key in left if ("idle", key) in desk.clients]


def leave_with(desk: OpenNATS, key: api.Key, incarnation: Incarnation) -> None:
    """Have a consumer go in a while once a process that asks for its messages is dead."""
    incarnation.on_death.append(partial(leave, desk, key))


def _over(desk: OpenNATS, key: api.Key, since: int) -> int:
    """Return when a consumer goes that nobody has asked for its messages since then."""
    lasts_ms: int = max(api.consumers_of(desk)[key]["inactive_threshold"] // NS_A_MS, 1)
    consumer = desk.machine.consumers[key]
    if consumer.pending and api.pushed(desk, key) is None:
        lasts_ms = max(lasts_ms, 2 * consumer.settings.wait_ms)
    return since + lasts_ms


def _look(place: Any) -> None:
    """Have a consumer be gone, or look again when it may be."""
    desk, key = place
    see_to(desk, key)
    since = desk.clients.get(("idle", key))
    if since is not None and not _is_asked(desk, key):
        desk.world.after(_over(desk, key, since) - desk.world.now, _look, place)


def _is_asked(desk: OpenNATS, key: api.Key) -> bool:
    push = api.pushed(desk, key)
    return desk.lines.is_asked(key) or (push is not None and push[1].is_bound())


def see_to(desk: OpenNATS, key: api.Key) -> None:
    """Have a consumer be gone whose time is over."""
    since = desk.clients.get(("idle", key))
    if since is None or _is_asked(desk, key):
        return
    if key not in desk.machine.consumers:
        del desk.clients["idle", key]
    elif _over(desk, key, since) <= desk.world.now:
        del desk.clients["idle", key]
        desk.do(op.DeleteConsumer(*key))
        api.forget(desk, key)
        desk.world.effects += 1
