"""Producers whose records and offsets are decided together.

Source:
    KIP-98 (transactions, last stable offset, fencing by transactional id), KIP-447 (offsets of a
    transaction are fenced by the generation, and whoever reads them waits for its end); javadoc of
    KafkaProducer 3.9. The rules are those of `machines/kafka/transactions.py`.

Not modelled:
    A refused or unanswered `begin` (it is local) or init; batches. An end that was not answered may
    be asked for again: it is the same one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chaosharness.brokers.events import not_settled, settled
from chaosharness.brokers.kafka.cluster import Draft
from chaosharness.brokers.kafka.consumers import CommitFailed, UnknownLogPartition
from chaosharness.brokers.kafka.members import Standing
from chaosharness.brokers.kafka.offsets import last_before
from chaosharness.brokers.kafka.rows import END
from chaosharness.brokers.lane import Lane, in_turn
from chaosharness.brokers.message import NO_HEADERS, encode, key_of
from chaosharness.brokers.trouble import refuse_words
from chaosharness.handlers.port import current_scope, on_behalf, operate
from chaosharness.kernel.agenda import Entry
from chaosharness.kernel.scope import Scope
from chaosharness.machines.kafka.assignors import LogPartition
from chaosharness.machines.kafka.machine import named
from chaosharness.machines.kafka.transactions import TRANSACTION_TIMEOUT_MS, Producer
from chaosharness.machines.machine import Refusal


class ProducerFenced(Exception):
    """A newer producer has the same transactional id, or the transaction took too long."""


class TransactionalProducer:
    """A producer with a transactional id: `begin`, publish, `send_offsets`, `commit` or `abort`.

    In plain code the methods block; in `async` code all but `begin` are awaited.

    Args:
        cluster: Where to.
        name: The transactional id: who comes by it fences who had it before.
        timeout_ms: How long a transaction may take, until the cluster aborts it.
    """

    def __init__(self, cluster: Any, name: str, timeout_ms: int = TRANSACTION_TIMEOUT_MS) -> None:
        self._cluster = cluster
        self._world = cluster.world
        self._lane = Lane(since_ms=cluster.world.now)
        self._name = name
        withdrawn = self._undecided()
        made: Producer = cluster.machine.transactions.begin(name, timeout_ms)
        self._number, self._epoch = made.number, made.epoch
        self._acks: list[int | None] = []
        self._ended = ""
        self._open = self._touched = False
        self._timer: Entry | None = None
        cluster.has_gaps = True
        self._changed(withdrawn)

    def _undecided(self) -> list[int]:
        """Return the messages of the open transaction, by their `publish` events."""
        records = self._cluster.machine.transactions.undecided(self._name)
        return [record.published for record in records]

    def _changed(self, withdrawn: list[int]) -> None:
        """Take note of what is aborted; what was hidden may be seen now."""
        if withdrawn:
            data = {"store": self._cluster.name, "withdrawn": withdrawn}
            self._world.record("rollback", self._cluster.name, data=data)
        self._world.effects += 1
        self._cluster.wake_all()

    def _latest(self) -> Producer:
        found: Producer | Refusal = self._cluster.machine.transactions.check(
            self._number, self._epoch
        )
        if isinstance(found, Refusal):
            raise ProducerFenced(str(found))
        return found

    def _in_transaction(self, what: str) -> None:
        if not self._open:
            raise RuntimeError(f"{self._cluster.name}: {what} outside of a transaction")

    # ---- a transaction

    def begin(self) -> None:
        """Begin a transaction."""
        self._latest()
        self.begin_unasked()

    def begin_unasked(self) -> None:
        """Begin a transaction, and let the cluster know by what is done in it."""
        if self._open:
            raise RuntimeError(f"{self._cluster.name}: a transaction is open already")
        self._open, self._ended = True, ""
        self._touched = False
        self._acks = []

    def __call__(
        self,
        topic: str,
        value: Any,
        *,
        key: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        partition: int | None = None,
        **unknown: Any,
    ) -> Any:
        """Append a record, as a publisher does; readers of what is committed see it at the end.

        Raises:
            ProducerFenced: Another has its place.
            RecordTooLarge: It was not stored, and never will be.
            TimeoutError: No answer: it may have been stored.
            ConnectionError: Refused for now: it was not stored.
        """
        if unknown:
            refuse_words(self.__call__, self._cluster.name, unknown)
        cluster = self._cluster
        self._in_transaction("publish")
        self._latest()
        cluster.check((topic,))
        cluster.check_key(topic, key)
        scope = current_scope("publish", self._world)
        body = None if value is None else encode(value, topic)
        if body and len(body) > cluster.size_nearly:
            cluster.check_size(key, headers, body)
        name = key if type(key) is str else key_of(key, topic)
        entity = scope.entity if key is None else self._world.entity_for(name, scope.entity)
        count = len(cluster.logs[topic])
        if cluster.grew:
            count = cluster.learning.known(topic, self._lane.since_ms, count)
        if partition is not None:
            index = cluster.chosen(topic, partition)
        elif key is None:
            index = cluster.spread(topic, entity, count, self)
        elif count == 1:
            index = 0
        else:
            index = cluster.place_of_key(key, count)
        operation = f"{scope.place}/{cluster.name}.publish {topic}"
        place = (operation, entity, scope.message)
        self._world.counts[place] = attempt = self._world.counts.get(place, 0) + 1
        if operation not in self._world.surfaces:
            self._world.meet(operation, cluster.surface_of(True, None))
        draft = (topic, index, key, headers or NO_HEADERS, body, entity, scope.message)
        script = in_turn(self._lane, scope, operation, attempt, self._append, draft, cluster)
        return scope.colour.drive(on_behalf(scope, entity, scope.message, script), scope)

    def _append(self, scope: Scope, operation: str, attempt: int, draft: Draft) -> None:
        producer = self._latest()
        self._cluster._append(scope, operation, attempt, draft)
        place = (draft[0], draft[1])
        log = self._cluster.machine.log(place)
        log.enlist(log.end - 1, self._number)
        began = producer.began
        self._cluster.machine.transactions.write(producer, place, self._world.now)
        self._watch(producer, began)

    def send_offsets(self, consumer: Any, offsets: Mapping[LogPartition, int] | None = None) -> Any:
        """Commit what a consumer has polled, or offsets of its group, with the transaction.

        Raises:
            CommitFailed: The consumer's group has moved on.
            ProducerFenced: Another has its place.
            TimeoutError: No answer.
        """
        self._in_transaction("send_offsets")
        member, positions = consumer.standing()
        at_all = offsets is None
        return self.send(member.standing(), positions if offsets is None else offsets, at_all)

    def send(
        self, standing: Standing, offsets: Mapping[LogPartition, int], at_all: bool = False
    ) -> Any:
        """Commit offsets with the transaction, on behalf of whoever stood so in a group.

        Args:
            standing: Who has read up to there.
            offsets: Where to go on.
            at_all: Whether they speak for everything that was polled.

        Raises:
            CommitFailed: The group has moved on since.
            ProducerFenced: Another has its place.
            TimeoutError: No answer.
        """
        self._in_transaction("send_offsets")
        what = (standing, dict(offsets), at_all)
        return operate(f"{self._cluster.name}.send_offsets", self._send, what, self._cluster, END)

    def _send(self, scope: Scope, operation: str, attempt: int, what: Any) -> None:
        standing, offsets, at_all = what
        if absent := self._cluster.absent(offsets):
            error = f"there is no {', '.join(map(named, absent))}"
            not_settled(scope, operation, attempt, error)
            raise UnknownLogPartition(f"{operation}: {error}")
        producer = self._latest()
        began = producer.began
        refusal = self._cluster.machine.transactions.send_offsets(
            producer, standing.group, standing.id, standing.generation, offsets, self._world.now
        )
        if refusal is not None:
            error = "fenced: not a member any more"
            not_settled(scope, operation, attempt, error)
            raise CommitFailed(f"{operation}: {error}; poll again to rejoin")
        self._watch(producer, began)
        logs = self._cluster.logs
        found = [last_before(logs[topic][index], at) for (topic, index), at in offsets.items()]
        self._acks += [None] if at_all else found

    def commit(self) -> Any:
        """Decide it: all of its records and offsets count from now on.

        Raises:
            ProducerFenced: Another has its place: it was aborted.
            TimeoutError: No answer; it may have been committed. Ask again.
        """
        return self._end("commit")

    def abort(self) -> Any:
        """Give it up: none of its records and offsets count.

        Raises:
            ProducerFenced: Another has its place: it was aborted.
            TimeoutError: No answer; ask again.
        """
        return self._end("abort")

    def _end(self, how: str) -> Any:
        if self._ended != how:
            self._in_transaction(how)
        action = f"{self._cluster.name}.{how}_transaction"
        return operate(action, self._decide, how, self._cluster, END)

    def _decide(self, scope: Scope, operation: str, attempt: int, how: str) -> None:
        if self._ended != how and not self._touched:
            self._open, self._ended = False, how
            return  # nothing was done in it: nobody is asked
        producer = self._latest()
        if self._ended == how:
            return
        self._open, self._ended = False, how
        if self._timer is not None:
            self._world.agenda.cancel(self._timer)
        withdrawn = self._undecided() if how == "abort" else []
        self._cluster.machine.transactions.end(producer, commit=how == "commit")
        if how == "commit":
            for message in self._acks:
                settled(scope, operation, attempt, message)
        self._changed(withdrawn)

    # ---- time

    def _watch(self, producer: Producer, began: int | None) -> None:
        """See to it that a transaction which has just begun is aborted if it takes too long."""
        self._touched = True
        if began is None:
            world = self._world
            due_ms = world.now + producer.timeout_ms
            world.know_timeout(producer.timeout_ms)
            self._timer = world.agenda.add(due_ms, self._too_long, producer, False)

    def _too_long(self, producer: Producer) -> None:
        withdrawn = self._undecided()
        if self._cluster.machine.transactions.expire(self._world.now):
            self._changed(withdrawn)
