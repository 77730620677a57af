"""Histories written by hand, and the single faults of a real run."""

from collections.abc import Iterator
from typing import Any

from chaosharness.checkers import Evidence, Property
from chaosharness.faults import Delay, Duplicate, Fault, Poison
from chaosharness.kernel.history import History
from chaosharness.kernel.site import Site
from chaosharness.schedule import Schedule
from chaosharness.system import Run, System


class Tale:
    """A history in the making: each method adds one event and returns its index."""

    def __init__(self) -> None:
        self.raw: list[Any] = []
        self.offsets: dict[str, int] = {}

    def add(
        self, kind: str, actor: str = "", operation: str = "", *, entity=1, cause=-1, **data
    ) -> int:
        self.raw.append((10 * len(self.raw), kind, actor, operation, entity, 1, cause, data))
        return len(self.raw) - 1

    # ---- messages

    def reader(self, group: str, *topics: str) -> int:
        members = {f"{group}#1": [f"{topic}[0]" for topic in topics]}
        return self.add("rebalance", "bus", entity=0, group=group, members=members)

    def publish(self, topic: str, key: str | None = "o1", *, by="client.place", **more) -> int:
        offset = self.offsets[topic] = self.offsets.get(topic, -1) + 1
        value = more.pop("value", b"{}")
        place = {"topic": topic, "partition": 0, "offset": offset}
        actor = f"{by.split('.')[0]}#1" if by != "client.place" else "client"
        data = {"broker": "bus", **place, "key": key, "value": value}
        return self.add("publish", actor, f"{by}/bus.publish {topic}", **more, **data)

    def deliver(self, message: int, group: str, *, to: str = "") -> int:
        sent = self.raw[message][7]
        operation = f"bus.{sent['topic']}/deliver to {group}"
        data = {"message": message, "to": to or f"{group}#1", "group": group}
        place = {name: sent[name] for name in ("topic", "partition", "offset")}
        entity = self.raw[message][4]
        return self.add("deliver", "bus", operation, entity=entity, cause=message, **data, **place)

    def _by(self, cause: int) -> tuple[str, int]:
        """Return who does what `cause` led to: the consumer of its delivery."""
        at = cause
        while self.raw[at][1] != "deliver":
            at = self.raw[at][6]
        return self.raw[at][7]["to"], self.raw[cause][4]

    def then(self, kind: str, cause: int, operation: str = "", **data) -> int:
        """Add what the consumer of a delivery did next."""
        actor, entity = self._by(cause)
        actor = data.pop("actor", actor)
        entity = data.pop("entity", entity)
        return self.add(kind, actor, operation, entity=entity, cause=cause, **data)

    def fail(self, delivery: int, error: str) -> int:
        """Have the handler of a delivery raise."""
        group = self.raw[delivery][7]["group"]
        return self.then("raised", delivery, f"{group}.handler/handle", error=error)

    def ack(self, cause: int, message: int | None) -> int:
        place = self._by(cause)[0].split("#")[0]
        return self.then("ack", cause, f"{place}.handler/bus.commit", message=message)

    def handle(self, message: int, group: str, *, to: str = "") -> tuple[int, int, int]:
        delivery = self.deliver(message, group, to=to)
        handled = self.then("handled", delivery, f"{group}.handler/handle")
        return delivery, handled, self.ack(handled, message)

    # ---- the rest

    def effect(
        self, external: str, method: str, *, entity=1, cause=-1, by="payments.on_order", **data
    ):
        operation = f"{by}/{external}.{method}"
        return self.add(
            "effect", external, operation, entity=entity, cause=cause, method=method, **data
        )

    def charge(self, order: str = "o1", cents: int = 500, *, bank="bank", key=None, **more) -> int:
        return self.effect(bank, "charge", order=order, cents=cents, key=key, **more)

    def refund(self, order: str = "o1", cents: int = 500, *, bank="bank", key=None, **more) -> int:
        return self.effect(bank, "refund", order=order, cents=cents, key=key, **more)

    def note(self, what: str, *, entity=1, **data) -> int:
        return self.add("note", "orders#1", entity=entity, what=what, **data)

    def holds(self, store: str, **tables: list[dict[str, Any]]) -> int:
        return self.add("state", store, entity=0, tables=tables)

    def end(self, verdict: str = "quiet", reason: str = "") -> History:
        self.add("end", "world", entity=0, verdict=verdict, reason=reason)
        return self.history

    @property
    def history(self) -> History:
        return History(self.raw)


def judge(one: Property, history: History | Tale, calm: Any = None, faults: Any = ()) -> list[Any]:
    """Return the findings of a property about a history."""
    return one.findings(evidence(history, calm, faults))


def is_tested(one: Property, history: History | Tale, calm: Any = None, faults: Any = ()) -> bool:
    return one.tested(evidence(history, calm, faults))


def evidence(history: Any, calm: Any = None, faults: Any = ()) -> Evidence:
    def read(one: Any) -> History:
        return one.history if isinstance(one, Tale) else one

    quiet = read(history) if calm is None else read(calm)
    return Evidence(read(history), (), lambda: quiet, tuple(faults))


OUTSIDE = (Delay, Duplicate, Poison)


def single_faults(run: Run) -> Iterator[Fault]:
    """Yield every fault that a search would try in a run that went like this one."""
    for (operation, entity), count in run.reached.items():
        found = run.surfaces.get(operation)
        if found is None:
            continue
        for attempt in range(1, count + 1):
            for phase, kinds in (
                ("before", found.searched_before),
                ("after", found.searched_after),
            ):
                for kind in kinds:
                    if operation.startswith("client.") and kind not in OUTSIDE:
                        continue
                    site = Site(operation, phase, entity, attempt)
                    for option in kind.options or (None,):
                        words = {kind.option_name: option} if kind.option_name else {}
                        yield kind(site, **words)


def caught(system: System, properties: Any, *, kinds: Any = None) -> dict[str, list[str]]:
    """Return which properties are broken under no fault or a single one, and by which."""
    calm = system.run()
    found: dict[str, list[str]] = {}
    schedules = [Schedule(), *(Schedule([fault]) for fault in single_faults(calm))]
    for schedule in schedules:
        if kinds is not None and any(type(fault) not in kinds for fault in schedule):
            continue
        run = system.run(None, schedule)
        proof = run.evidence()
        for one in properties:
            if any(not finding.question for finding in one.findings(proof)):
                words = ", ".join(map(str, schedule)) or "calm"
                found.setdefault(one.name, []).append(words)
    return found


def put_to_the_test(system: System, one: Property) -> bool:
    """Say whether any run under no fault or a single one puts a property to the test."""
    schedules = [Schedule(), *(Schedule([fault]) for fault in single_faults(system.run()))]
    return any(one.tested(system.run(None, schedule).evidence()) for schedule in schedules)
