"""Each broken twin of the models that the gallery does not show says what was planted in it.

pytest tests/gallery/test_causes_of_models.py              # those of the applications are slow
pytest tests/gallery/test_causes_of_models.py -m slow
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import walk_packages

import pytest

import models
from benchmarks.gallery import exhibits
from chaosharness import System
from tests.gallery.told import first_of_the_finding, first_two_sentences
from tests.gallery.told_of_applications import TOLD as OF_APPLICATIONS
from tests.gallery.told_of_brokers import TOLD as OF_BROKERS
from tests.gallery.told_of_engines import TOLD as OF_ENGINES
from tests.gallery.told_of_schemas import TOLD as OF_SCHEMAS

TOLD = {**OF_ENGINES, **OF_BROKERS, **OF_SCHEMAS, **OF_APPLICATIONS}
RIGHT = {
    "aws.board:board",
    "aws.board:last_word_wins",
    "aws.changes:changes",
    "aws.desk:desk",
    "aws.keeper:keeper",
    "aws.desk:window_longer_than_the_retry",
    "aws.router:router",
    "aws.till:bounded",
    "aws.till:till",
    "dead_letters.board:numbered_on_kafka",
    "dead_letters.board:numbered_on_nats",
    "dead_letters.board:numbered_on_rabbitmq",
    "dead_letters.board:numbered_on_redis",
    "dead_letters.board:numbered_on_sqs",
    "kafka.bills:bills",
    "kafka.capture:outbox",
    "kafka.capture:tables",
    "kafka.confirmed:confirmed",
    "kafka.growing:numbered",
    "kafka.invoices:invoices",
    "kafka.moves:balances",
    "kafka.moves:moves",
    "kafka.prices:prices",
    "kafka.relay:relay",
    "kafka.rests:reads_again",
    "kafka.retries:retries",
    "kafka.retries:tried_in_place",
    "kafka.statuses:statuses",
    "kafka.stops:books",
    "kafka.till:tasks",
    "kafka.till:till",
    "kafka.totals:totals",
    "nats.desk:deaths_are_taken_up",
    "nats.desk:desk",
    "nats.desk:window_longer_than_the_retry",
    "nats.view:one_at_a_time",
    "nats.view:ordered",
    "protocols.broadcast:redundant_broadcast",
    "protocols.commit:logged_two_phase",
    "protocols.replication:replication_with_a_least_number",
    "rabbit.alarms:tickets",
    "rabbit.dispatch:dispatch",
    "rabbit.dispatch:requeue_beside_others",
    "rabbit.keys:keys",
    "rabbit.keys:keys_for_a_week",
    "rabbit.outbox:outbox",
    "rabbit.parcels:parcels",
    "rabbit.prices:prices",
    "rabbit.prices:replayed_prices",
    "rabbit.reports:heartbeat_long_enough",
    "rabbit.reports:reports",
    "rabbit.stops:relay",
    "redis_streams.loop:loop",
    "redis_streams.till:till",
    "schemas.currencies:euro_before",
    "schemas.discounts:net",
    "schemas.discounts:passes_on",
    "schemas.renames:alias",
    "schemas.renames:narrow",
    "small.cashier:cashier",
    "small.once:once",
    "small.tickets:tickets",
    "small.trip:trip",
    "small.wallet:wallet",
    "small.watchers:watchers",
    "styles.business:claimed",
}
"""What returns a right one, and is not called `right` or `build`.

`aws.board:last_word_wins` is right as it stands; what it is told of is its weaker queue.
"""


def marked() -> list[object]:
    slow = pytest.mark.slow
    return [pytest.param(name, marks=slow if one.slow else ()) for name, one in TOLD.items()]


@pytest.mark.parametrize("target", marked())
def test_the_first_two_sentences_name_what_was_planted(target):
    if target.startswith("applications"):
        libraries = "fastapi", "sqlalchemy", "pika", "faststream", "confluent_kafka", "celery"
        for library in (*libraries, "taskiq_aio_pika"):
            pytest.importorskip(library)
    one = TOLD[target]
    assert one.words in one.where(one.report(target))


SENTENCES = """BROKEN: it                                         system x

  o1 was paid twice. So was o2

  pay asks the bank twice, in 0.5 s. o1 came again. payments.on_order did not
  look

  Taken for granted: nothing."""


def test_three_sentences_are_not_two():
    assert first_two_sentences(SENTENCES) == "pay asks the bank twice, in 0.5 s. o1 came again."
    assert first_of_the_finding(SENTENCES) == "o1 was paid twice."


def twins() -> set[str]:
    """Return every function of the models that builds a system, and is not called a right one."""
    found = set()
    for info in walk_packages(models.__path__, "models."):
        name = info.name.removeprefix("models.")
        last = name.rpartition(".")[2]
        if last == "right" or (name.startswith("applications") and last != "system"):
            continue  # what an application imports itself would reach for a real broker
        module = import_module(info.name)
        for word, value in vars(module).items():
            own = getattr(value, "__module__", "") == info.name and not word.startswith("_")
            builds = getattr(value, "__annotations__", {}).get("return") in (System, "System")
            if own and builds and word not in ("right", "build"):
                found.add(f"{name}:{word}")
    return found


def test_nothing_broken_is_left_out():
    shown = {one.target for one in exhibits()}
    right = RIGHT | {name for name in twins() if is_of_its_application(name)}
    told = {target for target in TOLD if ".weaker." not in target}
    assert twins() - right - shown == told


def is_of_its_application(target: str) -> bool:
    """Say whether it is the right one of an application: `applications.billing.system:billing`."""
    module, _, word = target.partition(":")
    return module.startswith("applications.") and module.split(".")[1] == word
