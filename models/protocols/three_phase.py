"""Three-phase commit among a coordinator and three agents, in asyncio.

chaosharness run models.protocols.three_phase:three_phase

Nobody blocks: who hears nothing for a while decides alone. That is right in the rounds for which
it was made, in which a process dies before or after all its messages of a round. Where it may die
between two of them, agents have to ask each other first; and where messages may be lost as
well, two may still decide differently.
"""

from __future__ import annotations

import asyncio
from typing import Final

from chaosharness import Env, System
from models.protocols.commit import (
    ABORT,
    AGENTS,
    COMMIT,
    COORDINATOR,
    UNSURE,
    Agent,
    Coordinator,
    Impatient,
    serve_agent,
    start,
)

READY: Final = "ready"


class ThreePhaseCoordinator(Impatient):
    """Has each agent make ready before any of them commits."""

    async def decide(self, transaction: str, outcome: str) -> None:
        """Tell all to make ready; commit when all have answered, abort if one has not."""
        if outcome == COMMIT:
            ready = [self.ask(agent, "make_ready", transaction) for agent in AGENTS]
            if not all(await asyncio.gather(*ready)):
                outcome = ABORT
        await super().decide(transaction, outcome)


class ThreePhaseAgent(Agent):
    """Decides alone when it hears nothing: commits if it is ready, and else aborts."""

    def __init__(self, env: Env, name: str) -> None:
        super().__init__(env, name)
        self.ready: set[str] = set()

    async def prepare(self, transaction: str) -> str:
        """Vote, and set the timer."""
        if transaction not in self.prepared | self.decided.keys():
            self.meanwhile(self.wait(transaction))
        return await super().prepare(transaction)

    async def make_ready(self, transaction: str) -> bool:
        """Be ready to commit, unless it is too late for that."""
        if transaction in self.decided:
            return self.decided[transaction] == COMMIT
        self.ready.add(transaction)
        return True

    async def wait(self, transaction: str) -> None:
        """Decide if nothing was heard for four seconds: six, where it is ready."""
        await asyncio.sleep(4)
        if transaction in self.ready:
            await asyncio.sleep(2)
        if transaction in self.decided:
            return
        known = await self.states(transaction)
        ready = ABORT not in known and bool(known & {COMMIT, READY})
        self.learn(transaction, COMMIT if ready else ABORT)

    async def states(self, transaction: str) -> set[str | None]:
        """Return what is known of where others and this one are."""
        return {self.state(transaction)}

    async def inquire(self, transaction: str) -> str:
        """Tell another agent what was decided here, or what this one is ready for."""
        if transaction not in self.prepared:
            self.learn(transaction, ABORT)
        return self.state(transaction)

    def state(self, transaction: str) -> str:
        """Return what was decided here, or else whether this one is ready."""
        waiting = READY if transaction in self.ready else UNSURE
        return self.decided.get(transaction, waiting)


class Asking(ThreePhaseAgent):
    """Asks the others before it decides: what one of them is ready for, or has decided, counts.

    Source:
        Skeen, "Nonblocking Commit Protocols", SIGMOD 1981: the termination rule; each
        agent applies it by itself, where there one of them does so for all.
    """

    async def states(self, transaction: str) -> set[str | None]:
        """Ask the others where they are."""
        asked = [self.ask(agent, "inquire", transaction) for agent in self.others]
        return {self.state(transaction), *await asyncio.gather(*asked)}


def _three_phase(name: str, agent: type[ThreePhaseAgent]) -> System:
    group = System(name)

    @group.service(COORDINATOR)
    def build(env: Env) -> None:
        made: Coordinator = ThreePhaseCoordinator(env)
        env.serve("begin", made.begin)

    def add(one: str) -> None:
        @group.service(one)
        def build(env: Env) -> None:
            made = agent(env, one)
            serve_agent(env, made)
            env.serve("make_ready", made.make_ready)
            env.serve("inquire", made.inquire)

    for one in AGENTS:
        add(one)
    start(group)
    return group


def three_phase() -> System:
    """Broken by a coordinator that dies when it has told one agent, and no other, to make ready."""
    return _three_phase("three-phase commit", ThreePhaseAgent)


def three_phase_that_asks() -> System:
    """Right where one process dies, and nothing else goes wrong.

    Broken by two that die, if an agent comes back in time to answer: it has forgotten that it
    was ready, and its answer is taken for an abort. Broken by a coordinator that stalls as well:
    silence is taken for death.
    """
    return _three_phase("three-phase commit that asks", Asking)
