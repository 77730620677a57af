"""The transactions of a producer of confluent-kafka, and what ends them early.

Source:
    librdkafka 2.16, `rdkafka.h` ("Transactional producer API") and `rdkafka_txnmgr.c`; states,
    codes and words as observed on a broker. A request that is not answered is sent again until the
    time of its call is over. An error is *fatal* (a newer producer has the same
    `transactional.id`), it asks for an abort, or the same call may be made again.

Not modelled:
    `init_transactions` is always answered. What an abort finds on its way to the cluster it waits
    for, where the client takes it back (`_PURGE_INFLIGHT`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, NoReturn

from confluent_kafka import KafkaError, KafkaException

from chaosharness.adapters.kafka.confluent.message import refusal
from chaosharness.adapters.kafka.confluent.places import places_of, words_of
from chaosharness.brokers.kafka.consumers import CommitFailed
from chaosharness.brokers.kafka.members import Standing
from chaosharness.brokers.kafka.transactions import ProducerFenced
from chaosharness.handlers.blocking import blocking
from chaosharness.handlers.port import current_scope
from chaosharness.kernel.scope import Scope

BACKOFF_MS: Final = 100
NOT_CONFIGURED: Final = "The Transactional API requires transactional.id to be configured"


class GroupMetadata(bytes):
    """What `Consumer.consumer_group_metadata()` returns: who read, in which generation.

    The client's own is opaque, too; `send_offsets_to_transaction` takes it.
    """

    standing: Standing


def metadata_of(standing: Standing, member: str | None) -> GroupMetadata:
    """Return what a consumer is in its group, as the client packs it."""
    generation = standing.generation.to_bytes(4, "little", signed=True)
    names = f"{standing.group.name}\0{member or ''}\0"
    found = GroupMetadata(b"CGMDv2:" + generation + names.encode() + b"\x01")
    found.standing = standing
    return found


class Transactions:
    """What a producer with a `transactional.id` is in the middle of.

    Args:
        make: Makes the producer behind it, which fences the one before.
        flush: Waits until all that was handed over is delivered, or has failed.
        purge: Gives up what has not been sent.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        flush: Callable[[], Any],
        purge: Callable[[], Any],
    ) -> None:
        self._make = make
        self._flush = flush
        self._purge = purge
        self._state = "Init"
        self._wrong: KafkaError | None = None
        self._ending = ""
        self.number = 0
        """How many it has begun."""
        self.producer: Any = None

    # ---- what may be done just now

    def _require(self, state: str) -> None:
        """Refuse what does not belong here, as the client does."""
        if self._wrong is not None:
            raise KafkaException(self._wrong)
        if self._state != state:
            raise refusal(KafkaError._STATE, f"Operation not valid in state {self._state}")

    def check_produce(self) -> None:
        """Refuse a record outside of a transaction, or behind its failure."""
        wrong = self._wrong
        if self._state == "InTransaction" and wrong is None:
            return
        code = KafkaError._FATAL if wrong is not None and wrong.fatal() else KafkaError._STATE
        raise refusal(code, f"Unable to produce message: {words_of(code)}")

    def fail_by(self, code: int) -> None:
        """Take note that a record of it was given up: it can only be aborted."""
        if self._wrong is None:
            self._wrong = KafkaError(code, words_of(code), txn_requires_abort=True)

    def fail(self, error: BaseException) -> KafkaError:
        """Take note of what became of a request or a record; return it as the client has it."""
        if isinstance(error, ProducerFenced):
            words = words_of(KafkaError._FENCED)
            self._wrong = KafkaError(KafkaError._FENCED, words, fatal=True)
        elif self._wrong is None:
            code = KafkaError._MSG_TIMED_OUT
            if isinstance(error, CommitFailed):
                code = KafkaError.ILLEGAL_GENERATION
            self._wrong = KafkaError(code, words_of(code), txn_requires_abort=True)
        return self._wrong

    # ---- a transaction

    def init(self) -> None:
        """Get a number; who had it before is fenced, and its transaction aborted."""
        self._require("Init")
        self.producer = self._make()
        self._state = "Ready"

    def begin(self) -> None:
        """Begin one."""
        self._require("Ready")
        self.producer.begin_unasked()
        self._state = "InTransaction"
        self.number += 1

    def send_offsets(self, positions: Any, metadata: Any, timeout: float | None) -> None:
        """Have offsets committed with it."""
        places = places_of(positions)
        if not isinstance(metadata, bytes):
            raise TypeError(f"expected bytes, {type(metadata).__name__} found")
        if not isinstance(metadata, GroupMetadata):
            raise refusal(KafkaError._BAD_MSG, "Input too short or not group metadata")
        self._require("InTransaction")
        ends = zip(places, [one.offset for one in positions], strict=True)
        offsets = {place: offset for place, offset in ends if offset >= 0}
        if offsets:
            self._asked(partial(self.producer.send, metadata.standing, offsets), timeout)

    def end(self, how: str, timeout: float | None) -> None:
        """Commit it, or abort it."""
        if self._ending != how:
            wrong = self._wrong
            if how == "abort" and wrong is not None and wrong.txn_requires_abort():
                self._wrong = None  # to abort it is what this error asks for
            try:
                self._require("InTransaction")
            except KafkaException:
                self._wrong = wrong
                raise
        if how == "abort":
            self._purge()
        self._flush()
        if self._wrong is not None and (how == "commit" or self._wrong.fatal()):
            raise KafkaException(self._wrong)
        self._ending = how
        self._asked(getattr(self.producer, how), timeout)
        self._wrong = None
        self._ending, self._state = "", "Ready"

    def _asked(self, port: Callable[[], Any], timeout: float | None) -> None:
        """Ask the cluster until it answers, or until the time of the call is over."""
        scope = current_scope("transaction")
        seconds = -1.0 if timeout is None else timeout
        due_ms = None if seconds < 0 else scope.world.now + round(seconds * 1_000)
        while True:
            try:
                blocking(port)()
            except (ProducerFenced, CommitFailed) as error:
                raise KafkaException(self.fail(error)) from None
            except OSError:
                if due_ms is None or scope.world.now + BACKOFF_MS < due_ms:
                    blocking(partial(_rest, scope))()
                    continue
                words = "Timed out waiting for operation to finish, retry call to resume"
                code = KafkaError._TIMED_OUT
                raise KafkaException(KafkaError(code, words, retriable=True)) from None
            return


def not_configured() -> NoReturn:
    """Raise what the client raises where a producer has no `transactional.id`."""
    raise refusal(KafkaError._NOT_CONFIGURED, NOT_CONFIGURED)


def _rest(scope: Scope) -> Any:
    """Wait a moment before a request is sent again."""

    def moment() -> Any:
        yield partial(scope.world.after, BACKOFF_MS)

    return scope.colour.drive(moment(), scope)
