"""The two sides of the comparison: our Redis machine and a running redis-server, one set of words.

Both take the same operations. Answers of the server are read into the words of the machine here,
and nowhere else. Idle times go by steps of `STEP_MS`, which no sequence takes in real time.
"""

import shutil
import subprocess
import time
from contextlib import contextmanager, suppress

from chaosharness.machines.machine import Refusal
from chaosharness.machines.redis import RedisMachine, ids
from chaosharness.machines.redis import operations as op

try:
    import redis
except ImportError:
    redis = None

NODE_ENTRIES = 3
"""Of `stream-node-max-entries`: so few that trimming about has something to take."""

NOW = 1_000_000_000
STEP_MS = 100_000
SERVER = shutil.which("redis-server")
ABSENT = "no Redis to compare with: apt-get install redis-server, pip install redis"


@contextmanager
def server(folder):
    """Run a redis-server of our own, and give a client of it."""
    path = folder / "redis.sock"
    asked = {
        "--port": "0",
        "--unixsocket": str(path),
        "--save": "",
        "--dir": str(folder),
        "--stream-node-max-entries": str(NODE_ENTRIES),
    }
    command = [SERVER, *(word for pair in asked.items() for word in pair)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        client = redis.Redis(unix_socket_path=str(path), protocol=2, decode_responses=True)
        try:
            for _ in range(500):
                with suppress(redis.exceptions.ConnectionError):
                    client.ping()
                    break
                time.sleep(0.01)
            client.response_callbacks.clear()
            yield client
        finally:
            client.close()
            process.terminate()


def cut(asked):
    if asked is None:
        return []
    limit = [] if asked.limit is None else ["LIMIT", asked.limit]
    return [asked.strategy, "~" if asked.about else "=", asked.threshold, *limit]


def words(one):
    """Return an operation as the server is asked for it."""
    match one:
        case op.Add():
            make = ["NOMKSTREAM"] if one.no_make else []
            return ["XADD", one.stream, *make, *cut(one.cut), one.id, "n", one.fields]
        case op.Trim():
            return ["XTRIM", one.stream, *cut(one.cut)]
        case op.Delete():
            return ["XDEL", one.stream, *one.ids]
        case op.DeleteStream():
            return ["DEL", one.stream]
        case op.Length():
            return ["XLEN", one.stream]
        case op.Range():
            count = [] if one.count is None else ["COUNT", one.count]
            if one.backwards:
                return ["XREVRANGE", one.stream, one.end, one.start, *count]
            return ["XRANGE", one.stream, one.start, one.end, *count]
        case op.Read():
            count = [] if one.count is None else ["COUNT", one.count]
            return ["XREAD", *count, "STREAMS", one.stream, one.id]
        case op.CreateGroup():
            make = ["MKSTREAM"] if one.make else []
            return ["XGROUP", "CREATE", one.stream, one.group, one.id, *make, *_read(one)]
        case op.SetId():
            return ["XGROUP", "SETID", one.stream, one.group, one.id, *_read(one)]
        case op.DestroyGroup():
            return ["XGROUP", "DESTROY", one.stream, one.group]
        case op.CreateConsumer():
            return ["XGROUP", "CREATECONSUMER", one.stream, one.group, one.consumer]
        case op.DeleteConsumer():
            return ["XGROUP", "DELCONSUMER", one.stream, one.group, one.consumer]
        case op.ReadGroup():
            count = [] if one.count is None else ["COUNT", one.count]
            no_ack = ["NOACK"] if one.no_ack else []
            who = ["GROUP", one.group, one.consumer]
            return ["XREADGROUP", *who, *count, *no_ack, "STREAMS", one.stream, one.id]
        case op.Ack():
            return ["XACK", one.stream, one.group, *one.ids]
        case op.Claim():
            more = [] if one.idle_ms is None else ["IDLE", one.idle_ms]
            more += [] if one.times is None else ["RETRYCOUNT", one.times]
            more += [] if one.last is None else ["LASTID", one.last]
            more += [*["FORCE"] * one.force, *["JUSTID"] * one.just_id]
            return ["XCLAIM", *_claimer(one), *one.ids, *more]
        case op.AutoClaim():
            just_id = ["JUSTID"] * one.just_id
            return ["XAUTOCLAIM", *_claimer(one), one.start, "COUNT", one.count, *just_id]
        case op.PendingSummary():
            return ["XPENDING", one.stream, one.group]
        case op.PendingRange():
            idle = ["IDLE", one.min_idle_ms] if one.min_idle_ms else []
            who = [] if one.consumer is None else [one.consumer]
            bounds = [one.start, one.end, one.count]
            return ["XPENDING", one.stream, one.group, *idle, *bounds, *who]
        case op.Groups():
            return ["XINFO", "GROUPS", one.stream]
        case op.Streams():
            full = ["FULL", "COUNT", one.count] if one.full else []
            return ["XINFO", "STREAM", one.stream, *full]
        case op.Consumers():
            return ["XINFO", "CONSUMERS", one.stream, one.group]
    raise TypeError(one)


def _read(one):
    return [] if one.read is None else ["ENTRIESREAD", one.read]


def _claimer(one):
    return [one.stream, one.group, one.consumer, one.min_idle_ms]


def id_of(words):
    return None if words is None else ids.read(words)


def entries(rows, just_id=False):
    if just_id:
        return [op.Entry(id_of(one), None) for one in rows]
    return [op.Entry(id_of(one), None if fields is None else fields[1]) for one, fields in rows]


def heard(one, answer):
    """Return what the server answered, in the words of the machine."""
    match one:
        case op.Add():
            return id_of(answer)
        case op.ReadGroup() | op.Read():
            return entries(answer[0][1]) if answer else []
        case op.Range():
            return entries(answer)
        case op.Claim():
            return entries(answer, one.just_id)
        case op.AutoClaim():
            start, found, deleted = answer
            return op.Claimed(
                id_of(start), entries(found, one.just_id), [id_of(one) for one in deleted]
            )
        case op.PendingSummary():
            count, first, last, consumers = answer
            counts = {name: int(number) for name, number in consumers or []}
            return op.Summary(count, id_of(first), id_of(last), counts)
        case op.PendingRange():
            return [
                op.PendingEntry(id_of(row[0]), row[1], _rough(row[2]), row[3]) for row in answer
            ]
        case op.Groups():
            return [group_of(dict_of(row)) for row in answer]
        case op.Consumers():
            return [consumer_of(dict_of(row)) for row in answer]
        case op.Streams():
            return stream_of(dict_of(answer), one.full)
    return answer


def dict_of(row):
    return dict(zip(row[::2], row[1::2], strict=True))


def stream_of(said, full):
    names = "length radix-tree-keys radix-tree-nodes last-generated-id max-deleted-entry-id"
    found = [said[name] for name in [*names.split(), "entries-added", "recorded-first-entry-id"]]
    for at in (3, 4, 6):
        found[at] = id_of(found[at])
    if full:
        groups = [group_of(dict_of(one)) for one in said["groups"]]
        return op.StreamInfo(*found, entries(said["entries"]), groups)
    ends = [said[name] for name in ("first-entry", "last-entry") if said[name]]
    return op.StreamInfo(*found, entries(ends), said["groups"])


def group_of(said):
    last, read, lag = id_of(said["last-delivered-id"]), said["entries-read"], said["lag"]
    if "pel-count" not in said:
        number, pending = said["consumers"], said["pending"]
        return op.GroupInfo(said["name"], number, pending, last, read, lag)
    consumers = [consumer_of(dict_of(one)) for one in said["consumers"]]
    held = [(id_of(row[0]), row[1], _moment(row[2]), row[3]) for row in said["pending"]]
    return op.GroupInfo(said["name"], consumers, said["pel-count"], last, read, lag, held)


def consumer_of(said):
    if "idle" in said:
        idle_ms = _rough(said["idle"])
        return op.ConsumerInfo(said["name"], said["pending"], NOW - idle_ms, idle_ms)
    held = [(id_of(row[0]), _moment(row[1]), row[2]) for row in said["pending"]]
    seen_ms = _moment(said["seen-time"])
    return op.ConsumerInfo(said["name"], said["pel-count"], seen_ms, NOW - seen_ms, held)


def _moment(at_ms):
    """Return a time of the server by the clock of the machine, which stands still."""
    return NOW - _rough(max(round(time.time() * 1_000) - at_ms, 0))


def _rough(idle_ms):
    """Return an idle time without the moments that the comparison itself takes."""
    return idle_ms - idle_ms % STEP_MS


class Model:
    """The machine, at a time that stands still."""

    def __init__(self):
        self.machine = RedisMachine(node_entries=NODE_ENTRIES)

    def do_all(self, operations):
        """Return what the machine answers to each."""
        return [self.do(one) for one in operations]

    def do(self, one):
        answer = self.machine.apply(one, NOW)
        if isinstance(answer, Refusal):
            return answer.text if answer.code == "ERR" else f"{answer.code} {answer.text}"
        return answer


class Real:
    """A running server. Each sequence has it empty."""

    def __init__(self, client):
        self.client = client
        client.execute_command("FLUSHALL")

    def do_all(self, operations):
        """Return what the server answers to each, asked for in one go."""
        pipe = self.client.pipeline(transaction=False)
        pipe.response_callbacks = {}
        for one in operations:
            pipe.execute_command(*words(one))
        answers = pipe.execute(raise_on_error=False)
        return [
            str(answer).split(" (while executing")[0]
            if isinstance(answer, Exception)
            else heard(one, answer)
            for one, answer in zip(operations, answers, strict=True)
        ]
