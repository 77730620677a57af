"""What a library was given to keep is told apart, whichever object keeps it."""

import asyncio
import contextvars
import threading
import weakref

import pytest

from chaosharness.handlers.fingerprint import DEPTH_MAX, Look, of_function
from tests.handlers.test_fingerprint import print_of


class Kept:
    """Something that is referred to."""


def test_what_is_kept_for_a_thread_is_state():
    desk = threading.local()
    desk.batch = []
    before = print_of(desk)
    assert print_of(desk) == before
    desk.batch.append(1)
    assert print_of(desk) != before


def test_what_a_context_variable_holds_is_state():
    held = contextvars.ContextVar("held", default=0)
    before = print_of(held)
    token = held.set(1)
    assert print_of(held) != before
    held.reset(token)
    assert print_of(held) == before


def test_how_many_are_referred_to_is_state():
    kept = [Kept(), Kept()]
    referred = weakref.WeakValueDictionary({0: kept[0]})
    before = print_of(referred)
    referred[1] = kept[1]
    assert print_of(referred) != before


def test_a_session_is_what_it_will_write():
    sqlalchemy = pytest.importorskip("sqlalchemy")
    orm = pytest.importorskip("sqlalchemy.orm")
    base = orm.declarative_base()

    class Row(base):
        __tablename__ = "rows"
        id = sqlalchemy.Column(sqlalchemy.Integer, primary_key=True)
        count = sqlalchemy.Column(sqlalchemy.Integer, default=0)

    engine = sqlalchemy.create_engine("sqlite://")
    base.metadata.create_all(engine)
    session = orm.Session(engine)
    seen = [print_of(session)]
    session.add(Row(count=1))
    seen.append(print_of(session))
    session.commit()
    row = session.query(Row).first()
    for _ in range(2):
        row.count += 1
        seen.append(print_of(session))
    session.delete(row)
    seen.append(print_of(session))
    assert len(set(seen)) == len(seen)
    session.rollback()
    assert print_of(session)[0] == seen[0][0]


def test_a_pipeline_is_the_commands_that_it_gathers():
    redis = pytest.importorskip("redis")
    pipeline = redis.Redis().pipeline()
    seen = [print_of(pipeline)]
    for _ in range(2):
        pipeline.incr("a")
        seen.append(print_of(pipeline))
    assert len(set(seen)) == 3
    pipeline.reset()
    assert print_of(pipeline) == seen[0]


def test_a_function_that_adds_to_a_session_is_what_it_adds_to():
    desk = threading.local()
    desk.batch = []

    def step():
        desk.batch.append(1)

    before = of_function(step)
    step()
    assert of_function(step) != before


def bare(home, name, **held):
    """An object of a library, with nothing in it but what is given."""
    kind = getattr(pytest.importorskip(home), name)
    made = object.__new__(type(name, (kind,), {"__del__": lambda one: None}))
    for attribute, value in held.items():
        object.__setattr__(made, attribute, value)
    return made


@pytest.mark.parametrize(
    ("home", "name", "attribute", "one", "other"),
    [
        ("psycopg", "Cursor", "_pos", 1, 2),
        ("psycopg", "AsyncCursor", "_pos", 1, 2),
        ("asyncpg.cursor", "Cursor", "_buffer", [1], [1, 2]),
        ("aiosqlite", "Cursor", "_cursor", [1], [2]),
        ("boto3.dynamodb.table", "BatchWriter", "_items_buffer", [1], [1, 2]),
        ("sqlalchemy.engine", "ScalarResult", "_real_result", [1], [2]),
    ],
)
def test_what_an_object_of_a_library_keeps_is_read(home, name, attribute, one, other):
    before = bare(home, name, **{attribute: one})
    assert print_of(before) == print_of(before)
    assert print_of(before) != print_of(bare(home, name, **{attribute: other}))


def test_a_release_that_keeps_it_elsewhere_is_never_sure():
    assert not print_of(bare("boto3.dynamodb.table", "BatchWriter"))[1]


def sessions():
    requests = pytest.importorskip("requests")
    httpx = pytest.importorskip("httpx")
    return {"requests": requests.Session(), "httpx": httpx.Client()}


@pytest.mark.parametrize("library", ["requests", "httpx"])
def test_a_session_is_what_goes_with_each_of_its_requests(library):
    session = sessions()[library]
    before = print_of(session)
    assert print_of(session) == before
    session.headers["x-attempt"] = "1"
    with_header = print_of(session)
    assert with_header != before
    session.cookies.set("cart", "c1")
    assert print_of(session) != with_header


def test_a_session_of_aiohttp_is_too():
    aiohttp = pytest.importorskip("aiohttp")

    async def looks():
        async with aiohttp.ClientSession() as session:
            yield print_of(session)
            session.headers["x-attempt"] = "1"
            yield print_of(session)
            session.cookie_jar.update_cookies({"cart": "c1"})
            yield print_of(session)

    async def all_of_them():
        return [one async for one in looks()]

    found = asyncio.run(all_of_them())
    assert len({repr(one) for one in found}) == 3


def test_where_a_client_of_kafka_stands_is_state():
    kafka = pytest.importorskip("confluent_kafka")
    at = kafka.TopicPartition("orders", 0, 1)
    assert print_of(at) == print_of(kafka.TopicPartition("orders", 0, 1))
    assert print_of(at) != print_of(kafka.TopicPartition("orders", 0, 2))


def test_where_a_client_of_kafka_stands_is_all_that_it_is():
    kafka = pytest.importorskip("confluent_kafka")
    look = Look()
    look.value(kafka.TopicPartition("orders", 0, 1), DEPTH_MAX)
    assert look.sure
