"""For each product: what is refused, what a search draws and what its page says are the same."""

from functools import cache
from pathlib import Path

import pytest

from chaosharness import Schedule, Site
from chaosharness.brokers.dynamodb.rows import ROWS as DYNAMODB
from chaosharness.brokers.eventbridge.rows import ROWS as EVENTBRIDGE
from chaosharness.brokers.kafka.rows import ROWS as KAFKA
from chaosharness.brokers.nats.rows import ROWS as NATS
from chaosharness.brokers.rabbitmq.rows import ROWS as RABBITMQ
from chaosharness.brokers.rabbitmq.rows import SEARCHABLE
from chaosharness.brokers.redis.rows import ROWS as REDIS
from chaosharness.brokers.sns.rows import ROWS as SNS
from chaosharness.brokers.sqs.rows import ROWS as SQS
from chaosharness.errors import IllegalFault
from chaosharness.externals.rows import ROWS as CALLS
from chaosharness.faults import EVERY_KIND, GracefulStop
from chaosharness.handlers.legality import ANYWHERE, table
from chaosharness.kernel.site import PHASES
from chaosharness.search.sites import candidates
from chaosharness.stores.dynamodb.rows import ROWS as TABLES
from chaosharness.strategies.sizes import variants
from tests.brokers import rows_products

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
PAGES = {
    "sqs": [*SQS],
    "sns": [*SNS],
    "eventbridge": [*EVENTBRIDGE],
    "dynamodb": [*DYNAMODB],
    "redis": [*REDIS],
    "nats": [*NATS],
    "kafka": [*KAFKA],
    "rabbitmq": [*RABBITMQ],
    "tables": [*TABLES],
    "calls": [*CALLS],
}
PAGE_OF = {"sns": "sqs", "redis": "redis-streams", "tables": "dynamodb", "calls": "boto3"}


def of_redis(profile):
    return {
        "desk.main/bus.publish orders": ("publish", profile),
        "bus.orders/deliver to worker": ("deliver", profile),
        "worker.<lambda>/bus.ack": ("acknowledge", profile),
        "loop.main/bus.ack": ("loop acknowledge", profile),
        "loop.main/bus.autoclaim": ("claim", profile),
        "loop.main/bus.pending": ("look", profile),
        "loop.main/bus.delete_consumer": ("manage", profile),
    }


def of_sqs(profile):
    end = ".fifo" if profile == "fifo" else ""
    return {
        f"loop.main/bus.publish orders{end}": ("publish", profile),
        f"loop.main/bus.entry of send_message_batch more{end}": ("entry of a batch", profile),
        f"loop.main/bus.receive_message dead{end}": ("receive", profile),
        f"bus.orders{end}/deliver to worker": ("deliver", profile),
        "worker.<lambda>/bus.delete": ("delete", profile),
        "loop.main/bus.delete": ("loop delete", profile),
        "loop.main/bus.redrive": ("redrive", profile),
        "loop.main/bus.change_visibility": ("change", profile),
    }


def of_sns(profile):
    end = ".fifo" if profile == "fifo" else ""
    return {
        f"loop.main/topics.publish news{end}": ("publish", profile),
        f"loop.main/topics.entry of publish_batch news{end}": ("entry of a batch", profile),
        f"topics.news{end}/deliver to more{end}": ("fan out", profile),
    }


def of_nats(profile):
    deliver = {"bus.worker/deliver to worker": ("deliver", profile)}
    publish = {"desk.main/bus.publish orders": ("publish", "any stream")}
    if profile == "none":
        return {**publish, **deliver, "loop.main/bus.get": ("get", "any stream")}
    return {
        **publish,
        **deliver,
        "worker.<lambda>/bus.ack": ("ack", profile),
        "loop.main/bus.ack": ("ack", profile),
        "loop.main/bus.ack_sync": ("ack sync", profile),
        "loop.main/bus.in_progress": ("change", profile),
    }


def of_kafka(producer, *topic):
    ending = ("end, send offsets", "transactional")
    return {
        "desk.main/bus.publish orders": ("publish", producer, *topic),
        "bus.orders/deliver to worker": ("deliver", "any consumer", *topic),
        "worker.<lambda>/bus.commit": ("commit", "called"),
        "loop.main/bus.commit": ("commit", "loop"),
        "loop.main/bus.create_partitions done": ("create partitions", "administrator"),
        **(
            {
                "loop.main/bus.send_offsets": ending,
                "loop.main/bus.commit_transaction": ending,
                "loop.main/bus.publish done": ("publish", "idempotent"),
            }
            if producer == "plain" and "unclean" not in topic
            else {}
        ),
    }


def of_rabbitmq(publisher, consumer="acknowledged"):
    acks = {"worker.<lambda>/bus.ack": ("ack", consumer)} if consumer == "acknowledged" else {}
    return {
        "desk.main/bus.publish orders": ("publish", publisher),
        "bus.orders/deliver to worker": ("deliver", consumer),
        **acks,
    }


