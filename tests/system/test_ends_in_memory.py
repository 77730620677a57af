"""How a run ends: due times, counts and calendars that are kept in memory only."""

import datetime as dt
import heapq
import queue
import time
from typing import Any

import pytest

from chaosharness import Budget, External, Kafka, System


class Mail:
    def send(self, to: str) -> None: ...


def mailing(make: Any, budget: Budget | None = None) -> System:
    """Return a system whose one service is made by `make(env, bus, client)`."""
    system = System("mailing", budget=budget or Budget())
    bus = system.add(Kafka("bus", topics={"orders": 1}))
    mail = system.add(External("mail", Mail))

    @system.service("worker")
    def worker(env):
        make(env, bus, env.client(mail))

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def sends_once(make: Any) -> Any:
    """Run a system, which has to end quietly with its one mail sent; return the ending."""
    run = mailing(make).run()
    assert (run.ending.verdict, run.ending.reason) == ("quiet", "")
    assert len(list(run.history.of("effect"))) == 1
    return run.ending


def heap_of_milliseconds(env, bus, mail):
    heap: list[Any] = []

    def on_order(order: dict[str, Any]) -> None:
        heapq.heappush(heap, (env.now_ms() + 30_000, order["id"]))

    def loop() -> None:
        while True:
            while heap and heap[0][0] <= env.now_ms():
                mail.send(heapq.heappop(heap)[1])
            env.sleep(1)

    env.consume(bus, "orders", on_order)
    env.main(loop)


def expiry_in_a_dict(env, bus, mail):
    cache: dict[str, float] = {}

    def on_order(order: dict[str, Any]) -> None:
        cache[order["id"]] = time.time() + 60

    def sweep() -> None:
        for key in [key for key, until in cache.items() if until <= time.time()]:
            del cache[key]
            mail.send(key)

    env.consume(bus, "orders", on_order)
    env.every(1, sweep)


def datetime_of_an_attribute(env, bus, mail):
    class Job:
        due: dt.datetime | None = None

    job = Job()

    def on_order(order: dict[str, Any]) -> None:
        job.due = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=90)

    def tick() -> None:
        if job.due is not None and dt.datetime.now(dt.UTC) >= job.due:
            job.due = None
            mail.send("late")

    env.consume(bus, "orders", on_order)
    env.every(1, tick)


def priority_queue(env, bus, mail):
    jobs: queue.PriorityQueue[Any] = queue.PriorityQueue()

    def loop() -> None:
        while True:
            due, order = jobs.get()
            if due > time.time():
                jobs.put((due, order))
                time.sleep(1)
                continue
            mail.send(order)

    env.consume(bus, "orders", lambda order: jobs.put((time.time() + 50, order["id"])))
    env.main(loop)


def token_bucket(env, bus, mail):
    class Bucket:
        def __init__(self) -> None:
            self.rate, self.tokens, self.at = 1 / 50, 0.0, time.monotonic()

        def take(self) -> bool:
            now = time.monotonic()
            self.tokens += (now - self.at) * self.rate
            self.at = now
            if self.tokens < 1:
                return False
            self.tokens -= 1
            return True

    bucket, pending = Bucket(), []

    def tick() -> None:
        if bucket.take() and pending:
            mail.send(pending.pop())

    env.consume(bus, "orders", lambda order: pending.append(order["id"]))
    env.every(1, tick)


def next_day(env, bus, mail):
    days: dict[str, dt.date] = {}

    def on_order(order: dict[str, Any]) -> None:
        days[order["id"]] = dt.date.today()

    def tick() -> None:
        for key in [key for key, day in days.items() if day != dt.date.today()]:
            del days[key]
            mail.send(key)

    env.consume(bus, "orders", on_order)
    env.every(300, tick)


