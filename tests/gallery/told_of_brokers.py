"""What the reports of broken twins must say: models on one broker or queue each."""

from chaosharness import (
    BrokerAlarm,
    Crash,
    Delay,
    Duplicate,
    ErrorReply,
    FailedCommit,
    GracefulStop,
    LostReply,
    LostRequest,
    LostWrites,
    NetworkPartition,
    Pause,
    Rebalance,
    Site,
    StoreOutage,
)
from tests.gallery.told import Told

TOLD = {
    "rabbit.dispatch:requeue_that_starves": Told(
        "never stuck",
        ("was given a message for o1 from tasks 42 times and raised NotPaid: o1 at each of them"),
        [LostRequest(Site("till.on_order/bus.publish tasks"))],
    ),
    "rabbit.prices:retry_queue_breaks_order": Told(
        "idempotent",
        (
            "handled a newer message of prices first and then an older one (it had "
            "been put aside, and came back)"
        ),
        [
            FailedCommit(
                Site(
                    "shop.on_price/shop-db.commit",
                    message="1 of client.announce/bus.publish prices",
                )
            )
        ],
    ),
    "rabbit.prices:dead_letters_over_newer_state": Told(
        "idempotent",
        (
            "handled a newer message of prices first and then an older one (it had "
            "been put aside, and came back)"
        ),
        [
            FailedCommit(
                Site(
                    "shop.on_price/shop-db.commit",
                    message="1 of client.announce/bus.publish prices",
                )
            )
        ],
    ),
    "rabbit.reports:blocked_heartbeats": Told(
        "never stuck",
        ("takes 150 s for r1 from reports, and after 120 s bus takes it back (missed heartbeats)"),
        [],
        items=(0,),
    ),
    "rabbit.outbox:lost_confirm_and_double_publish": Told(
        "never charged twice",
        "asks for bank.charge 2 times, with another idempotency key each time (6 and 17)",
        [LostReply(Site("relay.on_batch/bus.publish orders", "after"))],
    ),
    "rabbit.outbox:range_read_as_one": Told(
        "never charged twice",
        "asks for bank.charge 2 times, with another idempotency key each time (6 and 22)",
        [],
    ),
    "aws.desk:visibility_shorter_than_the_handler": Told(
        "never stuck",
        (
            "takes 20 s for o1 from charges.fifo, and after 15 s bus takes it back "
            "(visibility timeout)"
        ),
        [],
    ),
    "aws.desk:window_shorter_than_the_retry": Told(
        "never charged twice",
        ("asks for bank.charge 2 times, with another idempotency key each time (o1-1 and o1-2)"),
        [LostReply(Site("front.on_order/bus.publish charges.fifo", "after"))],
    ),
    "aws.keeper:own_write_taken_for_another": Told(
        "idempotent",
        ("that write was refused, because its own first one was there: it took that for done"),
        [Crash(Site("till.handler/db.put_item idempotency", "after"))],
    ),
    "aws.keeper:in_progress_for_ever": Told(
        "idempotent",
        ("that write was refused, because its own first one was there: it gave up, each time"),
        [LostReply(Site("till.handler/db.put_item idempotency", "after"))],
    ),
    "aws.till:partial_response_missing": Told(
        "idempotent",
        "till.handler was refused bank.charge for now, did not raise, and returned",
        [ErrorReply(Site("till.handler/bank.charge"))],
        items=(0,),
    ),
    "nats.desk:ack_wait_shorter_than_the_handler": Told(
        "never charged twice",
        (
            "bus handed o1 from charges.wanted out again after 15 s, while billing#"
            "1 was still at work on it"
        ),
        [],
    ),
    "nats.desk:no_message_id": Told(
        "never charged twice",
        ("asks for bank.charge 2 times, with another idempotency key each time (o1-1 and o1-2)"),
        [LostReply(Site("front.on_order/bus.publish charges.wanted", "after"))],
    ),
    "nats.desk:window_shorter_than_the_retry": Told(
        "never charged twice",
        ("asks for bank.charge 2 times, with another idempotency key each time (o1-1 and o1-2)"),
        [LostReply(Site("front.on_order/bus.publish charges.wanted", "after"))],
    ),
    "nats.desk:acknowledged_before_the_work": Told(
        "nothing acknowledged is lost",
        "acknowledged o1 from charges.wanted before its work was done",
        [ErrorReply(Site("billing.on_charge/bank.charge"))],
    ),
    "nats.desk:terminated_at_any_error": Told(
        "nothing acknowledged is lost",
        (
            "bus let go of o1 from charges.wanted (terminated ConnectionError) afte"
            "r it had been handed out once"
        ),
        [ErrorReply(Site("billing.on_charge/bank.charge"))],
    ),
    "nats.desk:no_dead_letters": Told(
        "nothing acknowledged is lost",
        (
            "bus let go of o1 from charges.wanted (max deliveries) after it had bee"
            "n handed out 3 times"
        ),
        [NetworkPartition(Site("billing.on_charge/bank.charge"), lasting=108000)],
    ),
    "nats.view:assumes_the_order_of_the_stream": Told(
        "idempotent",
        (
            "handled a newer message of orders.o1 first and then an older one (it w"
            "as handed out a second time)"
        ),
        [
            LostReply(
                Site(
                    "bus.view/deliver to view",
                    "after",
                    message="1 of client.change/bus.publish orders.o1",
                )
            )
        ],
    ),
    "redis_streams.loop:name_of_each_start": Told(
        "idempotent",
        (
            "handed o2 from orders to billing, which crashed before its work was do"
            "ne. Nobody acknowledged it, and nobody takes it up"
        ),
        [Crash(Site("billing.main/bus.ack", "after"))],
    ),
    "redis_streams.loop:dead_consumers_deleted": Told(
        "nothing acknowledged is lost",
        "bus let go of o1 from orders (consumer deleted)",
        [Crash(Site("billing.main/bank.charge", "after"))],
        items=(0,),
    ),
    "redis_streams.till:nobody_claims": Told(
        "nothing acknowledged is lost",
        "Nobody acknowledged it, and nobody takes it up: it stays pending",
        [ErrorReply(Site("billing.on_order/bank.charge"))],
        items=(0,),
    ),
    "redis_streams.till:acknowledged_before_the_work": Told(
        "nothing acknowledged is lost",
        "acknowledged o1 from orders before its work was done",
        [ErrorReply(Site("billing.on_order/bank.charge"))],
        items=(0,),
    ),
    "redis_streams.till:nothing_is_pending": Told(
        "nothing acknowledged is lost",
        "bus counted it as acknowledged when it handed it out, so it does not come again",
        [ErrorReply(Site("billing.on_order/bank.charge"))],
        items=(0,),
    ),
    "redis_streams.till:trimmed_before_it_is_claimed": Told(
        "nothing acknowledged is lost",
        "bus let go of o1 from orders (trimmed or deleted)",
        [Delay(Site("billing.on_order/bank.charge"))],
    ),
    "redis_streams.till:claimed_while_it_works": Told(
        "idempotent",
        ("bus handed o1 from orders out again after 5 s, while billing#1 was still at work on it"),
        [],
        items=(0,),
    ),
    "kafka.statuses:forgotten_key": Told(
        "no cancelled order is shown",
        "they have no key, so they are in two log partitions, in no order",
        [
            FailedCommit(
                Site(
                    "screen.on_event/screen-db.commit",
                    message="1 of client.order/bus.publish events",
                )
            )
        ],
    ),
    "kafka.totals:zombie_writes_after_its_successor": Told(
        "the total is what was paid",
        (
            "book#1 read totals-db.totals, book#2 changed it, and then book#1 wrote"
            " what it had worked out before that"
        ),
        [Pause(Site("book.run/totals-db.select totals", "after"), lasting=49500)],
    ),
    "kafka.relay:effect_outside_the_transaction": Told(
        "never charged twice",
        ("relay.run asks for bank.charge 2 times, and no request carries an idempotency key"),
        [Delay(Site("relay.run/bank.charge"), lasting="timeout")],
        items=(0,),
    ),
    "kafka.bills:kept_for_a_minute": Told(
        "nothing acknowledged is lost",
        "bus let go of o1 from orders (retention), and its work was not done",
        [Delay(Site("bus.orders/deliver to billing"), lasting=61_000)],
    ),
    "kafka.confirmed:confirmed_by_its_leader": Told(
        "nothing acknowledged is lost",
        "only the server that failed had it, whatever it had confirmed",
        [LostWrites(Site("relay.send/bus.publish orders", "after", entity=0))],
    ),
    "kafka.confirmed:confirmed_by_nobody": Told(
        "idempotent",
        "sent orders and asked for no confirmation: it was lost on its way, nobody noticed",
        [LostRequest(Site("relay.send/bus.publish orders", entity=0))],
    ),
    "kafka.moves:moves_on_a_compacted_topic": Told(
        "each account has its money",
        "of each key a compacted log keeps the last record alone",
        [Delay(Site("bus.moves/deliver to bank"), lasting=61_000)],
    ),
    "kafka.invoices:committed_before_the_work_ends": Told(
        "nothing acknowledged is lost",
        "acknowledged o1 from orders before its work was done",
        [Crash(Site("billing.run/bus.commit", "after"))],
        items=(0,),
    ),
    "kafka.till:rebalance_in_mid_batch": Told(
        "never charged twice",
        ("billing.run asks for bank.charge 2 times, and no request carries an idempotency key"),
        [Delay(Site("billing.run/bank.charge"), lasting="timeout")],
        items=(0,),
    ),
    "kafka.till:key_from_the_offset": Told(
        "never charged twice",
        "with another idempotency key each time (orders/0/0 and orders/0/1)",
        [Duplicate(Site("client.place/bus.publish orders"))],
        items=(0,),
    ),
    "kafka.till:commits_past_a_failed_record": Told(
        "nothing acknowledged is lost",
        "was refused bank.charge for desk from orders, and acknowledged it all the same",
        [ErrorReply(Site("billing.run/bank.charge"))],
        items=(0,),
    ),
    "kafka.till:commits_past_a_running_record": Told(
        "nothing acknowledged is lost",
        "committed an offset beyond desk from orders (offset 0) before its work was done",
        [LostRequest(Site("billing.run_together/bank.charge", entity=2))],
        items=(0, 1),
    ),
    "kafka.stops:commits_what_it_has_not_done": Told(
        "nothing acknowledged is lost",
        "books is told to stop after books-db.commit for item 1 (s1)",
        [GracefulStop(Site("books.run/books-db.commit", "after"))],
    ),
    "rabbit.stops:closes_before_it_has_sent": Told(
        "every sale is told",
        "relay is told to stop after publishing to sales",
        [GracefulStop(Site("relay.run/bus.publish sales", "after", entity=0))],
    ),
    "rabbit.alarms:takes_silence_for_a_no": Told(
        "who is paid back has no ticket",
        "got no confirmation of bus.publish prints and went on as if it had failed",
        [BrokerAlarm(Site("till.on_order/bus.publish prints"), lasting=60_000)],
        items=(0,),
    ),
    "kafka.growing:key_moved_to_a_new_log_partition": Told(
        "no cancelled order is shown as created",
        "handled a newer message of events first and then an older one",
        [
            StoreOutage(
                Site(
                    "screen.on_event/screen-db.commit",
                    message="1 of client.order/bus.publish events",
                ),
                lasting=270_000,
            )
        ],
    ),
    "kafka.rests:skips_what_came_while_it_was_down": Told(
        "every sale is in the ledger",
        "network partition begins at the delivery of sales to ledger for item 2 (s2)",
        [NetworkPartition(Site("bus.sales/deliver to ledger", entity=2))],
    ),
    "kafka.prices:cache_kept_across_a_rebalance": Told(
        "each order is at the price of its day",
        ("till#1 looked into shop-db.prices at 101 ms and not again: till#2 changed it at 202 ms"),
        [
            Rebalance(
                Site("bus.book/deliver to till", message="3 of client.happen/bus.publish book")
            ),
            Rebalance(
                Site("bus.book/deliver to till", message="4 of client.happen/bus.publish book")
            ),
        ],
    ),
    "aws.board:last_word_wins.weaker.standard": Told(
        "idempotent",
        (
            "handled a newer message of words.fifo first and then an older one "
            "(it was handed out a second time)"
        ),
        [
            Crash(
                Site(
                    "board.on_word/shown.put",
                    "after",
                    message="1 of desk.on_order/bus.publish words.fifo",
                )
            )
        ],
        items=(0,),
    ),
    "aws.changes:given_up_after_two": Told(
        "idempotent",
        "from orders (retries are over) after it had been handed out 3 times",
        [NetworkPartition(Site("till.handler/bank.charge"), lasting="timeout")],
        items=(0,),
    ),
    "aws.changes:key_from_the_call": Told(
        "never charged twice",
        "with another idempotency key each time",
        [Delay(Site("till.handler/bank.charge"), lasting="timeout")],
        items=(0,),
    ),
    "aws.router:key_from_the_event_id": Told(
        "never charged twice",
        "till.on_placed asks for bank.charge 2 times, with another idempotency key each time",
        [LostReply(Site("shop.on_order/bus.put_events OrderPlaced", "after"))],
        items=(0,),
    ),
    "dead_letters.board:replayed_over_newer_on_kafka": Told(
        "idempotent",
        (
            "handled a newer message of words first and then an older one "
            "(it had been put aside, and came back)"
        ),
        [
            FailedCommit(
                Site("board.on_word/shown.put", message="1 of desk.on_order/bus.publish words")
            )
        ],
        items=(0,),
    ),
    "dead_letters.board:replayed_over_newer_on_nats": Told(
        "idempotent",
        (
            "handled a newer message of words first and then an older one "
            "(it had been put aside, and came back)"
        ),
        [
            FailedCommit(
                Site("board.on_word/shown.put", message="1 of desk.on_order/bus.publish words")
            )
        ],
        items=(0,),
    ),
    "dead_letters.board:replayed_over_newer_on_rabbitmq": Told(
        "idempotent",
        (
            "handled a newer message of words first and then an older one "
            "(it had been put aside, and came back)"
        ),
        [
            Pause(
                Site(
                    "board.on_word/shown.get",
                    "after",
                    message="1 of desk.on_order/bus.publish words",
                ),
                lasting="timeout",
            )
        ],
        items=(0,),
    ),
    "dead_letters.board:replayed_over_newer_on_redis": Told(
        "idempotent",
        (
            "handled a newer message of words first and then an older one "
            "(it had been put aside, and came back)"
        ),
        [
            FailedCommit(
                Site("board.on_word/shown.put", message="1 of desk.on_order/bus.publish words")
            )
        ],
        items=(0,),
    ),
    "dead_letters.board:replayed_over_newer_on_sqs": Told(
        "idempotent",
        (
            "handled a newer message of words.fifo first and then an older one "
            "(it had been put aside, and came back)"
        ),
        [Crash(Site("board.on_word/handle", message="1 of desk.on_order/bus.publish words.fifo"))],
        items=(0,),
    ),
    "kafka.capture:repeats_after_a_restart": Told(
        "never charged twice",
        "asks for bank.charge 2 times, with another idempotency key each time (0-0 and 0-1)",
        [LostReply(Site("connector.capture/bus.publish outbox", "after", entity=0))],
        items=(0,),
    ),
    "rabbit.keys:first_still_runs": Told(
        "each order is paid once",
        "both looked into till-db.keys before either of them had written there",
        [Delay(Site("desk.on_order/till.pay"), lasting="timeout")],
        items=(0,),
    ),
    "aws.router:failed_entries_unread": Told(
        "idempotent",
        "bus.put_events OrderPlaced, which went well as a whole, while an entry of it was refused",
        [ErrorReply(Site("shop.on_order/bus.entry of put_events OrderPlaced"))],
        items=(0,),
    ),
    "aws.till:throttled": Told(
        "dead letters were tried",
        "till was still at work on o1 from orders and o2 from orders, and began with nothing else",
        [],
    ),
    "kafka.capture:tables_out_of_step": Told(
        "each paid parcel goes",
        "parcels handled o1 from payments before o1 from orders, which was published first",
        [
            Delay(
                Site(
                    "bus.orders/deliver to orders",
                    entity=0,
                    message="1 of connector.capture/bus.publish orders",
                ),
                lasting="timeout",
            )
        ],
    ),
    "kafka.retries:retry_topic_breaks_order": Told(
        "each item is at its latest price",
        (
            "shop.on_price handled a newer message of prices first and shop.on_retry after that an "
            "older one (it had been put aside, and came back)"
        ),
        [FailedCommit(Site("shop.on_price/shop-db.commit"))],
    ),
    "rabbit.keys:after_its_window": Told(
        "each order is paid once",
        "in till-db.keys at 2 ms, and threw that away at 65 s, when it came again",
        [LostReply(Site("desk.on_order/till.pay", "after"))],
        items=(0,),
    ),
    "rabbit.keys:with_other_arguments": Told(
        "each order is paid once",
        "asked for till.pay for o2 under the key request-1, which had been that of o1 before",
        [Crash(Site("desk.on_order/bus.ack", "after"))],
    ),
    "rabbit.parcels:asks_back": Told(
        "events say enough",
        "parcels.on_paid asks payments.street_of back to understand paid: it does not say enough",
        [],
        in_finding=True,
    ),
    "rabbit.parcels:forgets_the_request": Told(
        "ids travel",
        "payments.on_order publishes paid without the correlation id request-o1 of orders",
        [],
        in_finding=True,
    ),
    "rabbit.parcels:remembers_one_request": Told(
        "ids travel",
        "carries request-o2, which came with the second",
        [Crash(Site("payments.on_order/handle"))],
    ),
}
