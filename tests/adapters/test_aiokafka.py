"""aiokafka as it is: what its clients do by themselves, in virtual time and under faults."""

import asyncio
import json
import time

import aiokafka
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.errors import (
    CommitFailedError,
    ConsumerStoppedError,
    IllegalStateError,
    InvalidPartitionsError,
    KafkaError,
    NoOffsetForPartitionError,
    NotEnoughReplicasError,
    OffsetOutOfRangeError,
    ProducerFenced,
    RequestTimedOutError,
)

from chaosharness import (
    Crash,
    ErrorReply,
    Kafka,
    KafkaServers,
    KafkaTopic,
    LostReply,
    LostRequest,
    LostWrites,
    NetworkPartition,
    Pause,
    Rebalance,
    Schedule,
    Site,
    System,
)
from chaosharness.errors import IllegalFault, InvalidDefinition
from tests.adapters import aiokafka_workers as workers
from tests.adapters.digests import printed_everywhere

SERVERS = {"bootstrap_servers": ["two:9092", "one"]}
GROUP = {**SERVERS, "group_id": "readers"}
BY_HAND = {**GROUP, "enable_auto_commit": False}
PUBLISH = "reader.main/bus.publish paid"
DELIVER = Site("bus.orders/deliver to readers")
COMMIT = "reader.main/bus.commit"
RUN_COMMIT = "billing.run/bus.commit"
ORDERS = TopicPartition("orders", 0)


def ran(main, *faults, items=("o1",), replicas=1, topics=None, arrival_ms=10, **options):
    """Run a service with this main loop; it reads what an entry publishes, one after another."""
    system = System("shop", arrival_ms=arrival_ms)
    bus = system.add(Kafka("bus", topics or {"orders": 1, "paid": 1}, **options))
    system.add(KafkaServers("one:9092", bus))
    system.service("reader", replicas=replicas)(lambda env: env.main(main))

    @system.entry(examples=items)
    def place(env, item):
        env.publisher(bus)("orders", item, key=item, headers={"of": "shop"})

    run = system.run(None, Schedule(faults))
    assert not run.unused
    return run


def stored(run, topic):
    return [one.data["value"] for one in run.history.of("publish") if one.data["topic"] == topic]


def acks(run):
    return [one.at_ms for one in run.history.of("ack")]


def reading(seen, *, config=BY_HAND, most=1, take=None):
    """Return a main loop that takes so many records, and keeps what it is handed."""

    async def main():
        async with AIOKafkaConsumer("orders", **config) as consumer:
            async for message in consumer:
                seen.append(message.value)
                if take is not None:
                    await take(consumer, message)
                if len(seen) == most:
                    break

    return main


async def slow(consumer, message):
    await asyncio.sleep(8)


async def commits(consumer, message):
    await consumer.commit()


def test_a_record_is_read_as_the_client_shows_it():
    seen = []

    async def take(consumer, message):
        seen.append((message.topic, message.partition, message.offset, message.key))
        seen.append((message.headers, message.timestamp_type, message.timestamp > 0))
        seen.append((consumer.assignment(), consumer.subscription(), consumer.highwater(ORDERS)))
        seen.append((await consumer.topics(), consumer.partitions_for_topic("orders")))
        await consumer.commit()

    run = ran(reading(seen, most=5, take=take))
    assert seen == [
        *(b"o1", ("orders", 0, 0, b"o1"), ((("of", b"shop"),), 0, True)),
        ({ORDERS}, {"orders"}, 1),
        ({"orders", "paid"}, {0}),
    ]
    assert run.spoken == {"aiokafka": {"reader.main/bus.poll", "reader.main/bus.commit"}}


def test_what_it_was_handed_is_committed_when_the_next_commit_is_due_or_when_it_stops():
    seen = []
    run = ran(reading(seen, config=GROUP, take=slow), arrival_ms=3_000, items=("o1",))
    assert acks(run)[0] == 5_000  # counted from its start, and not from the record
    crash = Crash(Site("reader.main/sleep", "after"))
    lost = reading([], config=GROUP, take=lambda *_: pausing())
    assert len([*ran(lost, crash).history.of("deliver")]) == 1  # it never comes again
    assert acks(ran(reading([], config=GROUP))) == [1]
    assert acks(ran(reading([], config=BY_HAND))) == []
    often = {**GROUP, "auto_commit_interval_ms": 2_000}
    assert acks(ran(reading([], config=often, take=slow)))[:1] == [2_000]


