"""Client code that speaks by bytes, as it is: sockets, and the streams of asyncio."""

import asyncio
import socket
import ssl
import time

import pytest

from chaosharness import (
    Delay,
    ErrorReply,
    External,
    Host,
    LostReply,
    LostRequest,
    NetworkPartition,
    Schedule,
    Site,
    System,
    explore,
)
from chaosharness.errors import InvalidDefinition, RealIO
from tests.adapters.digests import printed_everywhere

CALL = "desk.work/ledger.book"
ADDRESS = ("ledger.internal", 7000)


class Full(Exception):
    """There is no more room."""


class Ledger:
    def __init__(self):
        self.booked = []
        self.keys = {}

    def book(self, order, key=""):
        if order == "too much":
            raise Full(order)
        if key and key in self.keys:
            return External.unchanged(self.keys[key])
        self.booked.append(order)
        if key:
            self.keys[key] = len(self.booked)
        return len(self.booked)


class Lines:
    """`BOOK o1 [key]`: `OK 1`, `FULL` or `BUSY`."""

    greeting = b"LEDGER 1\n"

    def __init__(self):
        self.read = b""

    def asked(self, data):
        self.read += data
        while b"\n" in self.read:
            line, _, self.read = self.read.partition(b"\n")
            _, order, *key = line.decode().split(" ")
            yield "book", {"order": order.replace("_", " "), **({"key": key[0]} if key else {})}

    def answer(self, method, value):
        return f"OK {value}\n".encode()

    def failed(self, method, error):
        return f"{type(error).__name__.upper()}\n".encode()


class Polite(Lines):
    def refused(self, method):
        return b"BUSY\n"


def exchange(*, timeout=2.0, text="o1"):
    with socket.create_connection(ADDRESS, timeout=timeout) as sock:
        lines = sock.makefile("r")
        assert lines.readline() == "LEDGER 1\n"
        sock.sendall(f"BOOK {text}\n".encode())
        return lines.readline().strip()


async def exchange_later(*, timeout=2.0, text="o1"):
    reader, writer = await asyncio.open_connection(*ADDRESS)
    assert await reader.readline() == b"LEDGER 1\n"
    writer.write(f"BOOK {text}\n".encode())
    await writer.drain()
    answer = await asyncio.wait_for(reader.readline(), timeout)
    writer.close()
    await writer.wait_closed()
    return answer.decode().strip()


def desk(work, *, wire=Lines, runtime=None, address="ledger.internal:7000"):
    """Return a system whose one service does this work."""
    shop = System("shop")
    ledger = shop.add(External("ledger", Ledger))
    shop.add(Host(address, ledger, wire=wire))
    shop.service("desk", runtime=runtime)(lambda env: env.main(work))
    shop.entry(examples=[1])(lambda env, item: None)
    return shop


def outcome_of(asks, *faults, wire=Lines, runtime=None):
    """Return what asking ended in, the virtual time it took, and how often the ledger booked."""
    found = []

    def told(began, outcome):
        found.append((outcome, round(1000 * (time.monotonic() - began))))

    def work():
        began = time.monotonic()
        try:
            told(began, asks())
        except OSError as error:
            told(began, type(error).__name__)

    async def work_later():
        began = time.monotonic()
        try:
            told(began, await asks())
        except OSError as error:
            told(began, type(error).__name__)

    later = asyncio.iscoroutinefunction(asks)
    work_later.__name__ = work_later.__qualname__ = "work"
    system = desk(work_later if later else work, wire=wire, runtime=runtime)
    run = system.run(None, Schedule(faults))
    assert not run.unused
    [(outcome, took_ms)] = found
    return outcome, took_ms, len(list(run.history.of("effect")))


BEFORE, AFTER = Site(CALL, entity=0), Site(CALL, "after", entity=0)
CASES = [
    ((), ("OK 1", 20, 1), ("OK 1", 20, 1)),
    ((LostRequest(BEFORE),), ("TimeoutError", 2_000, 0), ("TimeoutError", 2_000, 0)),
    ((LostReply(AFTER),), ("TimeoutError", 2_000, 1), ("TimeoutError", 2_000, 1)),
    ((Delay(BEFORE, lasting=5_000),), ("TimeoutError", 2_000, 1), ("TimeoutError", 2_000, 1)),
    ((ErrorReply(BEFORE),), ("ConnectionResetError", 20, 0), ("ConnectionResetError", 20, 0)),
    ((NetworkPartition(BEFORE),), ("TimeoutError", 2_000, 0), ("TimeoutError", 2_000, 0)),
]


@pytest.mark.parametrize(("faults", "plain", "later"), CASES)
def test_a_socket_tells_trouble_as_sockets_do(faults, plain, later):
    assert outcome_of(exchange, *faults) == plain


@pytest.mark.parametrize(("faults", "plain", "later"), CASES)
def test_so_do_the_streams_of_asyncio(faults, plain, later):
    assert outcome_of(exchange_later, *faults, runtime="asyncio") == later


@pytest.mark.parametrize("faults", [(LostRequest(BEFORE),), (LostReply(AFTER),)])
def test_without_a_time_out_the_connection_is_lost(faults):
    outcome = outcome_of(lambda: exchange(timeout=None), *faults)
    assert outcome[:2] == ("ConnectionResetError", 10_000)  # the third party's own patience


