"""The smallest systems there are: a service that puts things into boxes, one after another."""

from chaosharness import Finding, Property, Site, System
from chaosharness.faults import Crash, ErrorReply, Pause
from chaosharness.handlers.port import operate, surface
from chaosharness.search.marks import Sights

PUT = surface(before=(ErrorReply,), after=(Crash,), also=(Pause,))


class Box:
    """Something to put things into. An error before, a crash after; a pause is legal too."""

    def __init__(self, name):
        self.name = name
        self.timeout_ms = 1_000

    def open(self, world):
        return OpenBox(self.name)


class OpenBox:
    def __init__(self, name):
        self.name = name
        self.timeout_ms = 1_000

    def connect(self, incarnation):
        return self

    def put(self):
        return operate(f"{self.name}.put", self._put, None, self, PUT)

    def _put(self, scope, operation, attempt, argument):
        scope.world.effects += 1
        scope.record("effect", operation, attempt, {"box": self.name})

    def lost(self, operation):
        return TimeoutError(operation)

    def refused(self, operation):
        return ConnectionError(operation)

    def lose_writes(self, scope):
        """Nothing."""


def boxes(*names):
    """Return a system whose worker puts something into each box, from the start if it fails."""
    system = System("boxes")
    stores = [system.add(Box(name)) for name in names]

    @system.service("worker")
    def worker(env):
        opened = [env.connect(store) for store in stores]

        def work():
            for box in opened:
                box.put()

        env.main(work)

    @system.entry(examples=[1])
    def begin(env, item):
        """Nothing enters."""

    return system


def put(box, phase="before", attempt=1):
    """Return the site of putting something into a box."""
    return Site(f"worker.work/{box}.put", phase, 0, attempt)


def drive(planner, system, *, runs_max=100_000, items=None, at_once=1):
    """Run what a planner proposes, up to so many at once; return the runs."""
    runs, sights = [], Sights()
    while len(runs) < runs_max:
        batch = []
        while len(batch) < at_once and (schedule := planner.propose()) is not None:
            batch.append(schedule)
        if not batch:
            break
        for schedule in batch:
            runs.append(system.run(items, schedule))
            planner.observe(sights.of(runs[-1]))
    return runs


def puts(history, box):
    return [event for event in history.of("effect") if event.data["box"] == box]


def at_most(box, times):
    """Claim that a box is filled no more often than that."""

    def judge(evidence):
        found = puts(evidence.history, box)
        if len(found) <= times:
            return []
        return [Finding(f"{box} was filled {len(found)} times", (found[-1].index,))]

    return Property(f"{box} at most {times}", judge)