async def pausing():
    await asyncio.sleep(6)
    time.sleep(0.001)  # where a crash can strike


def test_an_automatic_commit_that_is_not_answered_is_made_again():
    lost = LostRequest(Site(COMMIT))
    run = ran(reading([], config=GROUP, take=lambda *_: asyncio.sleep(60)), lost)
    assert acks(run)[:1] == [35_100]


def test_a_commit_is_asked_for_until_it_is_answered_and_raises_when_the_group_has_moved_on():
    raised = []

    async def take(consumer, message):
        try:
            await consumer.commit({ORDERS: message.offset + 1})
        except KafkaError as error:
            raised.append(type(error))

    assert acks(ran(reading([], take=take), LostRequest(Site(COMMIT)))) == [30_101]
    assert acks(ran(reading([], take=take), LostReply(Site(COMMIT, "after")))) == [1, 30_101]
    assert raised == []
    again = []
    ran(reading(again, take=take, most=2), Rebalance(Site(COMMIT)))
    assert raised == [CommitFailedError] and again == [b"o1", b"o1"]


def joining(told, *, late_s, take, config=BY_HAND):
    """Return a main loop whose second replica joins later."""
    from chaosharness.kernel.scope import SCOPE

    async def main():
        me = SCOPE.get().incarnation.replica
        if me == 2:
            await asyncio.sleep(late_s)
        consumer = AIOKafkaConsumer(**config)
        consumer.subscribe(["orders"], listener=Ears(told, me))
        await consumer.start()
        while True:
            message = await consumer.getone()
            told.append((me, message.value))
            await take(me, consumer, message)

    return main


class Ears(ConsumerRebalanceListener):
    def __init__(self, told, me):
        self.told, self.me = told, me

    def on_partitions_revoked(self, revoked):
        self.told.append((self.me, "revoked", [one.partition for one in revoked]))

    async def on_partitions_assigned(self, assigned):
        await asyncio.sleep(0)
        self.told.append((self.me, "assigned", [one.partition for one in assigned]))


def test_a_round_does_not_wait_for_who_works_and_two_work_on_one_record():
    """The second replica joins while the first one works: neither has committed."""
    told = []

    async def take(me, consumer, message):
        await asyncio.sleep(6)
        try:
            await consumer.commit({TopicPartition(message.topic, message.partition): 1})
            told.append((me, "committed"))
        except IllegalStateError:
            told.append((me, "too late"))

    ran(joining(told, late_s=2, take=take), replicas=2, topics={"orders": 2}, items=("o1",))
    assert told == [
        *((1, "revoked", []), (1, "assigned", [0, 1]), (1, b"o1"), (2, "revoked", [])),
        *((1, "revoked", [0, 1]), (1, "assigned", [0]), (2, "assigned", [1]), (2, b"o1")),
        *((1, "too late"), (2, "committed")),
    ]


def test_an_automatic_commit_ahead_of_a_round_speaks_for_what_is_not_done_yet():
    told = []

    async def take(*_):
        await asyncio.sleep(60)

    run = ran(joining(told, late_s=2, take=take, config=GROUP), replicas=2, topics={"orders": 2})
    assert acks(run)[0] == 2_370  # 3 s ahead of the interval; a second replica wakes 370 ms later
    assert [one[1] for one in told].count(b"o1") == 1


def test_who_does_not_fetch_for_too_long_is_out_until_it_does():
    seen = []

    async def take(consumer, message):
        if len(seen) == 1:
            await asyncio.sleep(400)
            with pytest.raises(CommitFailedError):
                await consumer.commit()

    ran(reading(seen, most=2, take=take), topics={"orders": 1})
    assert seen == [b"o1", b"o1"]


