"""What a service opens for others than the system's parts: servers that nobody calls, datagrams."""

import asyncio
import http.server
import logging.handlers
import multiprocessing
import socket
import sys
import threading
import time
from types import ModuleType

import pytest

from chaosharness import GracefulStop, Kafka, System, explore
from chaosharness.errors import RealIO
from chaosharness.reporting.formats.coverage import summary
from chaosharness.reporting.formats.page import page_html, page_markdown

ORDERS = [{"id": "o1"}]
AT = ("0.0.0.0", 8080)


class Health(http.server.BaseHTTPRequestHandler):
    pass


def shop(opens, replicas=1):
    """A service that opens something, and consumes."""
    system = System("shop")
    bus = system.add(Kafka("bus", topics={"orders": 1}))

    @system.service("till", replicas=replicas)
    def till(env):
        opens(env)
        env.consume(bus, "orders", lambda order: env.note("order"), read_as=dict)

    @system.entry(examples=ORDERS)
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def in_a_thread(env):
    server = http.server.ThreadingHTTPServer(AT, Health)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def in_a_main_loop(env):
    env.main(lambda: http.server.HTTPServer(AT, Health).serve_forever())


def by_hand(env):
    def main():
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(AT)
            sock.listen()
            while True:
                sock.accept()

    threading.Thread(target=main, daemon=True).start()


def in_asyncio(env):
    async def main():
        server = await asyncio.start_server(lambda reader, writer: None, *AT)
        assert server.is_serving()
        assert server.sockets[0].getsockname() == AT
        async with server:
            await server.serve_forever()

    env.main(main)


@pytest.mark.parametrize("opens", [in_a_thread, in_a_main_loop, by_hand, in_asyncio])
def test_a_server_waits_for_callers_who_never_come(opens):
    run = shop(opens).run()
    assert run.ending.verdict == "quiet"
    assert run.ending.ran_on == ()
    assert run.unspoken == ("callers of 0.0.0.0:8080",)
    assert len([*run.history.of("note")]) == 1


def test_a_server_costs_no_look_each_half_second():
    looks = []

    class Server(http.server.HTTPServer):
        def service_actions(self):
            looks.append(time.time())

    def opens(env):
        server = Server(AT, Health)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        env.main(lambda: time.sleep(3_600))

    assert shop(opens).run().ending.verdict == "quiet"
    assert looks == []


def test_a_server_that_is_shut_down_ends():
    def opens(env):
        server = http.server.HTTPServer(AT, Health)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()

        def main():
            time.sleep(3)
            server.shutdown()
            thread.join()
            server.server_close()
            env.note("ended", alive=thread.is_alive())

        env.main(main)

    run = shop(opens).run()
    [ended] = [event for event in run.history.of("note") if event.data["what"] == "ended"]
    assert ended.data["alive"] is False
    assert ended.at_ms == 3_000


def test_a_server_of_asyncio_that_is_closed_ends():
    def opens(env):
        async def main():
            server = await asyncio.start_server(lambda reader, writer: None, *AT)
            asyncio.get_running_loop().call_later(2, server.close)
            await server.wait_closed()
            env.note("closed", serving=server.is_serving())

        env.main(main)

    run = shop(opens).run()
    assert [e.at_ms for e in run.history.of("note") if e.data["what"] == "closed"] == [2_000]


def by_sendto(env):
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        assert sock.sendto(b"paid:1|c", ("127.0.0.1", 8125)) == 8


def by_connect(env):
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", 8125))
        sock.send(b"paid:1|c")
        sock.sendall(b"paid:1|c")


def by_asyncio(env):
    async def main():
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=("127.0.0.1", 8125)
        )
        transport.sendto(b"paid:1|c")
        transport.close()

    env.main(main)


@pytest.mark.parametrize("sends", [by_sendto, by_connect, by_asyncio])
def test_datagrams_are_lost_and_named(sends):
    run = shop(sends).run()
    assert run.unspoken == ("datagrams to 127.0.0.1:8125",)
    assert len([*run.history.of("note")]) == 1


def test_a_log_on_another_machine_needs_no_resolver():
    def opens(env):
        handler = logging.handlers.SysLogHandler(("syslog.internal", 514))
        handler.emit(logging.makeLogRecord({"msg": "up"}))
        handler.close()

    assert shop(opens).run().unspoken == ("datagrams to syslog.internal:514",)


def test_a_library_that_connects_in_c_is_named(monkeypatch):
    zmq = ModuleType("zmq")
    monkeypatch.setitem(sys.modules, "zmq", zmq)
    assert shop(lambda env: None).run().unspoken == ()  # somebody has imported it, not this code
    monkeypatch.setattr(sys.modules[__name__], "zmq", zmq, raising=False)
    [said] = shop(lambda env: None).run().unspoken
    assert said == "zmq (it connects outside of Python, past all that is here)"


def test_the_answer_to_a_datagram_is_refused():
    def opens(env):
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.settimeout(2)
            sock.sendto(b"?", ("192.0.2.1", 53))
            sock.recvfrom(512)

    with pytest.raises(RealIO, match=r"called socket.recvfrom\(\('192.0.2.1', 53\)\) \(at"):
        shop(opens).run()


def test_the_report_names_what_went_past():
    campaign = explore(shop(in_a_thread), kinds=[GracefulStop], faults_max=1)
    words = "not seen: callers of 0.0.0.0:8080"
    assert any(words in line for line in page_markdown(campaign).splitlines()[:6])
    page = page_html(campaign)
    assert words in page[: page.index("</header>")]
    assert page.count(words) == 1
    assert any(words in line for line in summary(campaign).splitlines()[:3])


def test_what_processes_would_share_is_shared_by_threads():
    def opens(env):
        lock, done = multiprocessing.Lock(), multiprocessing.Event()
        queues = multiprocessing.Queue(), multiprocessing.SimpleQueue()

        def work():
            for queue in queues:
                with lock:
                    env.note("got", value=queue.get())
            done.set()

        thread = threading.Thread(target=work)
        thread.start()
        for queue in queues:
            queue.put("line")
        assert done.wait(5)
        thread.join()
        queues[0].close()
        queues[0].join_thread()

    run = shop(opens).run()
    assert [e.data["what"] for e in run.history.of("note")] == ["got", "got", "order"]


KEPT = []


def test_a_thread_of_another_process_is_over_for_who_joins_it():
    """loguru's logger is one for all processes here: each stops what the one before had begun."""

    def opens(env):
        for thread in KEPT:
            assert not thread.is_alive()
            thread.join()
        del KEPT[:]
        KEPT.append(threading.Thread(target=threading.Event().wait, daemon=True))
        KEPT[0].start()

    system = System("shared", shared=[f"{__name__}.KEPT"])
    bus = system.add(Kafka("bus", topics={"orders": 2}))

    @system.service("till", replicas=2)
    def till(env):
        opens(env)
        env.consume(bus, "orders", lambda order: env.note("order"), read_as=dict)

    @system.entry(examples=ORDERS)
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    try:
        assert system.run().ending.verdict == "quiet"
    finally:
        del KEPT[:]
