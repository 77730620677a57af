"""Each broken twin's report says in its first two sentences what was planted in it."""

import re
from pathlib import Path

import pytest

from benchmarks.gallery import FOLDER, exhibits
from chaosharness.reporting.story.causes import CURES
from chaosharness.reporting.story.causes.cures import PAGE
from tests.gallery.told import first_two_sentences

ROOT = Path(__file__).resolve().parents[2]

SAYS = {
    "order.charge_without_key": "no request carries an idempotency key",
    "order.key_per_attempt": "with another idempotency key each time",
    "order.key_stored_after_the_effect": (
        "committed stock-db.stock for o1 from bus.orders, and stock-db.inbox in a transaction of "
        "its own, which failed"
    ),
    "order.check_then_set_race": (
        "inventory#2 and inventory#1 both looked into stock-db.inbox before either of them had "
        "written there"
    ),
    "order.dedupe_window_shorter_than_redelivery": (
        "under one idempotency key (charge o1), and bank did it again 45 s later: it has "
        "forgotten the key by then, or never looks at it"
    ),
    "order.mail_id_per_attempt": "with another message_id each time",
    "order.committed_and_never_published": (
        "committed payment-db.charges and then could not publish to paid"
    ),
    "order.published_then_rolled_back": (
        "published o1 to reserved before its transaction was committed"
    ),
    "order.relay_ends_at_the_first_error": (
        "The loop payments.relay of payments#1 and payments#2 ended at 60 s, after no answer to "
        "bus.publish paid, and nobody started it again"
    ),
    "order.offset_committed_before_processing": (
        "acknowledged o1 from bus.orders before its work was done"
    ),
    "order.poison_blocks_a_log_partition": (
        "was given an unreadable message from checkout 201 times"
    ),
    "order.join_counts_a_duplicate": (
        "handed 2 copies of o3 from reserved, and took the second for one more answer"
    ),
    "order.duplicate_blocks_a_log_partition": "was given o1 from checkout (2nd copy) 201 times",
    "order.compensation_not_idempotent": (
        "asks for bank.refund 2 times, and no request carries an idempotency key"
    ),
    "order.compensation_overtakes_forward_step": (
        "inventory handled o3 from cancellations before o3 from bus.orders, which was published "
        "first"
    ),
    "order.timeout_compensates_and_late_success_arrives": (
        "gave up waiting for bank.charge and went on as if it had failed. bank did it after all"
    ),
    "order.compensation_fails_and_is_not_tried_again": (
        "was refused bank.refund for now, did not raise, and returned"
    ),
    "order.compensates_an_unknown_outcome": (
        "got no answer to bank.charge, so it did not know whether it had happened (it had not). It "
        "went on all the same: it asks for bank.refund"
    ),
    "saga.answer_not_recorded": (
        "published s1 to rabbit.stock and did not get to commit that it had (saga-db.sagas)"
    ),
    "saga.two_orchestrators_resume": (
        "orchestrator#1 took s1 in saga-db.leases and stood still for 27 min; orchestrator#2 took "
        "it meanwhile"
    ),
    "saga.refunds_the_unknown": (
        "got no answer to bank.charge, so it did not know whether it had happened (it had not)"
    ),
    "saga.any_reply_will_do": "took s2 from replies twice, and the second time for something new",
    "saga.timeout_compensates_and_late_success_arrives": (
        "gave up on s1 (saga-db.sagas: cancelled) before the answer was there"
    ),
    "hybrid.mail_is_a_step": (
        "was refused mail.send and said so as the answer to a step, so bank.refund followed"
    ),
    "hybrid.completed_and_never_said": (
        "committed saga-db.sagas and then could not publish to order-completed"
    ),
    "hybrid.mails_again": "with another message_id each time",
    "cashier.falls_back_after_an_unknown_outcome": (
        "got no answer from stripe to charge, which stripe did, and asked adyen for the same"
    ),
    "cashier.moves_on_after_a_timeout": (
        "got no answer from stripe to charge, which stripe did, and asked adyen for the same"
    ),
    "tickets.cancelled_is_not_undone": (
        "got no answer to office.reserve, so it did not know whether it had happened (it had)"
    ),
    "trip.undoes_in_the_order_of_doing": "undid in the order of doing: airline.cancel came first",
    "trip.commits_before_it_works": "acknowledged t1 from trips before its work was done",
    "wallet.counts_in_python": (
        "wallets#2 read wallet-db.wallets, wallets#1 changed it, and then wallets#2 wrote what it "
        "had worked out before that"
    ),
    "watchers.undercut_each_other_for_ever": (
        "Each message of this circle brings forth the next one: their-prices → our-prices"
    ),
    "canary": "asks for bank.charge 2 times in one and the same run of it",
}


@pytest.mark.parametrize("name", [one.name for one in exhibits()])
def test_the_first_two_sentences_name_what_was_planted(name):
    report = (FOLDER / name / "report.txt").read_text("utf-8")
    assert SAYS[name] in first_two_sentences(report)


def headings(page: str) -> set[str]:
    titles = re.findall(r"^## (.+)$", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("kind", CURES)
def test_what_prevents_a_kind_is_said_on_a_page_of_ours(kind):
    assert CURES[kind].link.partition("#")[0] == PAGE
    assert CURES[kind].section in headings(PAGE)