def test_a_process_that_stands_still_is_missed_and_comes_back():
    seen, raised = [], []

    async def take(consumer, message):
        try:
            await consumer.commit()
        except CommitFailedError as error:
            raised.append(error)

    pause = Pause(Site(COMMIT), lasting=60_000, heartbeats="stop")
    run = ran(reading(seen, most=2, take=take), pause)
    assert seen == [b"o1", b"o1"] and len(raised) == 1
    whys = [one.data["why"] for one in run.history.of("rebalance")]
    assert whys == ["a member joined", "a member joined again"]


def test_records_of_getmany_are_on_behalf_of_each_in_turn():
    async def main():
        async with (
            AIOKafkaConsumer("orders", **BY_HAND) as consumer,
            AIOKafkaProducer(**SERVERS) as producer,
        ):
            await asyncio.sleep(1)
            many = await consumer.getmany()
            for message in many[ORDERS]:
                await producer.send("paid", message.value)
            assert await consumer.getmany(timeout_ms=500) == {}
            await consumer.commit()

    run = ran(main, items=("o1", "o2", "o3"))
    sent = [one for one in run.history.of("publish") if one.data["topic"] == "paid"]
    assert {one.entity: one.data["value"] for one in sent} == {1: b"o1", 2: b"o2", 3: b"o3"}
    assert len(acks(run)) == 1


def test_several_tasks_may_wait_for_one_consumer_and_one_may_give_up():
    seen = []

    async def main():
        async with AIOKafkaConsumer("orders", **BY_HAND) as consumer:
            first, second = (asyncio.create_task(consumer.getone()) for _ in range(2))
            seen.append(sorted([(await first).value, (await second).value]))
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(consumer.getone(), 2)
            waiting = asyncio.create_task(consumer.getone())
            await asyncio.sleep(1)
            await consumer.stop()
            with pytest.raises(ConsumerStoppedError):
                await waiting

    ran(main, items=("o1", "o2"))
    assert seen == [[b"o1", b"o2"]]


def test_tasks_that_share_a_consumer_follow_their_own_records():
    async def work(consumer, producer):
        while True:
            message = await consumer.getone()
            await asyncio.sleep(5)
            await producer.send_and_wait("paid", message.value)

    async def main():
        async with (
            AIOKafkaConsumer("orders", **BY_HAND) as consumer,
            AIOKafkaProducer(**SERVERS) as producer,
        ):
            await asyncio.gather(*(work(consumer, producer) for _ in range(3)))

    run = ran(main, items=("o1", "o2", "o3"))
    sent = [one for one in run.history.of("publish") if one.data["topic"] == "paid"]
    assert {one.entity: one.data["value"] for one in sent} == {1: b"o1", 2: b"o2", 3: b"o3"}


def test_where_nothing_is_committed():
    async def main():
        async with AIOKafkaConsumer("orders", **BY_HAND, auto_offset_reset="none") as consumer:
            with pytest.raises(NoOffsetForPartitionError):
                await consumer.getone()
        async with AIOKafkaConsumer("orders", **SERVERS) as consumer:
            assert await consumer.getmany(timeout_ms=100) == {}  # it begins at the end
            await consumer.seek_to_beginning()
            assert (await consumer.getone()).value == b"o1"
            await consumer.seek_to_end(ORDERS)
            assert await consumer.position(ORDERS) == 1

    async def later():
        await asyncio.sleep(1)
        await main()

    ran(later, new_groups=True)


# ---- the producer


def as_bytes(value):
    return json.dumps(value).encode()


def test_send_hands_over_and_send_and_wait_waits():
    seen = []

    async def main():
        producer = AIOKafkaProducer(**SERVERS, linger_ms=20, value_serializer=as_bytes)
        await producer.start()
        future = await producer.send("paid", {"a": 1}, headers=[("h", b"1")])
        seen.append(future.done())
        told = await future
        seen.append((told.topic, told.partition, told.offset, told.timestamp_type))
        seen.append((await producer.send_and_wait("paid", {"b": 2}, key=b"k")).offset)
        await producer.send("paid", {"c": 3})
        seen.append(await producer.partitions_for("paid"))
        await producer.stop()

    run = ran(main)
    assert seen == [False, ("paid", 0, 0, 0), 1, {0}]
    assert stored(run, "paid") == [b'{"a": 1}', b'{"b": 2}', b'{"c": 3}']


