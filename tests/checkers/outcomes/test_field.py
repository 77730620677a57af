"""Services as they are written: right ones on which all is silent, and twins with one bug each.

Nothing is claimed of any. Those of the slow test are searched; for the kinds of judgement that
came of them there is one run each, which is fast.
"""

from typing import Any

import pytest

from chaosharness import (
    Budget,
    Crash,
    Delay,
    ErrorReply,
    FailedCommit,
    Gateway,
    Kafka,
    NetworkPartition,
    Schedule,
    Site,
    StoreOutage,
    System,
    assumed,
    explore,
)
from chaosharness.checkers import idempotent
from tests.checkers.outcomes.field import (
    colours,
    loops,
    queues,
    records,
    relays,
    sagas,
    services,
    timers,
)

LOST = {"forgotten", "row missing", "effect lost"}
SERVICES = {
    "inbox": (queues.inbox_asyncio, {"row differs"}, "db.accounts"),
    "stock": (queues.nats_kv, {"row differs"}, "wh.stock"),
    "ledger": (queues.ledger, {"row missing"}, "bank.entries"),
    "import": (queues.csv_import, {"row too many"}, "db.rows_"),
    "function": (queues.lambda_batch, LOST, ""),
    "objects": (queues.orm_inbox, {"row differs"}, "db.acc"),
    "logins": (records.rate_window, {"row too many"}, "db."),
    "word first": (queues.async_ports_only, {"effect lost"}, "cards.pay"),
    "batches": (loops.batch_writer, {"row missing"}, "dw.readings"),
    "thumbnails": (loops.sqs_worker, LOST, ""),
    "hits": (loops.redis_counter, {"row differs"}, "statsdb.hits"),
    "offsets": (loops.offsets_in_db, {"row differs"}, "db.clicks"),
    "batches in trio": (loops.trio_batcher, LOST, ""),
    "jobs": (loops.dedupe_window, {"effect lost"}, "cards.pay"),
    "outbox": (relays.outbox_lease, {"effect lost", "half done"}, "mail.send"),
    "bridge": (relays.relay_two_brokers, LOST, ""),
    "choreography": (sagas.choreography, {"effect twice"}, "bank.refund"),
    "authorisation": (sagas.auth_capture, {"effect lost", "half done"}, "cards.void"),
    "quotes": (sagas.scatter, {"effect lost"}, "cards.pay"),
    "saga": (sagas.saga_of_own, {"effect twice"}, "hotel.book"),
    "join": (sagas.stream_join, {"row missing"}, "shipments"),
    "reminders": (timers.reminders, {"effect lost"}, "sms.send"),
    "renewals": (timers.subscriptions, {"effect twice"}, "cards.pay"),
    "retries": (timers.backoff, {"half done"}, "db.jobs"),
    "lock": (timers.lock_lease, {"row differs"}, "db.jobs"),
    "digest": (timers.digest, {"effect lost"}, "mailer.send"),
    "polling": (timers.status_poll, {"row missing"}, "books"),
    "fan": (colours.trio_fan, LOST | {"half done"}, ""),
    "carts": (services.optimistic, {"lost update"}, "carts.carts"),
    "cache": (colours.cache, {"row missing", "row differs"}, "redis"),
    "bookings": (services.api_idem, {"row too many"}, "db.bookings"),
    "mails": (colours.sns_fan, {"effect twice"}, "mailer.send"),
    "reports": (colours.taskgroup, {"row missing"}, "blobs"),
    "webhooks": (services.webhook_receiver, {"row differs"}, "db.total"),
    "streams": (records.event_sourced, {"row differs", "row too many"}, ""),
    "states": (records.state_machine, {"row differs"}, "db.o"),
    "uploads": (records.two_stores, {"row too many"}, "blobs"),
    "prices": (records.attrs_latest, {"row differs"}, "db.last"),
    "reports by the hour": (records.cron_report, {"effect twice"}, "mail.send"),
    "sessions": (records.sessions, {"row too many"}, "db.clicks"),
    "reservations": (services.rpc_chain, {"row differs"}, "sdb.stock"),
    "pulled": (services.jetstream_pull, LOST | {"half done"}, ""),
    "breaker": (services.circuit, LOST | {"half done"}, ""),
}
RUNS = 250


@pytest.mark.slow
@pytest.mark.parametrize("build", [one[0] for one in SERVICES.values()], ids=SERVICES)
def test_a_right_service_is_neither_accused_nor_asked_about(build):
    system = build(True)
    campaign = explore(system, properties=assumed(system), faults_max=1, runs_max=RUNS)
    assert not campaign.unproved
    assert [one.findings[0].summary for one in campaign.counterexamples] == []
    assert campaign.questions == ()


