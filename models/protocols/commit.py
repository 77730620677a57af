"""Two-phase commit among a coordinator and three agents, in asyncio.

chaosharness run models.protocols.commit:two_phase
"""

from __future__ import annotations

import asyncio

from chaosharness import Env, Event, History, KeyValue, Property, System, eventually
from models.protocols import PAUSE_MAX_S, Peer, alive, service_of

COORDINATOR = "coordinator"
AGENTS = ("a", "b", "d")
EVERYBODY = (COORDINATOR, *AGENTS)
YES, COMMIT, ABORT, UNSURE = "yes", "commit", "abort", "unsure"


class Coordinator(Peer):
    """Asks all agents, decides, and tells them. What it decided is in its memory only."""

    def __init__(self, env: Env) -> None:
        super().__init__(env)
        self.decided: dict[str, str] = {}

    async def begin(self, transaction: str) -> None:
        """Carry out one transaction."""
        await self.decide(transaction, await self.votes(transaction))

    async def votes(self, transaction: str) -> str:
        """Ask each agent until it votes; return what that comes to."""
        answers = await asyncio.gather(
            *[self.insist(agent, "prepare", transaction) for agent in AGENTS]
        )
        return COMMIT if all(answer == YES for answer in answers) else ABORT

    async def decide(self, transaction: str, outcome: str) -> None:
        """Decide, and tell each agent until it has heard."""
        self.decided[transaction] = outcome
        self.env.note("decided", outcome=outcome)
        await self.tell_all(transaction, outcome)

    async def tell_all(self, transaction: str, outcome: str) -> None:
        """Tell each agent until it has heard."""
        words = [transaction, outcome]
        await asyncio.gather(*[self.insist(agent, "conclude", words) for agent in AGENTS])


class Agent(Peer):
    """Votes, and does what it is told. It can always commit."""

    def __init__(self, env: Env, name: str) -> None:
        super().__init__(env)
        self.others = [agent for agent in AGENTS if agent != name]
        self.prepared: set[str] = set()
        self.decided: dict[str, str] = {}

    async def prepare(self, transaction: str) -> str:
        """Vote; from now on it is for others to decide."""
        if transaction in self.decided:
            return ABORT
        if transaction not in self.prepared:
            self.prepared.add(transaction)
            self.env.note("prepared")
        return YES

    async def conclude(self, words: list[str]) -> bool:
        """Take a decision."""
        self.learn(*words)
        return True

    def learn(self, transaction: str, outcome: str) -> None:
        """Take a decision, once."""
        if transaction not in self.decided:
            self.decided[transaction] = outcome
            self.env.note("decided", outcome=outcome)


class Impatient(Coordinator):
    """Asks each agent once: who does not answer has voted no."""

    async def votes(self, transaction: str) -> str:
        """Ask each agent once; return what that comes to."""
        answers = await asyncio.gather(
            *[self.ask(agent, "prepare", transaction) for agent in AGENTS]
        )
        return COMMIT if all(answer == YES for answer in answers) else ABORT


class Cooperative(Agent):
    """Who voted and hears nothing for four seconds asks the others, once."""

    async def prepare(self, transaction: str) -> str:
        """Vote, and set the timer."""
        if transaction not in self.prepared | self.decided.keys():
            self.meanwhile(self.wait(transaction))
        return await super().prepare(transaction)

    async def wait(self, transaction: str) -> None:
        """Ask the others if nothing was heard."""
        await asyncio.sleep(4)
        if transaction not in self.decided:
            asked = [self.ask(agent, "inquire", transaction) for agent in self.others]
            for outcome in await asyncio.gather(*asked):
                if outcome in (COMMIT, ABORT):
                    self.learn(transaction, outcome)

    async def inquire(self, transaction: str) -> str:
        """Tell another agent what was decided; who has not voted yet decides to abort."""
        if transaction not in self.prepared:
            self.learn(transaction, ABORT)
        return self.decided.get(transaction, UNSURE)


def all_decide(history: History) -> list[str]:
    """Say who lives and has voted, and never learned the outcome."""
    decided = {service_of(event.actor) for event in history.of("note") if is_decision(event)}
    prepared = {service_of(event.actor) for event in history.of("note") if not is_decision(event)}
    return [
        f"{agent} has voted and never learned the outcome"
        for agent in alive(history, AGENTS)
        if agent in prepared - decided
    ]