@pytest.mark.parametrize(
    ("fault", "idempotent", "copies", "raised"),
    [
        (ErrorReply(Site(PUBLISH, entity=0)), False, 1, None),
        (LostRequest(Site(PUBLISH, entity=0)), False, 0, RequestTimedOutError),
        (LostReply(Site(PUBLISH, "after", entity=0)), False, 1, RequestTimedOutError),
        (LostRequest(Site(PUBLISH, entity=0)), True, 1, None),
        (LostReply(Site(PUBLISH, "after", entity=0)), True, 1, None),
    ],
)
def test_what_is_sent_again_by_itself(fault, idempotent, copies, raised):
    told = []

    async def main():
        async with AIOKafkaProducer(**SERVERS, enable_idempotence=idempotent) as producer:
            try:
                told.append((await producer.send_and_wait("paid", b"x")).offset)
            except KafkaError as error:
                told.append(type(error))

    assert stored(ran(main, fault), "paid") == [b"x"] * copies
    assert told == [raised or 0]


@pytest.mark.parametrize(
    ("options", "lost"),
    [({}, True), ({"acks": "all"}, False), ({"enable_idempotence": True}, False)],
)
def test_what_it_sends_is_confirmed_by_the_leader_alone_unless_it_says_otherwise(options, lost):
    told = []

    async def main():
        async with AIOKafkaProducer(**SERVERS, **options) as producer:
            for body in (b"x", b"y"):
                told.append((await producer.send_and_wait("paid", body)).offset)

    fault = LostWrites(Site(PUBLISH, "after", entity=0))
    if lost:
        assert stored(ran(main, fault), "paid") == [b"x", b"y"]
        assert told == [0, 0]  # the second one is where the first one was
        return
    with pytest.raises(IllegalFault, match="can never happen"):
        ran(main, fault)


def test_what_retention_took_is_out_of_range_and_a_compacted_topic_wants_keys():
    told = []

    async def main():
        topics = {"auto_offset_reset": "none", "enable_auto_commit": False}
        async with AIOKafkaProducer(**SERVERS) as producer:
            try:
                await producer.send_and_wait("states", b"x")
            except KafkaError as error:
                told.append(type(error))
        async with AIOKafkaConsumer("orders", **SERVERS, group_id="g", **topics) as consumer:
            await consumer.getone()
            await asyncio.sleep(90)
            try:
                await consumer.getone()
            except KafkaError as error:
                told.append(error)

    kept = {"orders": KafkaTopic(retention_ms=60_000), "states": KafkaTopic(compacted=True)}
    ran(main, items=("o1", "o2"), topics=kept)
    assert told[0].__name__ == "UnknownError"
    assert isinstance(told[1], OffsetOutOfRangeError)
    assert told[1].args == ({TopicPartition("orders", 0): 1},)


def test_a_cluster_that_refuses_for_too_long():
    async def main():
        async with AIOKafkaProducer(**SERVERS, request_timeout_ms=50) as producer:
            with pytest.raises(NotEnoughReplicasError):
                await producer.send_and_wait("paid", b"x")

    ran(main, ErrorReply(Site(PUBLISH, entity=0)))


def test_what_was_not_sent_yet_dies_with_its_process():
    async def main():
        async with (
            AIOKafkaConsumer("orders", **BY_HAND) as consumer,
            AIOKafkaProducer(**SERVERS) as producer,
        ):
            message = await consumer.getone()
            await producer.send("paid", message.value)
            await consumer.commit()
            await asyncio.sleep(1)

    crash = Crash(Site(COMMIT, "after"))
    run = ran(main, crash)
    assert stored(run, "paid") == [] and len(acks(run)) == 1


