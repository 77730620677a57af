"""Reliable broadcast among three nodes, in asyncio: all that live get a word, or none does.

chaosharness run models.protocols.broadcast:simple_broadcast
"""

from __future__ import annotations

import asyncio

from chaosharness import Env, History, Property, System, eventually
from models.protocols import Peer, alive, service_of

NODES = ("a", "b", "c")
SENDER = "a"


class Simple(Peer):
    """Tells each of the others once. A message that is lost is lost."""

    def __init__(self, env: Env, name: str) -> None:
        super().__init__(env)
        self.others = [node for node in NODES if node != name]
        self.log: set[str] = set()

    async def broadcast(self, word: str) -> None:
        """Take a word from outside, and see that the others get it."""
        self.take(word)
        await self.tell_all(word)

    async def deliver(self, word: str) -> bool:
        """Take a word from another node."""
        self.take(word)
        return True

    def take(self, word: str) -> bool:
        """Remember a word; say whether it is new."""
        if word in self.log:
            return False
        self.log.add(word)
        self.env.note("delivered", word=word)
        return True

    async def tell_all(self, word: str) -> None:
        """Tell all others at the same time."""
        await asyncio.gather(*[self.tell(node, word) for node in self.others])

    async def tell(self, node: str, word: str) -> None:
        """Tell one other node."""
        await self.ask(node, "deliver", word)


class Retry(Simple):
    """Tells each of the others until it has heard. Who dies in between tells nobody any more."""

    async def tell(self, node: str, word: str) -> None:
        """Tell one other node until it answers."""
        await self.insist(node, "deliver", word)


class Classic(Simple):
    """Each node that hears a word tells it to the others, once. All may be lost."""

    async def deliver(self, word: str) -> bool:
        """Take a word, and pass it on if it is new."""
        if self.take(word):
            self.meanwhile(self.tell_all(word))
        return True


class Redundant(Classic, Retry):
    """Each node that hears a word tells it to each of the others until it has heard."""


def all_or_none(history: History) -> list[str]:
    """Say who lives and misses a word that another living node has from the sender."""
    living = alive(history, NODES)
    heard: dict[str, set[str]] = {}
    for event in history.of("note"):
        heard.setdefault(event.data["word"], set()).add(service_of(event.actor))
    return [
        f"{node} never got {word!r}, which {' and '.join(sorted(others))} has"
        for word, nodes in heard.items()
        if (others := nodes & set(living) - {SENDER})
        for node in living
        if node not in nodes
    ]


ALL_OR_NONE: Property = eventually("all that live get it or none does", all_or_none)


def _broadcast(name: str, node: type[Simple]) -> System:
    group = System(name)

    def add(one: str) -> None:
        @group.service(one)
        def build(env: Env) -> None:
            made = node(env, one)
            env.serve("broadcast", made.broadcast)
            env.serve("deliver", made.deliver)

    for one in NODES:
        add(one)

    @group.entry(examples=["hello"])
    def say(env: Env, word: str) -> None:
        env.call(SENDER, "broadcast", word)

    group.claim(ALL_OR_NONE)
    return group


def simple_broadcast() -> System:
    """Broken by one message that is lost."""
    return _broadcast("simple broadcast", Simple)


def retry_broadcast() -> System:
    """Broken by a sender that dies after one node has heard, and the other has not."""
    return _broadcast("retry broadcast", Retry)


def classic_broadcast() -> System:
    """Broken by two messages that are lost: both ways to one node."""
    return _broadcast("classic broadcast", Classic)


def redundant_broadcast() -> System:
    """Right, however many messages are lost and nodes die: what one has, it passes on."""
    return _broadcast("redundant broadcast", Redundant)
