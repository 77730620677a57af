"""Histories written by hand, in the words of a tale; and the cause that is told of one."""

from collections.abc import Iterable
from typing import Any

from chaosharness.checkers import Finding
from chaosharness.kernel.history import History
from chaosharness.reporting.story.causes import Case, Cause, cause_of
from chaosharness.reporting.story.decisive import extra
from chaosharness.reporting.story.lanes import Cast
from chaosharness.reporting.story.narrator import Narrator


class Tale:
    """A history in the making. Each verb returns the index of its event.

    An event that was caused by another is of the same item; a root is of item 1. Services are
    `pay#1` (replica 1 of `pay`), and their code is `pay.on`.
    """

    def __init__(self) -> None:
        self.raw: list[Any] = []

    def add(
        self,
        kind: str,
        actor: str,
        operation: str = "",
        cause: int = -1,
        entity: int | None = None,
        attempt: int = 1,
        at: int | None = None,
        **data: Any,
    ) -> int:
        index = len(self.raw)
        if entity is None:
            entity = self.raw[cause][4] if cause >= 0 else 1
        at_ms = index if at is None else at
        self.raw.append((at_ms, kind, actor, operation, entity, attempt, cause, data))
        return index

    # ---- messages

    def publish(
        self,
        topic: str = "orders",
        key: str = "o1",
        cause: int = -1,
        value: Any = None,
        **more: Any,
    ) -> int:
        who = more.pop("who", self._who(cause) or "client")
        data: dict[str, Any] = {
            "broker": "bus",
            "topic": topic,
            "key": key,
            "partition": 0,
            "offset": len(self.raw),
        }
        return self.add(
            "publish",
            who,
            more.pop("operation", f"{_code(who)}/bus.publish {topic}"),
            cause,
            value=value if value is not None else f"{topic} {key}",
            **data,
            **more,
        )

    def deliver(
        self, message: int, to: str = "pay#1", times: int = 1, group: str = "pay", **more: Any
    ) -> int:
        topic = self.raw[message][7]["topic"]
        data: dict[str, Any] = {
            "message": message,
            "to": to,
            "group": group,
            "times": times,
            "topic": topic,
        }
        return self.add(
            "deliver", "bus", f"bus.{topic}/deliver to {group}", message, **data, **more
        )

    def handled(self, cause: int, **more: Any) -> int:
        return self._end("handled", cause, **more)

    def raised(self, cause: int, error: str = "KeyError: 'id'", **more: Any) -> int:
        return self._end("raised", cause, error=error, **more)

    def crash(self, cause: int, **more: Any) -> int:
        return self.add("crash", more.pop("who", self._who(cause)), "", cause, **more)

    def ack(self, cause: int) -> int:
        message = self.raw[self._delivery(cause)][7]["message"]
        who = self._who(cause)
        return self.add("ack", who, f"{_code(who)}/bus.commit", cause, message=message)

    # ---- stores

    def read(self, table: str, cause: int, **more: Any) -> int:
        return self._store("read", "select", table, cause, **more)

    def write(
        self,
        table: str,
        cause: int,
        verb: str = "insert",
        params: tuple[Any, ...] = ("o1",),
        **more: Any,
    ) -> int:
        return self._store("write", verb, table, cause, params=params, rows=1, **more)

    def commit(self, cause: int, store: str = "db", **more: Any) -> int:
        who = more.pop("who", self._who(cause))
        return self.add("commit", who, f"{_code(who)}/{store}.commit", cause, store=store, **more)

    def rollback(self, cause: int, store: str = "db") -> int:
        who = self._who(cause)
        return self.add("rollback", who, f"{_code(who)}/{store}.commit", cause, store=store)

    def keep(self, table: str, cause: int, **more: Any) -> int:
        """Write a row, and commit it."""
        return self.commit(self.write(table, cause, **more), more.get("store", "db"))

    def _store(
        self, kind: str, verb: str, table: str, cause: int, store: str = "db", **more: Any
    ) -> int:
        who = more.pop("who", self._who(cause))
        operation = f"{_code(who)}/{store}.{verb} {table}"
        return self.add(kind, who, operation, cause, store=store, verb=verb, table=table, **more)

    # ---- calls

    def call(self, what: str, cause: int, **more: Any) -> int:
        who = more.pop("who", self._who(cause))
        method = what.partition(".")[2]
        return self.add("call", who, f"{_code(who)}/{what}", cause, method=method, **more)

    def effect(self, call: int, **data: Any) -> int:
        """A third party does what a call asked for."""
        _, _, _, operation, entity, attempt, _, asked = self.raw[call]
        party = operation.partition("/")[2].partition(".")[0]
        data = {"method": asked["method"], "order": f"o{entity}", "id": len(self.raw), **data}
        return self.add("effect", party, operation, call, attempt=attempt, **data)

    def reply(self, call: int, outcome: str = "ok") -> int:
        _, _, actor, operation, _, attempt, _, _ = self.raw[call]
        return self.add("reply", actor, operation, call, attempt=attempt, outcome=outcome)

    def fault(self, cause: int, fault: str = "error reply", **more: Any) -> int:
        """A fault strikes at the operation of an event."""
        _, _, actor, operation, _, attempt, _, _ = self.raw[cause]
        return self.add("fault", actor, operation, cause, attempt=attempt, fault=fault, **more)

    # ---- the end

    def end(self, reason: str = "", **tables: Any) -> History:
        """The run is over; what the store holds is the last event of its history."""
        verdict = "budget" if reason else "quiet"
        self.add("end", "world", entity=0, verdict=verdict, reason=reason)
        self.add("state", "db", entity=0, tables=tables)
        return History(list(self.raw))

    def _end(self, kind: str, cause: int, **more: Any) -> int:
        who = more.pop("who", self._who(cause))
        return self.add(kind, who, f"{_code(who)}/handle", cause, **more)

    def _delivery(self, cause: int) -> int:
        while cause >= 0 and self.raw[cause][1] != "deliver":
            cause = self.raw[cause][6]
        return cause

    def _who(self, cause: int) -> str:
        """Return whose work an event is part of: the consumer, or who did it."""
        if cause < 0:
            return ""
        delivery = self._delivery(cause)
        actor: str = self.raw[delivery][7]["to"] if delivery >= 0 else self.raw[cause][2]
        return actor


