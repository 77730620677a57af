"""An orchestrator's attempt times out and is started again, while the first attempt still runs.

Kind: zombie attempt. Sources: dust-tt/dust pull request 5045, TracecatHQ/tracecat pull request
3266 (Temporal start-to-close and heartbeat timeouts; log: P15). Temporal is not in the product:
a call with a timeout and three attempts stands for the activity.
Smallest fault: 1 (a pause, a slow or lost reply). Expected: `broken` is reported (two machines
for one job, the first one leaked). `right` holds: the job's id is the creation token.
"""

from dataclasses import dataclass

from chaosharness import External, Kafka, KeyValue, RemoteError, System, never_twice

FAULTS = 1


@dataclass
class Job:
    id: str


class Cloud:
    def __init__(self):
        self.machines = {}

    def create(self, job, token=None):
        if token in self.machines:
            return External.unchanged(self.machines[token])
        machine = f"vm-{len(self.machines) + 1}"
        self.machines[token or machine] = machine
        return machine


def build(name, *, fixed):
    system = System(name)
    bus = system.add(Kafka("bus", topics={"jobs": 1}))
    runs = system.add(KeyValue("runs"))
    cloud = system.add(External("cloud", Cloud, latency_ms=2_000, timeout_ms=60_000))

    @system.service("activities", replicas=2)
    def activities(env):
        client = env.client(cloud)

        def provision(job: Job):
            return client.create(job.id, token=job.id if fixed else None)

        env.serve("provision", provision)

    @system.service("orchestrator")
    def orchestrator(env):
        store = env.connect(runs)

        def on_job(job: Job):
            while True:
                try:
                    machine = env.call("activities", "provision", job, timeout_s=30)
                    break
                except (TimeoutError, ConnectionError, RemoteError):
                    env.sleep(1)
            store.put(job.id, machine)

        env.consume(bus, "jobs", on_job, on_unreadable="dead-letter")

    @system.entry(examples=[Job("j1")])
    def submit(env, job):
        env.publisher(bus)("jobs", job, key=job.id)

    return system


CLAIMS = [never_twice("cloud", "create", key="job")]
broken = build("activity still running", fixed=False)
right = build("activity with a token", fixed=True)
