"""What usually prevents each kind of mistake, in one line, and the page that says more."""

from __future__ import annotations

from typing import Final

import attrs

PAGE: Final = "docs/explanation/causes.md"
SITE: Final = "https://chaosharness.github.io/chaosharness/explanation/causes/"
"""The same page on the site: who has a report in hand need not have the repository."""


@attrs.frozen
class Cure:
    """What usually prevents a kind of mistake.

    Attributes:
        words: In one sentence.
        section: The section of the page that says more.
    """

    words: str
    section: str

    @property
    def link(self) -> str:
        """Where to read on, within the repository."""
        return f"{PAGE}#{self.section}"

    @property
    def address(self) -> str:
        """Where to read on, for a page that may be opened anywhere."""
        return f"{SITE}#{self.section}"


CURES: Final = {
    "versions": Cure(
        "a new version that means the same to who does not know it: an amount keeps its name and "
        "its meaning, and what is new may be overlooked; and the side that the registry's mode "
        "names is upgraded first.",
        "two-versions-of-an-event",
    ),
    "deployed": Cure(
        "a version that still does what it did for all that was begun before it (a patch marker), "
        "or workers of the old version until it is over.",
        "two-versions-of-the-code",
    ),
    "key": Cure(
        "an idempotency key made from what the request is about (the order's id), the same at "
        "each attempt.",
        "one-key-for-one-request",
    ),
    "key over": Cure(
        "a key that is remembered for longer than any retry may take, or a look at what was done "
        "before it is done again.",
        "keys-leases-and-locks-run-out",
    ),
    "key taken": Cure(
        "a key that is never given twice (not a count in memory), and an answer that is given "
        "again only to a request that is the same in all its fields.",
        "one-key-for-one-request",
    ),
    "lease": Cure(
        "a fencing number that is checked in the same transaction as the write: a lease alone "
        "says nothing about later.",
        "keys-leases-and-locks-run-out",
    ),
    "kept": Cure(
        "nothing kept in hand for longer than its broker waits for it (a shorter countdown, a "
        "longer visibility timeout, a table of what is due), and one key for one request.",
        "keys-leases-and-locks-run-out",
    ),
    "race": Cure(
        "a unique constraint, written first, or a lock on the row: let the database decide who "
        "was first.",
        "both-looked-before-either-wrote",
    ),
    "lost update": Cure(
        "one UPDATE that counts in the database, a version in its WHERE clause, or a lock on the "
        "row that is read.",
        "both-looked-before-either-wrote",
    ),
    "connection": Cure(
        "a connection for each handler that runs beside others; or, where one thread runs both "
        'handlers, one connection="..." to RabbitMQ for their consumers.',
        "one-connection-for-two",
    ),
    "inbox": Cure(
        "an inbox: remember the message in the same transaction as all that it leads to.",
        "remember-the-message-with-its-work",
    ),
    "outbox": Cure(
        "an outbox: write the message into the same transaction as the change, and publish it "
        "from there until it is out.",
        "a-change-and-its-announcement",
    ),
    "loop": Cure(
        "a loop that logs an error and goes on, or a supervisor that starts it again; a thread "
        "that ends quietly is missed only on bad days.",
        "a-loop-that-ended",
    ),
    "reader": Cure(
        "a loop around it that logs an error and connects again; or a process that ends with it, "
        "so that it is started anew; and a health check that asks whether it still reads.",
        "a-loop-that-ended",
    ),
    "ack": Cure(
        "acknowledge last: after the work is done and committed.",
        "acknowledge-last",
    ),
    "dropped": Cure(
        "somewhere for a message to go when nobody could handle it (a dead letter queue), and "
        "somebody who looks there.",
        "a-message-that-nobody-has",
    ),
    "broadcast": Cure(
        "something that keeps messages until they are done (a stream, a queue, a table of what is "
        "to do): what is only broadcast is a hint to look there.",
        "a-message-that-nobody-has",
    ),
    "aged": Cure(
        "records kept for longer than anybody may be away or behind, an alert on lag, and a way to "
        "read from the source what was missed.",
        "what-a-log-does-not-keep",
    ),
    "compacted": Cure(
        "records that say what there is now, and not what has changed; or a log that is not "
        "compacted.",
        "what-a-log-does-not-keep",
    ),
    "failed over": Cure(
        "acknowledgements of all replicas in sync (acks=all, min.insync.replicas=2), or an outbox "
        "that sends again until the other side has answered.",
        "what-a-log-does-not-keep",
    ),
    "replicated late": Cure(
        "a table of what is to do that outlives the stream, and a look at it from time to time (an "
        "outbox that sends again until the other side has answered): WAIT and `appendfsync always` "
        "make the loss rarer, and no more.",
        "what-a-log-does-not-keep",
    ),
    "pending": Cure(
        "somebody who looks, from time to time, for what was handed out and never acknowledged, "
        "and takes it up.",
        "a-message-that-nobody-has",
    ),
    "unconfirmed": Cure(
        "publisher confirms (or a flush that is waited for), before what led to the message is "
        "acknowledged.",
        "a-message-that-nobody-has",
    ),
    "marked": Cure(
        "the mark set after what it stands for, once that has succeeded: done twice can be told by "
        "a key, never done cannot.",
        "acknowledge-last",
    ),
    "in the way": Cure(
        "a limit to attempts, and a dead letter queue for what no retry can cure.",
        "what-no-retry-can-cure",
    ),
    "busy": Cure(
        "no more in hand than there is room for (a prefetch, a limit where the queue is read), and "
        "enough attempts before a message is put aside.",
        "more-in-hand-than-there-is-room-for",
    ),
    "order": Cure(
        "a guard on state (remember the cancellation, and refuse what comes after it), or one "
        "log partition or queue for all that concerns one key.",
        "an-order-that-nobody-promised",
    ),
    "too early": Cure(
        "what comes too early is kept, or given back, until what it waits for is there: a guard "
        "that only refuses it loses it.",
        "an-order-that-nobody-promised",
    ),
    "refused": Cure(
        "raise when a call is refused for now, so that the message comes again; or write down "
        "what is still to be done.",
        "a-refusal-is-not-the-end",
    ),
    "swallowed": Cure(
        "let the error of a commit out of the handler, so that the message comes again; what it "
        "writes then must bear a repeat.",
        "a-refusal-is-not-the-end",
    ),
    "unknown": Cure(
        "treat no answer as neither yes nor no: ask again under the same key, or ask what became "
        "of it, before anything is built on it.",
        "no-answer-is-not-an-answer",
    ),
    "late": Cure(
        "before giving up, see to it that what was asked for can no longer happen, or undo it "
        "when it does.",
        "no-answer-is-not-an-answer",
    ),
    "undo": Cure(
        "compensations that are repeated until they succeed, or end with a person.",
        "undo-until-it-is-undone",
    ),
    "undo nothing": Cure(
        "what is undone is looked up first: only what is known to have happened, or may have "
        "happened, under the same key.",
        "undo-until-it-is-undone",
    ),
    "reverse": Cure(
        "undo in the reverse order of doing: what was done last depends on what was done first.",
        "undo-until-it-is-undone",
    ),
    "hidden": Cure(
        "a saga that ends as it went: a step that failed for good makes it fail, whatever was "
        "done after that.",
        "undo-until-it-is-undone",
    ),
    "side effect": Cure(
        "side effects off the critical path: published as an event, tried by themselves.",
        "side-effects-off-the-critical-path",
    ),
    "answer": Cure(
        "an id in each question that its answer must carry, and an answer to anything else is "
        "ignored.",
        "one-answer-to-one-question",
    ),
    "memory": Cure(
        "what two messages need of each other is written down; and what is kept in memory is "
        "thrown away when somebody else may have gone on.",
        "what-is-only-in-memory",
    ),
    "mixed": Cure(
        "what belongs to one message stays in a variable of its own run, or in a context variable: "
        "never in the service, which has several in hand.",
        "what-is-only-in-memory",
    ),
    "row": Cure(
        "one event that all who need it hear, each in its own time; where one must wait for "
        "another, somebody who sees the whole.",
        "a-row-and-a-wait-without-end",
    ),
    "waits": Cure(
        "a time limit for each join, after which it says that it has given up.",
        "a-row-and-a-wait-without-end",
    ),
    "cycle": Cure(
        "an event that says what happened, and not what to do; and a condition under which "
        "nothing more is published.",
        "events-in-a-circle",
    ),
}
"""By kind of cause."""