def test_a_transaction_keeps_records_and_offsets_together():
    async def main():
        options = {**SERVERS, "transactional_id": "t"}
        async with (
            AIOKafkaConsumer("orders", **BY_HAND, isolation_level="read_committed") as consumer,
            AIOKafkaProducer(**options) as producer,
        ):
            async for message in consumer:
                async with producer.transaction():
                    await producer.send("paid", message.value)
                    ends = {ORDERS: message.offset + 1}
                    await producer.send_offsets_to_transaction(ends, "readers")

    for fault in (
        *(
            Crash(Site(f"reader.main/bus.{one}", "after"))
            for one in ("send_offsets", "publish paid")
        ),
        LostReply(Site("reader.main/bus.commit_transaction", "after")),
        LostRequest(Site("reader.main/bus.send_offsets")),
    ):
        run = ran(main, fault)
        kept = stored(run, "paid")
        gone = [one for event in run.history.of("rollback") for one in event.data["withdrawn"]]
        assert len(kept) - len(gone) == 1, fault


def test_who_comes_later_fences_a_transaction_for_good():
    seen = []

    async def main():
        first, second = (AIOKafkaProducer(**SERVERS, transactional_id="t") for _ in range(2))
        await first.start()
        await first.begin_transaction()
        await first.send_and_wait("paid", b"1")
        await second.start()
        for call in (first.commit_transaction, first.begin_transaction):
            with pytest.raises(ProducerFenced) as error:
                await call()
            seen.append(error.type)
        try:
            async with first.transaction():
                pass
        except ProducerFenced:
            seen.append("again")
        await first.stop()
        await second.stop()

    ran(main)
    assert seen == [ProducerFenced, ProducerFenced, "again"]


# ---- what is not there


async def used(use, **options):
    async with AIOKafkaConsumer("orders", **{**GROUP, **options}) as consumer:
        found = use(consumer)
        if hasattr(found, "__await__"):
            await found


async def sent(**options):
    producer = AIOKafkaProducer(**{**SERVERS, **options.pop("producer", {})})
    if options.pop("started", True):
        await producer.start()
    await producer.send(**{"topic": "paid", "value": b"x", **options})


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (lambda: used(None, bootstrap_servers="x"), r"'x:9092' \(at tests/.*, and this system has"),
        (
            lambda: used(lambda one: one.last_stable_offset(ORDERS)),
            r"aiokafka: AIOKafkaConsumer.last_stable_offset is not modelled \(at .*test_aiokafka",
        ),
        (lambda: used(None, session_timeout_ms=6_000), "its cluster session_timeout_ms=45000"),
        (
            lambda: sent(timestamp_ms=5),
            r"send\(timestamp_ms=5\) is not modelled \(at tests/adapters",
        ),
        (lambda: sent(started=False), r"send\(\) before start\(\) is not modelled"),
        (lambda: sent(producer={"partitioner": min}), r"AIOKafkaProducer\(partitioner=...\) is"),
    ],
)
def test_what_is_not_modelled_ends_the_run_with_its_place(main, words):
    async def run():
        await main()

    with pytest.raises(InvalidDefinition, match=words):
        ran(run)


def test_a_cluster_that_shares_out_otherwise_is_said():
    with pytest.raises(InvalidDefinition, match="no such assignor"):
        ran(reading([]), assignment="cooperative-sticky")


def test_outside_a_run_it_is_the_real_library():
    async def main():
        producer = AIOKafkaProducer(bootstrap_servers="localhost:1")
        assert producer.client is not None
        with pytest.raises(aiokafka.errors.KafkaConnectionError):
            await producer.start()
        await producer.stop()

    asyncio.run(main())


def test_a_cut_network_and_its_return():
    seen = []
    cut = NetworkPartition(DELIVER, lasting=90_000)
    ran(reading(seen, take=commits, most=1), cut)
    assert seen == [b"o1"]


# ---- beside the same on ports


FAULTS = {
    "none": [],
    "crash": [Crash(Site("billing.run/bank.charge", "after"))],
    "refused": [ErrorReply(Site("billing.run/bus.publish paid"))],
    "not taken": [LostReply(Site(RUN_COMMIT, "after", 2))],
    "fenced": [Rebalance(Site(RUN_COMMIT, entity=3))],
    "moved": [Rebalance(Site("bus.orders/deliver to billing", entity=2))],
    "paused": [Pause(Site("billing.run/bank.charge"), lasting=3_000)],
}