@pytest.mark.slow
@pytest.mark.parametrize(("build", "kinds", "place"), SERVICES.values(), ids=SERVICES)
def test_its_twin_is_named_for_its_bug(build, kinds, place):
    system = build(False)
    campaign = explore(system, properties=assumed(system), faults_max=1, runs_max=RUNS)
    found = {one.findings[0].group for one in campaign.counterexamples}
    assert any(kind in kinds and where.startswith(place) for kind, where in found), found


# ---- one run each


def judged(system: System, *faults: Any) -> set[tuple[str, str]]:
    """Return the groups of what is wrong with one run, each fault of which struck."""
    run = system.run(None, Schedule(faults))
    assert not run.unused
    return {one.group for one in idempotent().findings(run.evidence())}


@pytest.mark.parametrize("outcome", ["rolled-back", "committed"])
def test_a_rebalance_that_waits_for_a_sleeping_member_keeps_the_run_going(outcome):
    commit = Site("writer.loop/dw.commit", entity=0)
    assert judged(loops.batch_writer(True), FailedCommit(commit, outcome=outcome)) == set()


def test_items_without_a_text_of_their_own_are_known_by_what_their_client_sends():
    # both are put aside, for the store was failing: what the timer would send is not missed
    outage = StoreOutage(Site("calendar.on_appt/cal.commit"), lasting=1_620_000)
    assert judged(timers.reminders(True), outage) == set()


def test_what_is_gathered_for_a_while_may_be_sent_in_two():
    late = Delay(Site("client.ev/bus.publish events"), lasting="timeout")
    assert judged(timers.digest(True), late) == set()


def test_what_is_refused_for_good_may_go_round_by_a_queue_of_its_own():
    no = ErrorReply(Site("prov.on_vm/cloud.provision"))
    assert judged(relays.delayed_retry_ttl(True), no) == set()
    never = ErrorReply(Site("prov.on_vm/mq.publish wait"))
    assert judged(relays.delayed_retry_ttl(True), no, never) == set()
    assert ("effect lost", "cloud.provision") in judged(relays.delayed_retry_ttl(False), no, never)


@pytest.mark.parametrize("fault", [Crash, ErrorReply])
def test_a_dead_letter_that_a_loop_took_and_lost_is_lost(fault):
    outage = StoreOutage(Site("work.on_work/done.put"), lasting="long")
    publish = Site("redrive.loop/mq.publish work", entity=1)
    assert judged(relays.redrive(True), outage, fault(publish)) == set()
    assert ("forgotten", "") in judged(relays.redrive(False), outage, fault(publish))


def test_a_calm_run_in_which_messages_are_only_held_is_no_measure():
    system = System("held")
    bus = system.add(Kafka("bus", topics={"in": 1}))

    @system.service("writer")
    def writer(env):
        consumer = env.consumer(bus, "in", read_as=dict, on_unreadable="skip")

        def loop():
            batch = []
            while len(batch) < 10:
                batch += consumer.poll()  # waits for ever for the second one
            env.note("written", count=len(batch))

        env.main(loop)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("in", order)

    campaign = explore(system, faults_max=1)
    assert campaign.result == "unknown"
    assert not campaign.counterexamples
    assert any("nothing came of any message" in one for one in campaign.unproved)


def test_who_stores_what_it_was_sent_has_no_outbox():
    late = Delay(Site("client.e/bus.publish ticks"), lasting=11)  # behind the next of its symbol
    assert judged(records.attrs_latest(True), late) == set()
    assert ("row differs", "db.last.body,seq-") in judged(records.attrs_latest(False), late)


def test_a_partition_that_ends_between_two_deliveries_leaves_the_run_its_calm():
    system = System("restarts", budget=Budget(deliveries_max=3))
    bus, bank = system.add(Kafka("bus", topics={"in": 1})), system.add(Gateway("bank"))

    @system.service("pay")
    def pay(env):
        client = env.client(bank)

        def on_order(order: dict):
            client.charge(order["id"], 500, key=order["id"])

        env.consume(bus, "in", on_order)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("in", order)

    cut = NetworkPartition(Site("pay.on_order/bank.charge"), lasting=35_000)
    run = system.run(None, Schedule([cut]))  # the third try ends at 33 s, the fourth begins at 37
    assert run.ending.verdict == "quiet"
    assert len(list(run.history.of("effect"))) == 1
