"""What the reports of broken twins must say: whole applications, unmodified."""

from chaosharness import (
    Crash,
    Delay,
    ErrorReply,
    FailedCommit,
    LostReply,
    NetworkPartition,
    Pause,
    Poison,
    Site,
)
from tests.gallery.told import Told

TOLD = {
    "applications.invoices.system:no_key": Told(
        "idempotent",
        (
            "charging.on_order asks for bank.charge 2 times, and no request carries"
            " an idempotency key"
        ),
        [Delay(Site("charging.on_order/bank.charge"))],
        items=(0,),
    ),
    "applications.invoices.system:auto_ack": Told(
        "idempotent",
        "acknowledged a message for o1 from order.placed before its work was done",
        [Delay(Site("charging.on_order/bank.charge"), lasting="timeout")],
        items=(0,),
    ),
    "applications.invoices.system:unconfirmed": Told(
        "idempotent",
        "sent order.charged and asked for no confirmation: it was lost on its way",
        [NetworkPartition(Site("charging.on_order/bus.publish order.charged"))],
        slow=True,
    ),
    "applications.invoices.system:slow": Told(
        "unhandled exceptions block nobody",
        ("was given a message for o1 from order.placed 201 times and raised StreamLostError"),
        [],
        items=(0,),
        slow=True,
    ),
    "applications.invoices.system:requeued": Told(
        "never stuck",
        (
            "gave an unreadable message from order.placed back 401 times, and each "
            "time it came again"
        ),
        [Poison(Site("client.customer/bus.publish order.placed"))],
        items=(0,),
    ),
    "applications.booking.system:retried_post": Told(
        "idempotent",
        "asks for hotel.add 2 times in one and the same run of it",
        [Delay(Site("booking.create_booking/hotel.add"), lasting="timeout")],
        items=(0,),
        slow=True,
    ),
    "applications.booking.system:silence_is_no": Told(
        "idempotent",
        (
            "gave up waiting for hotel.reserve and went on as if it had failed. hot"
            "el did it after all"
        ),
        [Delay(Site("booking.create_booking/hotel.reserve"), lasting="timeout")],
        items=(0,),
        slow=True,
    ),
    "applications.booking.system:status_unchecked": Told(
        "idempotent",
        ("was refused hotel.reserve for now, did not raise, and answered as if it had been done"),
        [ErrorReply(Site("booking.create_booking/hotel.reserve"))],
        items=(0,),
    ),
    "applications.deposits.system:keyless": Told(
        "idempotent",
        "asks for bank.charge 2 times, and no request carries an idempotency key",
        [Delay(Site("deposits.keyless/bank.charge"), lasting="timeout")],
        items=(0,),
        slow=True,
    ),
    "applications.deposits.system:deletes_what_failed": Told(
        "idempotent",
        "was refused bank.charge for d1 from orders, and acknowledged it all the same",
        [ErrorReply(Site("deposits.deletes_what_failed/bank.charge"))],
        items=(0,),
        slow=True,
    ),
    "applications.deposits.system:deletes_first": Told(
        "idempotent",
        "deposits#1 acknowledged d1 from orders before its work was done",
        [Crash(Site("deposits.deletes_first/bank.charge"))],
        items=(0,),
        slow=True,
    ),
    "applications.deposits.system:entries_unread": Told(
        "idempotent",
        "deposits#1 is refused at bus.entry of send_message_batch paid for item 1",
        [ErrorReply(Site("deposits.entries_unread/bus.entry of send_message_batch paid"))],
        items=(0,),
        slow=True,
    ),
    "applications.charges.system:rejected": Told(
        "idempotent",
        "bus let go of o1 from placed (rejected) after it had been handed out once",
        [ErrorReply(Site("charging.on_order/bank.charge"))],
        items=(0,),
        slow=True,
    ),
    "applications.charges.system:no_key": Told(
        "idempotent",
        (
            "charging.on_order asks for bank.charge 2 times, and no request carries"
            " an idempotency key"
        ),
        [Delay(Site("charging.on_order/bank.charge"), lasting="timeout")],
        items=(0,),
        slow=True,
    ),
    "applications.charges.system:acknowledged_first": Told(
        "idempotent",
        "acknowledged o1 from placed before its work was done; then it crashed",
        [Crash(Site("charging.on_order/handle"))],
        items=(0,),
        slow=True,
    ),
    "applications.wallet.system:each_time": Told(
        "idempotent",
        "does update db.accounts again when it is asked again: 2 times for one and the same",
        [FailedCommit(Site("wallet.transfer_each_time/db.commit"), outcome="committed")],
        items=(0,),
        slow=True,
    ),
    "applications.wallet.system:unlocked": Told(
        "idempotent",
        (
            "wallet#2 read db.accounts, wallet#1 changed it, and then wallet#2 wrot"
            "e what it had worked out before that"
        ),
        [Pause(Site("wallet.transfer_unlocked/db.select accounts", "after"), lasting="timeout")],
        slow=True,
    ),
    "applications.wallet.system:told_later": Told(
        "idempotent",
        "committed db.accounts and db.transfers before all of its work was done",
        [Crash(Site("wallet.transfer_told_later/db.commit", "after"), down="timeout")],
        items=(1,),
        slow=True,
    ),
    "applications.wallet.system:marked_first": Told(
        "idempotent",
        "committed db.outbox before it asked for ledger.book, and then was refused that",
        [ErrorReply(Site("relay.tell_marked_first/ledger.book", entity=0))],
        slow=True,
    ),
    "applications.wallet.system:without_key": Told(
        "idempotent",
        (
            "asks for ledger.book 2 times in one and the same run of it, and nothin"
            "g in it tells ledger that it is the same"
        ),
        [Delay(Site("relay.tell_without_key/ledger.book", entity=0), lasting="timeout")],
        items=(0,),
        slow=True,
    ),
    "applications.billing.system:commits_by_itself": Told(
        "idempotent",
        "acknowledged o1 from orders before its work was done; then it crashed",
        [Crash(Site("billing.commits_by_itself/bus.commit", "after"))],
        items=(0,),
    ),
    "applications.billing.system:never_flushed": Told(
        "idempotent",
        "acknowledged o1 from orders before its work was done; then it crashed",
        [Crash(Site("billing.never_flushed/bus.commit", "after"))],
        items=(0,),
    ),
    "applications.billing.system:keyless": Told(
        "idempotent",
        ("billing.keyless asks for bank.charge 2 times, and no request carries an idempotency key"),
        [Delay(Site("billing.keyless/bank.charge"), lasting="timeout")],
        items=(0,),
    ),
    "applications.billing.system:skips_what_fails": Told(
        "idempotent",
        "was refused bank.charge for o1 from orders, and acknowledged it all the same",
        [ErrorReply(Site("billing.skips_what_fails/bank.charge"))],
        items=(0,),
    ),
    "applications.checkout.system:no_key": Told(
        "idempotent",
        (
            "checkout.create_order asks for bank.charge 2 times, and no request car"
            "ries an idempotency key"
        ),
        [LostReply(Site("checkout.create_order/bank.charge", "after"))],
        slow=True,
    ),
    "applications.checkout.system:status_unchecked": Told(
        "idempotent",
        ("was refused bank.charge for now, did not raise, and answered as if it had been done"),
        [ErrorReply(Site("checkout.create_order_unchecked/bank.charge"))],
        items=(0,),
        slow=True,
    ),
    "applications.checkout.system:order_after_charge": Told(
        "idempotent",
        "did nothing: only after that checkout.create_order_late committed what it wrote there",
        [Crash(Site("checkout.create_order_late/bank.charge", "after"))],
        slow=True,
    ),
    "applications.checkout.system:points_each_time": Told(
        "idempotent",
        "does update db.customers again when it is asked again: 2 times for one and the same",
        [LostReply(Site("bank-events.webhook/deliver to checkout.on_bank_event_again", "after"))],
        items=(0,),
        slow=True,
    ),
    "applications.checkout.system:marked_first": Told(
        "idempotent",
        ("committed db.receipts for a message for o1 from webhook before all of its work was done"),
        [FailedCommit(Site("checkout.on_bank_event_marked/db.commit", attempt=2))],
        items=(0,),
        slow=True,
    ),
    "applications.payouts.system:commits_by_itself": Told(
        "idempotent",
        "acknowledged p1 from requests before its work was done; then it crashed",
        [Crash(Site("payouts.commits_by_itself/bank.charge", "after"))],
        items=(0,),
    ),
    "applications.payouts.system:keyless": Told(
        "idempotent",
        "payouts.keyless asks for bank.charge 2 times, and no request carries an idempotency key",
        [Delay(Site("payouts.keyless/bank.charge"), lasting="timeout")],
        items=(0,),
    ),
    "applications.payouts.system:not_waited_for": Told(
        "idempotent",
        "acknowledged p1 from requests before its work was done; then it crashed",
        [Crash(Site("payouts.not_waited_for/bus.commit", "after"))],
        items=(0,),
    ),
    "applications.payouts.system:passes_what_failed": Told(
        "idempotent",
        "was refused bank.charge for p1 from requests, and acknowledged it all the same",
        [ErrorReply(Site("payouts.passes_what_failed/bank.charge"))],
        items=(0,),
    ),
    "applications.refunds.system:closes_behind_an_error": Told(
        "idempotent",
        "acknowledged c1 from claims before its work was done; then it crashed",
        [ErrorReply(Site("refunds.closes_behind_an_error/bank.charge"))],
        items=(0,),
    ),
    "applications.refunds.system:commits_the_batch": Told(
        "idempotent",
        "acknowledged c2 from claims before its work was done; then it crashed",
        [ErrorReply(Site("refunds.commits_the_batch/bank.charge", entity=2))],
    ),
    "applications.refunds.system:keyless": Told(
        "idempotent",
        "refunds.keyless asks for bank.charge 2 times, and no request carries an idempotency key",
        [Delay(Site("refunds.keyless/bank.charge"), lasting="timeout")],
        items=(0,),
    ),
    "applications.refunds.system:not_waited_for": Told(
        "idempotent",
        "acknowledged c1 from claims before its work was done; then it crashed",
        [Crash(Site("refunds.not_waited_for/bus.commit", "after"))],
        items=(0,),
    ),
    "applications.parcels.system:keyless": Told(
        "idempotent",
        "workers.keyless asks for bank.charge 2 times, and no request carries an idempotency key",
        [Delay(Site("workers.keyless/bank.charge"), lasting="timeout")],
        slow=True,
    ),
    "applications.parcels.system:new_key": Told(
        "idempotent",
        "asks for bank.charge 2 times, with another idempotency key each time",
        [Delay(Site("workers.new_key/bank.charge"), lasting="timeout")],
        slow=True,
    ),
    "applications.parcels.system:acknowledged_first": Told(
        "idempotent",
        "workers#1 crashes before acknowledged_first begins for item 1 (p1)",
        [Crash(Site("workers.acknowledged_first/handle"))],
        slow=True,
    ),
    "applications.parcels.system:lost_with_its_process": Told(
        "idempotent",
        "crashes after bank.charge for item 1 (p1), before it has acknowledged a message",
        [Crash(Site("workers.lost_with_its_process/bank.charge", "after"))],
        slow=True,
    ),
    "applications.parcels.system:gives_up": Told(
        "idempotent",
        "workers.gives_up got no answer to bank.charge",
        [NetworkPartition(Site("workers.gives_up/bank.charge"))],
        slow=True,
    ),
    "applications.receipts.system:keyless": Told(
        "idempotent",
        "workers.keyless asks for bank.charge 2 times in one and the same run of it",
        [Delay(Site("workers.keyless/bank.charge"), lasting="timeout")],
        slow=True,
    ),
    "applications.receipts.system:acknowledged_first": Told(
        "idempotent",
        "workers#1 acknowledged a message for r1 from taskiq before its work was done",
        [Crash(Site("workers.acknowledged_first/bus.ack", "after"))],
        slow=True,
    ),
    "applications.receipts.system:once": Told(
        "idempotent",
        "workers.once was refused bank.charge for now, did not raise, and returned",
        [ErrorReply(Site("workers.once/bank.charge"))],
        slow=True,
    ),
    "applications.shipments.system:in_a_pool": Told(
        "idempotent",
        "crashes after redis.evalsha for item 1 (s1), before it has acknowledged a message",
        [Crash(Site("workers.label/redis.evalsha", "after"))],
        slow=True,
    ),
    "applications.shipments.system:patient": Told(
        "idempotent",
        "redis handed a message for s1 from celery out again after 10 min, while workers#1 was",
        [Delay(Site("workers.patient/bank.charge"), lasting="timeout")],
        slow=True,
    ),
    "applications.shipments.system:in_an_hour": Told(
        "idempotent",
        (
            "workers#1 kept a message for s1 from celery in hand for 60 min before it began, and "
            "after 10 min redis handed it out again (visibility timeout)"
        ),
        [ErrorReply(Site("workers.in_an_hour/bank.charge"))],
        slow=True,
    ),
    "applications.shipments.system:acknowledged_first": Told(
        "idempotent",
        "workers#1 acknowledged a message for s1 from celery before its work was done",
        [Crash(Site("workers.acknowledged_first/printer.print", "after"))],
        slow=True,
    ),
    "applications.shipments.system:told_without_a_key": Told(
        "idempotent",
        "asks for mail.send_new 2 times, and nothing in it tells mail that it is the same",
        [Delay(Site("workers.told_without_a_key/mail.send_new"), lasting="timeout")],
        slow=True,
    ),
}