def test_a_wire_says_in_its_protocol_that_the_server_does_nothing_for_now():
    assert outcome_of(exchange, ErrorReply(BEFORE), wire=Polite) == ("BUSY", 20, 0)


def test_an_error_of_the_model_is_an_answer():
    assert outcome_of(lambda: exchange(text="too_much")) == ("FULL", 20, 0)


def test_async_code_that_blocks_waits_with_its_loop():
    async def blocks():
        return exchange()

    assert outcome_of(blocks, runtime="asyncio") == ("OK 1", 20, 1)


def test_a_socket_that_is_made_first_and_wrapped():
    def wrapped():
        sock = socket.socket()
        sock.settimeout(2)
        sock.connect(ADDRESS)
        sock = ssl.create_default_context().wrap_socket(sock, server_hostname=ADDRESS[0])
        assert sock.getpeername() == ADDRESS
        assert sock.recv(100) == b"LEDGER 1\n"
        assert sock.send(b"BOOK o1\nBO") == 10
        sock.sendall(b"OK o2\n")
        found = bytearray(100)
        size = sock.recv_into(found)
        return bytes(found[:size]).decode()

    assert outcome_of(wrapped) == ("OK 1\nOK 2\n", 40, 2)


def test_a_connection_that_was_reset_takes_nothing_more():
    def again():
        sock = socket.create_connection(ADDRESS, timeout=2)
        sock.sendall(b"BOOK o1\n")
        sock.sendall(b"BOOK o2\n")

    assert outcome_of(again, ErrorReply(BEFORE))[0] == "BrokenPipeError"


# ---- a bug, and none


def books(keyed):
    """A client that tries again by itself, with a key of the order or without one."""

    def work():
        for _ in range(3):
            try:
                return exchange(text="o1 k-o1" if keyed else "o1")
            except OSError:
                time.sleep(1)
        return None

    return desk(work)


def test_a_client_that_tries_again_by_itself_is_named():
    found = explore(books(keyed=False), faults_max=1).counterexamples
    assert found
    assert any("ledger did book(" in one.findings[0].summary for one in found)
    assert all(len(one.schedule) == 1 for one in found)


def test_with_a_key_nothing_is_said():
    found = explore(books(keyed=True), faults_max=1)
    assert (found.result, found.questions) == ("holds", ()), found.sentences()


# ---- mistakes


def refusal_of(work, **options):
    with pytest.raises((InvalidDefinition, RealIO)) as found:
        desk(work, **options).run()
    return str(found.value)


def test_who_connects_elsewhere_is_told_where():
    words = refusal_of(lambda: socket.create_connection(("other.internal", 1)))
    assert "other.internal" in words
    assert "test_network.py" in words


def test_so_is_asyncio_code():
    async def work():
        await asyncio.open_connection("other.internal", 1)

    assert "create_connection('other.internal')" in refusal_of(work, runtime="asyncio")


def test_a_model_that_raises_needs_a_wire_that_tells_it():
    class Silent(Lines):
        failed = None

    words = refusal_of(lambda: exchange(text="too_much"), wire=Silent)
    assert "has no failed(method, error)" in words


def test_a_wire_that_asks_for_what_there_is_not():
    class Wrong(Lines):
        def asked(self, data):
            yield "boook", {}

    words = refusal_of(exchange, wire=Wrong)
    assert "did you mean 'book'?" in words


def test_a_wire_that_leaves_out_what_a_method_needs():
    class Short(Lines):
        def asked(self, data):
            yield "book", {}

    words = refusal_of(exchange, wire=Short)
    assert "its wire asks for ledger.book with nothing" in words


def test_a_socket_of_an_earlier_run_is_refused():
    kept = []

    def work():
        if not kept:
            kept.append(socket.create_connection(ADDRESS))
        kept[0].sendall(b"BOOK o1\n")

    system = desk(work)
    system.run()
    with pytest.raises(InvalidDefinition, match="was connected in an earlier run"):
        system.run()


def test_what_is_not_modelled_says_so():
    def work():
        socket.create_connection(ADDRESS).recvmsg(10)

    assert "recvmsg of a connection to 'ledger.internal:7000' is not modelled" in refusal_of(work)


@pytest.mark.parametrize("address", ["ledger.internal", "ledger:0", "ledger:70000", "a b:1", 7000])
def test_an_address_has_a_port(address):
    with pytest.raises(InvalidDefinition, match="a name and a port"):
        Host(address, None, wire=Lines)


def test_the_part_is_one_of_the_system():
    shop = System("shop")
    shop.add(Host("ledger.internal:7000", External("ledger", Ledger), wire=Lines))
    shop.service("desk")(lambda env: env.main(lambda: None))
    shop.entry(examples=[1])(lambda env, item: None)
    with pytest.raises(InvalidDefinition, match="no third party of this system"):
        shop.run()


def test_outside_of_a_run_sockets_are_what_they_were():
    one, other = socket.socketpair()
    with one, other:
        one.sendall(b"x")
        assert other.recv(1) == b"x"


# ---- determinism

PROGRAM = """
from chaosharness import Schedule
from chaosharness.search.sites import candidates
from tests.adapters.test_network import books
system = books(keyed=False)
for fault in (None, *candidates(system.run())):
    print(system.run(None, Schedule([fault] if fault else [])).digest())
"""


def test_the_same_in_every_process():
    assert len(set(printed_everywhere(PROGRAM))) > 5
