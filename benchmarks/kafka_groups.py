"""The members of one group on both sides: who joins, who waits for the end of a round, who is out.

A request to join is answered when its round ends, so each member has a connection of its own. The
first to be in leads: it hands over what the machine gave each, and all take it in the same breath,
as the machine has joining and syncing in one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import attrs

from benchmarks.kafka_connection import Connection
from benchmarks.kafka_peers import (
    SESSION_MS,
    Real,
    code_of,
    left_out,
    packed,
    subscription,
    told_otherwise,
)
from chaosharness.machines.kafka import KafkaMachine
from chaosharness.machines.kafka import operations as op
from chaosharness.machines.machine import Refusal

Compare = Callable[[str, Any, Any], None]
STILL_S: Final = 0.005
SOON_S: Final = 0.5
ENDS_S: Final = 5.0
ROUND_MS: Final = {"mock": SESSION_MS["mock"] - 1_000, "noida": 20_000}
"""After how long a peer ends a round, whoever is missing. The mock takes no notice of the patience
that is asked for: a round is over a second before the session is (`rd_kafka_mock_cgrp_rebalance`).
"""


@attrs.define(eq=False)
class One:
    """A member: what the machine calls it, and what the cluster does, once it has said so.

    `generation` is the cluster's, `ours` the machine's; `heard_s` is when it was last sent for.
    """

    name: str
    connection: Connection
    id: str = ""
    generation: int = -1
    ours: int = -1
    waits: bool = False
    heard_s: float = attrs.field(factory=time.monotonic)


class Members:
    """The members of a group, as they come and go."""

    def __init__(self, machine: KafkaMachine, real: Real, group: str, topic: str) -> None:
        self.machine = machine
        self.real = real
        self.group = group
        self.topic = topic
        self.leaves_out = left_out(real.peer)
        self.all: list[One] = []
        self.gone: list[One] = []
        self.leader: One | None = None
        self.late = False
        self._made = 0
        self._round_s: float | None = None

    def close(self) -> None:
        """Let go of all: a cluster forgets who is gone when its session is over."""
        for one in (*self.all, *self.gone):
            one.connection.close()

    # ---- time, which stands still for the machine

    def look_at_the_time(self) -> None:
        """Note where the peer may have lost its patience: what it shows then is of this machine.

        A busy computer takes its time between two steps, and a peer gives up who is silent for a
        session, and whoever is missing from a round.
        """
        now = time.monotonic()
        silent_ms = max((now - one.heard_s for one in self.all), default=0) * 1_000
        round_ms = 0 if self._round_s is None else (now - self._round_s) * 1_000
        peer = self.real.peer
        self.late |= silent_ms >= SESSION_MS[peer] or round_ms >= ROUND_MS[peer]

    # ---- steps

    def take(self, step: Any, compare: Compare) -> bool | None:
        """Do one step, where it makes sense; say False where it does not."""
        self.look_at_the_time()
        done: bool | None = getattr(self, f"_{step.verb.replace(' ', '_')}")(step, compare)
        self.settle(compare)
        return done

    def standing(self, step: Any) -> tuple[str, str, int, int] | None:
        """Return who commits as what: names and generations on both sides, which may be over."""
        known = [one for one in (*self.all, *self.gone) if one.id]
        if not known:
            return None
        one = known[step.number % len(known)]
        off = step.other % 2
        return one.name, one.id, one.ours - off, one.generation - off

    def _join(self, step: Any, compare: Compare) -> bool | None:
        place = step.number % 3
        if place >= len(self.all):
            if len(self.all) == 3:
                return False
            self._made += 1
            self.all.append(One(f"m{self._made}", Connection(self.real.port)))
            place = len(self.all) - 1
        one = self.all[place]
        if one.waits:
            return False
        group = self.machine.group(self.group)
        if one.name in group.members and not group.preparing:
            leads = one.name == next(iter(group.members))
            if leads != (one is self.leader):
                return False  # who leads when the first is gone, is free
            if not leads and "follower joins again" in self.leaves_out:
                return False
        self.machine.apply(
            op.Join(
                group=self.group,
                member=one.name,
                topics=(self.topic,),
                session_ms=10**9,
                rebalance_ms=10**9,
            ),
            0,
        )
        if self._round_s is None:
            self._round_s = time.monotonic()
        one.connection.send(self._request(one))
        one.connection.wait_until_read()  # who comes first, leads
        self._heard(one.id)
        one.waits = True
        self.look_at_the_time()
        return None

    def _request(self, one: One) -> Any:
        from kafka.protocol.consumer import JoinGroupRequest

        request = JoinGroupRequest[3]
        wish = request.JoinGroupRequestProtocol(name="range", metadata=subscription((self.topic,)))
        return request(
            group_id=self.group,
            session_timeout_ms=SESSION_MS[self.real.peer],
            rebalance_timeout_ms=20_000,
            member_id=one.id,
            protocol_type="consumer",
            protocols=[wish],
        )

    def settle(self, compare: Compare) -> None:
        """Where a round has ended, hand out what each has; else see that nobody was answered."""
        waiting = [one for one in self.all if one.waits]
        if not waiting:
            return
        group = self.machine.group(self.group)
        if group.preparing:
            early = [one.name for one in waiting if one.connection.receive(STILL_S) is not None]
            compare("who was told that the round is over", [], early)
            return
        self._round_s = None
        answers = {one.name: one.connection.receive(ENDS_S) for one in waiting}
        compare("who was told nothing", [], [name for name, one in answers.items() if one is None])
        for one in waiting:
            answer = answers[one.name]
            compare(f"join of {one.name}", "", code_of(answer.error_code))
            is_new = answer.generation_id > one.generation
            compare(
                f"whether {one.name} is in another generation", group.generation > one.ours, is_new
            )
            one.id, one.generation, one.waits = answer.member_id, answer.generation_id, False
            one.ours = group.generation
        compare("that all are in one generation", 1, len({one.generation for one in waiting}))
        leaders = [one for one in waiting if answers[one.name].leader == one.id]
        if {one.name for one in waiting} == {*group.members}:
            compare("how many lead", 1, len(leaders))
        for one in leaders:
            self.leader = one
            theirs = {member.member_id for member in answers[one.name].members}
            compare("who is in", {one.id for one in self.all if one.name in group.members}, theirs)
        self._sync(waiting, leaders, compare)

    def _sync(self, waiting: list[One], leaders: list[One], compare: Compare) -> None:
        from kafka.protocol.consumer import SyncGroupRequest

        request = SyncGroupRequest[1]
        given = {one.id: packed(self._given(one)) for one in waiting}
        for one in sorted(waiting, key=lambda one: one in leaders):
            shares = [
                request.SyncGroupRequestAssignment(member_id=id, assignment=share)
                for id, share in given.items()
                if one in leaders
            ]
            one.connection.send(
                request(
                    group_id=self.group,
                    generation_id=one.generation,
                    member_id=one.id,
                    assignments=shares,
                )
            )
            one.heard_s = time.monotonic()
            if len(waiting) > 1:
                one.connection.wait_until_read()  # the mock refuses who comes after the leader
        for one in waiting:
            answer = one.connection.receive(ENDS_S)
            compare(f"sync of {one.name}", "", code_of(answer.error_code))
            found = answer.assignment
            seen = found if isinstance(found, bytes) else found.encode()
            compare(f"what {one.name} has", given[one.id], bytes(seen))

    def _given(self, one: One) -> Any:
        found = self.machine.apply(op.Look(self.group, one.name), 0)
        assert isinstance(found, op.Given), found
        return found.places

    def _both(self, ours: Any, theirs: Any, compare: Compare) -> None:
        answer = self.machine.apply(ours, 0)
        code = answer.code if isinstance(answer, Refusal) else answer
        seen = self.real.apply(theirs)
        self._heard(getattr(theirs, "member", ""))
        deadline = time.monotonic() + SOON_S
        while seen != code and code == "REBALANCE_IN_PROGRESS" and time.monotonic() < deadline:
            time.sleep(STILL_S)  # somebody's request to join is under way, on another connection
            seen = self.real.apply(theirs)
        if not told_otherwise(self.real.peer, ours, code, seen):
            compare(str(ours), code, seen)

    def _heard(self, id: str) -> None:
        """Note that the peer has heard of a member, if it knows it."""
        for one in self.all:
            if id and one.id == id:
                one.heard_s = time.monotonic()

    def _member(self, step: Any) -> One | None:
        gone = () if "gone" in self.leaves_out else self.gone
        known = [one for one in (*self.all, *gone) if one.id]
        return known[step.number % len(known)] if known else None

    def _heartbeat(self, step: Any, compare: Compare, off: int = 0) -> bool | None:
        one = self._member(step)
        if one is None:
            return False
        self._both(
            op.Heartbeat(self.group, one.name, one.ours - off),
            op.Heartbeat(self.group, one.id, one.generation - off),
            compare,
        )
        return None

    def _late_heartbeat(self, step: Any, compare: Compare) -> bool | None:
        return self._heartbeat(step, compare, 1)

    def _leave(self, step: Any, compare: Compare) -> bool | None:
        one = self._member(step)
        if one is None or one.waits:
            return False
        if one in self.gone and "stranger leaves" in self.leaves_out:
            return False
        self._both(op.Leave(self.group, one.name), op.Leave(self.group, one.id), compare)
        if one in self.all:
            self.all.remove(one)
            self.gone.append(one)
        return None

    def _member_commit(self, step: Any, compare: Compare, off: int = 0) -> bool | None:
        one = self._member(step)
        in_a_round = self.machine.group(self.group).preparing
        if one is None or (in_a_round and "commit in a round" in self.leaves_out):
            return False
        offsets = {(self.topic, step.other % 2): step.other}
        self._both(
            op.Commit(self.group, offsets, one.name, one.ours - off),
            op.Commit(self.group, offsets, one.id, one.generation - off),
            compare,
        )
        return None

    def _late_commit(self, step: Any, compare: Compare) -> bool | None:
        return self._member_commit(step, compare, 1)

    def _bare_commit(self, step: Any, compare: Compare) -> None:
        bare = op.Commit(self.group, {(self.topic, step.other % 2): step.other})
        self._both(bare, bare, compare)

    def _stranger(self, step: Any, compare: Compare) -> bool | None:
        if ("stranger commits", "stranger leaves", "")[2 - step.number % 3] in self.leaves_out:
            return False
        place = (self.topic, step.other % 2)
        asked: Any = (
            op.Heartbeat(self.group, "nobody", 1),
            op.Leave(self.group, "nobody"),
            op.Commit(self.group, {place: 1}, "nobody", 1),
        )[step.number % 3]
        self._both(asked, asked, compare)
        return None
