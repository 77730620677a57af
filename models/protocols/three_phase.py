"""Three-phase commit among a coordinator and three agents, in asyncio.

chaosharness run models.protocols.three_phase:three_phase

It never blocks as long as processes only die. Who hears nothing for a while asks the others
and decides by what they are ready for; a lost message then looks like a death, and two may
decide differently.
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
    """Decides alone when it hears nothing: by what the others and itself are ready for.

    Source:
        Skeen, "Nonblocking Commit Protocols", SIGMOD 1981: the termination rule; each
        agent applies it by itself, where there one of them does so for all.
    """

    asks = True

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
        known = {self.state(transaction)}
        if self.asks:
            asked = [self.ask(agent, "inquire", transaction) for agent in self.others]
            known.update(await asyncio.gather(*asked))
        if ABORT in known:
            outcome = ABORT
        else:
            outcome = COMMIT if known & {COMMIT, READY} else ABORT
        self.learn(transaction, outcome)

    async def inquire(self, transaction: str) -> str:
        """Tell another agent what was decided here, or what this one is ready for."""
        if transaction not in self.prepared:
            self.learn(transaction, ABORT)
        return self.state(transaction)

    def state(self, transaction: str) -> str:
        """Return what was decided here, or else whether this one is ready."""
        waiting = READY if transaction in self.ready else UNSURE
        return self.decided.get(transaction, waiting)


class Lonely(ThreePhaseAgent):
    """Asks nobody: commits if it is ready, and else aborts."""

    asks = False


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
    """Broken by a coordinator that dies half way, and a message that is lost after that."""
    return _three_phase("three-phase commit", ThreePhaseAgent)


def three_phase_that_asks_nobody() -> System:
    """Broken by a coordinator that dies when it has told one agent to make ready."""
    return _three_phase("three-phase commit that asks nobody", Lonely)
