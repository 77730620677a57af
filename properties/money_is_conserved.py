"""Who was charged and not refunded has his order shipped, and the other way round."""

from __future__ import annotations

from collections.abc import Callable

from chaosharness import Delay, Pause, Schedule, Site
from models.order import broken
from models.order.claims import money
from models.small import wallet
from properties import broken_by, kept_by


def test_a_timeout_starts_the_compensation_and_the_late_success_arrives() -> None:
    late = Delay(Site("payments.on_order/bank.charge"), lasting="timeout")
    twin = broken.timeout_compensates_and_late_success_arrives()
    assert broken_by(twin, money()) == Schedule([late])


def test_a_balance_that_is_counted_in_memory_is_written_over_another() -> None:
    stalls = Pause(Site("wallets.on_transfer/wallet-db.select wallets", "after"), lasting=11)
    assert broken_by(wallet.counts_in_python(), wallet.money()) == Schedule([stalls])


def test_the_right_wallets_conserve_money() -> None:
    assert kept_by(wallet.wallet(), wallet.money())


def test_the_right_flow_conserves_money(holds: Callable[[str], bool]) -> None:
    assert holds("money is conserved")