SITES = {
    ("sqs", "sqs", "standard"): of_sqs("standard"),
    ("sqs", "sqs", "fifo"): of_sqs("fifo"),
    ("sns", "sqs", "standard"): of_sns("standard"),
    ("sns", "sqs", "fifo"): of_sns("fifo"),
    ("eventbridge", "eventbridge", ""): {
        "shop.main/bus.publish Placed": ("publish", "any"),
        "shop.main/bus.entry of put_events Placed": ("entry", "any"),
        "bus.placed/deliver to till": ("fan out", "any"),
    },
    ("dynamodb", "dynamodb", ""): {
        "changes.orders/deliver to till": ("deliver", "any"),
        "till.<lambda>/changes.checkpoint": ("checkpoint", "any"),
    },
    ("redis", "redis", "lasting"): of_redis("lasting"),
    ("redis", "redis", "replicated"): of_redis("replicated"),
    ("nats", "nats", "explicit"): of_nats("explicit"),
    ("nats", "nats", "all"): of_nats("all"),
    ("nats", "nats", "none"): of_nats("none"),
    ("nats", "nats", "ordered"): {"bus.orders/deliver to worker": ("deliver", "ordered")},
    ("kafka", "kafka", "plain"): of_kafka("plain"),
    ("kafka", "kafka", "idempotent"): of_kafka("idempotent"),
    ("kafka", "kafka", "leader"): of_kafka("acks=1"),
    ("kafka", "kafka", "nobody"): of_kafka("acks=0"),
    ("kafka", "kafka", "unclean"): of_kafka("plain", "unclean"),
    ("kafka", "kafka", "retained"): of_kafka("plain", "kept for a while"),
    ("kafka", "kafka", "compacted"): of_kafka("plain", "compacted"),
    ("kafka", "kafka", "both"): of_kafka("plain", "both"),
    ("rabbitmq", "rabbitmq", "confirmed"): of_rabbitmq("confirmed"),
    ("rabbitmq", "rabbitmq", "again"): of_rabbitmq("again"),
    ("rabbitmq", "rabbitmq", "unconfirmed"): of_rabbitmq("unconfirmed"),
    ("rabbitmq", "rabbitmq", "automatic"): of_rabbitmq("confirmed", "automatic"),
    ("rabbitmq", "rabbitmq", "later"): {"loop.main/bus.publish more": ("publish", "later")},
}
SITES |= {
    ("tables", "tables", ""): {
        "loop.main/db.put orders": ("write", "any"),
        "loop.main/db.update orders": ("write", "any"),
        "loop.main/db.delete orders": ("write", "any"),
        "loop.main/db.transact": ("write", "any"),
        "loop.main/db.get orders": ("read", "any"),
        "loop.main/db.query orders": ("read", "any"),
        "loop.main/db.scan orders": ("read", "any"),
        "db.orders/copy": ("copy", "any"),
        "db.orders/write of a batch": ("write of a batch", "any"),
    },
    ("calls", "calls", ""): {
        f"loop.main/{one}": ("call", "any")
        for one in (
            "bus.send_message more",
            "bus.send_message_batch more",
            "bus.change_message_visibility more",
            "bus.delete_message more",
            "topics.publish news",
            "db.put_item orders",
            "db.get_item orders",
            "db.batch_write_item orders",
            "db.transact_write_items orders",
            "events.put_events Placed",
            "bank.charge",
        )
    },
}
CORE = {("publish", "core"), ("deliver", "core"), ("publish", "bucket")}
"""What nats-py alone gets to: `tests/adapters/test_nats_listening.py`, `test_nats_buckets.py`."""


@cache
def calm(product, kind):
    system = getattr(rows_products, f"of_{product}")(kind)
    return system, system.run()


def rows_at(product, at, *profiles):
    return [row for row in PAGES[product] if row.at == at and row.profile in profiles]


@pytest.mark.parametrize("product", PAGES)
def test_the_page_has_the_rows_and_every_row_has_a_site_here(product):
    page = (HOW_TO / f"{PAGE_OF.get(product, product)}.md").read_text("utf-8")
    assert table(PAGES[product], SEARCHABLE if product == "rabbitmq" else ()) in page
    sites = {
        (at, profile)
        for (mine, _, _), places in SITES.items()
        if mine == product
        for at, *profiles in places.values()
        for profile in profiles
    }
    rows = {(row.at, row.profile) for row in PAGES[product] if row.at != ANYWHERE}
    assert rows - CORE == {place for place in sites if place in rows}


@pytest.mark.parametrize("case", SITES, ids="-".join)
def test_a_search_draws_what_the_rows_say(case):
    product, name, kind = case
    _, run = calm(name, kind)
    drawn = candidates(run)
    for operation, (at, *profiles) in SITES[case].items():
        rows = rows_at(product, at, *profiles)
        here = {(one.site.phase, type(one)) for one in drawn if one.site.operation == operation}
        assert here == {(row.phase, row.fault) for row in rows if row.searched}, operation


def first_of_their_kind():
    """Yield each kind of operation once, by the first case that gets there: runs are dear."""
    known = set()
    for case, places in SITES.items():
        new = {place: kind for place, kind in places.items() if (case[0], kind) not in known}
        known.update((case[0], kind) for kind in new.values())
        if new:
            yield pytest.param(case, new, id="-".join(case))


@pytest.mark.parametrize(("case", "places"), [*first_of_their_kind()])
def test_and_what_they_do_not_say_is_refused(case, places):
    product, name, kind = case
    system, run = calm(name, kind)
    entities = {operation: entity for operation, entity in reversed([*run.reached])}
    for operation, (at, *profiles) in places.items():
        legal = {(row.phase, row.fault) for row in rows_at(product, at, *profiles)}
        surface = run.surfaces[operation]
        told = {("before", one) for one in surface.before} | {
            ("after", one) for one in surface.after
        }
        assert told == legal, operation
        for phase in PHASES:
            for unlike in EVERY_KIND:
                if (phase, unlike) not in legal and unlike is not GracefulStop:
                    site = Site(operation, phase, entity=entities[operation])
                    with pytest.raises(IllegalFault, match="can never happen"):
                        system.run(None, Schedule([variants(unlike, site)[0]]))