def _code(who: str) -> str:
    return f"{who.partition('#')[0]}.on"


def case(history: History, finding: Finding, passing: History | None = None) -> Case:
    """Return what the search for a cause looks at."""
    cast = Cast(history) if passing is None else Cast(history, passing)
    narrator = Narrator(history, cast, (), lambda entity: f"o{entity}" if entity else "")
    return Case(history, finding, narrator, extra(history, passing), passing)


def cause(history: History, finding: Finding, passing: History | None = None) -> Cause | None:
    """Return the cause that is told of a finding."""
    return cause_of(case(history, finding, passing))


def kind(history: History, finding: Finding, passing: History | None = None) -> str:
    """Return what kind of cause is told; nothing if none is."""
    found = cause(history, finding, passing)
    return found.kind if found is not None else ""


def of_the_end(history: History) -> Finding:
    """What the store holds at the end does not add up."""
    return Finding("it does not add up", (len(history) - 1,))


def shown(summary: str, events: Iterable[int], **data: Any) -> Finding:
    """Something is wrong with item 1, as some events show."""
    return Finding(summary, tuple(events), 1, data)


def asked(
    tale: Tale,
    what: str,
    cause: int,
    outcome: str = "ok",
    *,
    happens: bool | None = None,
    who: str = "pay#1",
) -> tuple[int, int]:
    """Call for something; return the places of what a third party did, and of its answer."""
    call = tale.call(what, cause, who=who)
    deed = tale.effect(call) if (outcome == "ok" if happens is None else happens) else -1
    return deed, tale.reply(call, outcome)
