"""Systems for workers: found by name in a process that loads them anew."""

from chaosharness import Property, System
from tests.search.planted import EXAMPLES


def own(evidence):
    return []


OWN = Property("a claim of the test's own", own)
"""Not among what any system here claims."""


def steps(name, act=lambda env, step: None):
    """Return a system that calls a function of the test at each of its steps."""
    system = System(name)

    @system.service("work")
    def work(env):
        def begin():
            for step in range(6):
                env.note(f"step {step}")
                act(env, step)

        env.main(begin)

    @system.entry(examples=EXAMPLES[:1])
    def enter(env, item):
        """Nothing enters."""

    system.claim(Property("quiet", lambda evidence: []))
    return system


def loud():
    """A system whose code prints."""
    return steps("loud", lambda env, step: print(f"step {step}"))