def idle_count_with_messages_held(env, bus, mail):
    consumer = env.consumer(bus, "orders")

    def loop() -> None:
        held, idle = [], 0
        while True:
            got = consumer.poll(timeout_s=1)
            held += got
            idle = 0 if got else idle + 1
            if held and idle >= 30:
                mail.send(held[0].value["id"])
                consumer.commit()
                held = []

    env.main(loop)


def idle_count_of_a_queue(env, bus, mail):
    orders: queue.Queue[str] = queue.Queue()

    def loop() -> None:
        held, idle = [], 0
        while True:
            try:
                held.append(orders.get(timeout=5))
                idle = 0
            except queue.Empty:
                idle += 1
                if held and idle >= 30:
                    mail.send(held[0])
                    held = []

    env.consume(bus, "orders", lambda order: orders.put(order["id"]))
    env.main(loop)


def ten_minutes_in_half_seconds(env, bus, mail):
    consumer = env.consumer(bus, "orders")

    def loop() -> None:
        held, first = [], 0.0
        while True:
            for one in consumer.poll(timeout_s=0.5):
                first = time.monotonic()
                held.append(one)
            if held and time.monotonic() - first >= 600:
                mail.send(held[0].value["id"])
                consumer.commit()
                held = []

    env.main(loop)


def a_thousand_seconds(env, bus, mail):
    seen: dict[str, float] = {}

    def on_order(order: dict[str, Any]) -> None:
        seen["last"] = time.monotonic()

    def look() -> None:
        if seen and time.monotonic() - seen["last"] > 1000:
            mail.send("late")
            seen.clear()

    env.consume(bus, "orders", on_order)
    env.every(5, look)


@pytest.mark.parametrize(
    "make",
    [
        heap_of_milliseconds,
        expiry_in_a_dict,
        datetime_of_an_attribute,
        priority_queue,
        token_bucket,
        next_day,
        idle_count_with_messages_held,
        idle_count_of_a_queue,
        ten_minutes_in_half_seconds,
        a_thousand_seconds,
    ],
)
def test_what_is_due_in_memory_gets_to_act(make):
    sends_once(make)


# ---- the end of the calm


def daily(env, bus, mail):
    pending: list[str] = []

    def loop() -> None:
        while True:
            now = dt.datetime.now()
            due = now.replace(hour=3, minute=0, second=0, microsecond=0)
            if due <= now:
                due += dt.timedelta(days=1)
            time.sleep((due - now).total_seconds())
            while pending:
                mail.send(pending.pop())

    env.consume(bus, "orders", lambda order: pending.append(order["id"]))
    env.main(loop)


def test_a_sleep_past_the_calm_is_no_endless_work():
    [ran_on] = sends_once(daily).ran_on
    assert (ran_on.place, ran_on.why) == ("worker.loop", "sleeps past the calm")


@pytest.mark.parametrize(("each_s", "verdict"), [(3_600, "budget"), (60, "budget")])
def test_a_loop_that_does_something_each_time_spends_its_budget(each_s, verdict):
    def make(env, bus, mail):
        def tick() -> None:
            mail.send("again")

        env.every(each_s, tick)

    assert mailing(make).run().ending.verdict == verdict


def test_a_loop_that_only_looks_spends_no_budget():
    def make(env, bus, mail):
        def tick() -> None:
            time.time()

        env.every(40, tick)

    ending = mailing(make, Budget(chaos_ms=60_000, calm_ms=60_000)).run().ending
    assert ending.verdict == "quiet"
    assert [one.place for one in ending.ran_on] == ["worker.tick"]


# ---- sleeps of no length


@pytest.mark.parametrize("sleep", ["env", "time"])
def test_sleeps_of_no_length_are_spinning(sleep):
    def make(env, bus, mail):
        def loop() -> None:
            while True:
                env.sleep(0) if sleep == "env" else time.sleep(0)

        env.main(loop)

    ending = mailing(make).run().ending
    assert ending.verdict == "spinning"
    assert ending.reason == "worker.loop slept 5,000 times in one go, for no time"