def happened(run):
    """Return what happened to messages and third parties, without when."""
    kinds = ("publish", "deliver", "ack", "nack", "effect", "fault", "crash")
    kept = [one for one in run.history if one.kind in kinds]
    return sorted((one.entity, one.kind, one.operation, str(told_of(one))) for one in kept)


def told_of(one):
    """Return what an event says; messages by what they are, and not by their number."""
    return {name: value for name, value in one.data.items() if name != "message"}


@pytest.mark.parametrize("name", FAULTS)
def test_it_does_what_the_same_code_does_on_ports(name):
    schedule = Schedule(FAULTS[name])
    runs = [workers.shop(one).run(None, schedule) for one in (workers.charged, workers.ported)]
    mine, ported = map(happened, runs)
    assert all(run.ending.verdict == "quiet" and not run.unused for run in runs)
    if name in ("refused", "not taken"):  # aiokafka asks again by itself; this code dies of it
        died = [any(one[1] == "crash" for one in these) for these in (mine, ported)]
        assert died == [False, True]
        return
    if name == "moved":  # aiokafka gives back the record that it works on; a poll loop does not
        first = [[one[:2] for one in these].count((1, "deliver")) for these in (mine, ported)]
        assert first == [2, 1]
        return
    assert mine == ported


DIGESTS = """
from chaosharness import Schedule
from tests.adapters.aiokafka_workers import charged, shop
from tests.adapters.test_aiokafka import FAULTS
for name, faults in FAULTS.items():
    for _ in range(2):
        print(name, shop(charged).run(None, Schedule(faults)).digest())
"""


def test_a_history_is_the_same_everywhere():
    first = printed_everywhere(DIGESTS)
    assert len(set(first)) == len(FAULTS)


def growing(found):
    async def main():
        admin = AIOKafkaAdminClient(**SERVERS)
        await admin.start()
        for total in (4, 2):
            try:
                answer = await admin.create_partitions({"paid": NewPartitions(total)})
                found.append(answer.topic_errors)
            except KafkaError as error:
                found.append(type(error))
        await admin.close()
        async with AIOKafkaProducer(**SERVERS) as producer:
            record = await producer.send_and_wait("paid", b"1", key=b"o2")
            found.append(record.partition)

    return main


def test_the_admin_client_has_a_topic_grow():
    found = []
    ran(growing(found))
    assert found == [[("paid", 0, None)], InvalidPartitionsError, 2]


def test_who_hears_nothing_of_it_may_have_done_it():
    found = []
    ran(growing(found), LostReply(Site("reader.main/bus.create_partitions paid", "after", 0)))
    assert found == [RequestTimedOutError, InvalidPartitionsError, 2]


class WhereItSaved(ConsumerRebalanceListener):
    """Goes on where a file says, which may know of records that the log has lost."""

    def __init__(self, consumer, saved):
        self.consumer = consumer
        self.saved = saved

    def on_partitions_revoked(self, revoked): ...

    async def on_partitions_assigned(self, assigned):
        for place in assigned:
            self.consumer.seek(place, self.saved)


@pytest.mark.parametrize(("saved", "heard"), [(0, 0), (7, 1)])
def test_a_listener_may_seek_to_an_offset_that_is_not_there_and_getmany_says_so(saved, heard):
    read, lost = [], []

    async def main():
        consumer = AIOKafkaConsumer(**BY_HAND, auto_offset_reset="none")
        await consumer.start()
        consumer.subscribe(["orders"], listener=WhereItSaved(consumer, saved))
        while True:
            try:
                batches = await consumer.getmany(timeout_ms=1000)
            except OffsetOutOfRangeError as error:
                [places] = error.args
                lost.append(dict(places))
                await consumer.seek_to_beginning(*places)
                continue
            for records in batches.values():
                read.extend(record.value for record in records)

    run = ran(main, items=("o1", "o2"), new_groups=True)
    assert run.ending.verdict == "quiet"
    assert lost == [{ORDERS: saved}] * heard
    assert len(read) == 2