def none_disagree(history: History) -> list[str]:
    """Say who of those that live decided otherwise than another."""
    living = alive(history, EVERYBODY)
    outcomes = {
        service_of(event.actor): event.data["outcome"]
        for event in history.of("note")
        if is_decision(event) and service_of(event.actor) in living
    }
    if len(set(outcomes.values())) < 2:
        return []
    words = [f"{name} decided to {outcome}" for name, outcome in sorted(outcomes.items())]
    return [" and ".join(words)]


def is_decision(event: Event) -> bool:
    """Say whether a note is about a decision."""
    return bool(event.data["what"] == "decided")


ALL_DECIDE: Property = eventually("all that voted and live decide", all_decide)
NONE_DISAGREE: Property = eventually("no two decide differently", none_disagree)


class Logged(Coordinator):
    """Writes down what it decides before it tells anyone; what was not written is aborted."""

    def __init__(self, env: Env, log: KeyValue) -> None:
        super().__init__(env)
        self.log = env.connect(log)
        self.running: set[str] = set()

    async def begin(self, transaction: str) -> None:
        """Carry out one transaction."""
        self.running.add(transaction)
        try:
            await super().begin(transaction)
        finally:
            self.running.discard(transaction)

    async def votes(self, transaction: str) -> str:
        """Ask each agent once; return what that comes to."""
        return await Impatient.votes(self, transaction)  # type: ignore[arg-type]

    async def decide(self, transaction: str, outcome: str) -> None:
        """Write it down, unless something else was; then tell each agent."""
        await self.log.put_if_absent(transaction, outcome)
        await super().decide(transaction, await self.log.get(transaction))

    async def inquire(self, transaction: str) -> str:
        """Tell an agent that waits: what nobody works on any more, and was not decided, is off."""
        if transaction in self.running:
            return UNSURE
        await self.log.put_if_absent(transaction, ABORT)
        outcome: str = await self.log.get(transaction)
        return outcome


class Persistent(Agent):
    """Who voted and hears nothing asks the coordinator: after four seconds, eight, and so on."""

    async def prepare(self, transaction: str) -> str:
        """Vote, and set the timer."""
        if transaction not in self.prepared | self.decided.keys():
            self.meanwhile(self.wait(transaction))
        return await super().prepare(transaction)

    async def wait(self, transaction: str) -> None:
        """Ask until there is an answer, or the coordinator has told."""
        pause_s = 4
        while transaction not in self.decided:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)
            outcome = await self.ask(COORDINATOR, "inquire", transaction)
            if outcome in (COMMIT, ABORT):
                self.learn(transaction, outcome)


def _commit(name: str, coordinator: type[Coordinator], agent: type[Agent]) -> System:
    group = System(name)

    @group.service(COORDINATOR)
    def build(env: Env) -> None:
        made = coordinator(env)
        env.serve("begin", made.begin)

    def add(one: str) -> None:
        @group.service(one)
        def build(env: Env) -> None:
            serve_agent(env, agent(env, one))

    for one in AGENTS:
        add(one)
    start(group)
    return group


def serve_agent(env: Env, agent: Agent) -> None:
    """Have an agent answer the coordinator."""
    env.serve("prepare", agent.prepare)
    env.serve("conclude", agent.conclude)
    if isinstance(agent, Cooperative):
        env.serve("inquire", agent.inquire)


def start(group: System) -> None:
    """Let one transaction begin, and claim what commit protocols promise."""

    @group.entry(examples=["t1"])
    def begin(env: Env, transaction: str) -> None:
        env.call(COORDINATOR, "begin", transaction)

    group.claim(ALL_DECIDE, NONE_DISAGREE)


def two_phase() -> System:
    """Broken by a coordinator that dies when all have voted."""
    return _commit("two-phase commit", Coordinator, Agent)


def cooperative_two_phase() -> System:
    """Broken by a coordinator that dies when all have voted: the others know no more."""
    return _commit("two-phase commit with cooperative termination", Impatient, Cooperative)


def logged_two_phase() -> System:
    """Right: the coordinator writes down what it decides, and who waits asks it."""
    group = System("two-phase commit with a log")
    log = group.add(KeyValue("log"))

    @group.service(COORDINATOR)
    def build(env: Env) -> None:
        made = Logged(env, log)
        env.serve("begin", made.begin)
        env.serve("inquire", made.inquire)

    def add(one: str) -> None:
        @group.service(one)
        def build(env: Env) -> None:
            serve_agent(env, Persistent(env, one))

    for one in AGENTS:
        add(one)
    start(group)
    return group
