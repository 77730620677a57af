"""Loops whose only progress lies in an object of a library are run on until they act."""

import threading
import time

import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("redis")
pytest.importorskip("fakeredis")

import redis
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from chaosharness import Crash, External, Pause, RedisStore, Schedule, Site, SQLite, System

ROUNDS = 10
SCHEMA = "CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT, seen INTEGER)"


class Base(DeclarativeBase):
    """Tables."""


class Note(Base):
    """A note."""

    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
    seen: Mapped[int] = mapped_column(default=0)


cache = redis.Redis("cache.shop.example", socket_timeout=5, decode_responses=True)
desk = threading.local()


def added(engine, say):
    """Ten notes are gathered in a session, and written at once."""
    session = Session(engine)
    while len(session.new) < ROUNDS:
        session.add(Note(text="a"))
        time.sleep(60)
    session.commit()
    say("done")


def changed(engine, say):
    """An object of a session counts, and is written at once."""
    session = Session(engine)
    session.add(Note(text="a"))
    session.commit()
    note = session.query(Note).first()
    while note.seen < ROUNDS:
        note.seen += 1
        time.sleep(60)
    session.commit()
    say("done")


def piped(engine, say):
    """Commands are gathered in a pipeline, and sent at once."""
    pipeline = cache.pipeline()
    while len(pipeline) < ROUNDS:
        pipeline.incr("count")
        time.sleep(60)
    pipeline.execute()
    say("done")


def fetched(engine, say):
    """Rows are taken from a cursor one a minute."""
    connection = engine.raw_connection()
    connection.executemany("INSERT INTO notes (text) VALUES (?)", [("a",)] * ROUNDS)
    connection.commit()
    cursor = connection.cursor()
    cursor.execute("SELECT text FROM notes")
    while cursor.fetchone():
        time.sleep(60)
    say("done")


def by_thread(engine, say):
    """A batch is kept for each thread."""
    desk.batch = []
    while len(desk.batch) < ROUNDS:
        desk.batch.append("a")
        time.sleep(60)
    say("done")


def leased(engine, say):
    """A lease of an hour is looked at each minute; the next one may work when it is over."""
    cache.set("lease", "somebody", ex=3600)
    while not cache.set("lease", "me", nx=True, ex=3600):
        time.sleep(60)
    say("done")


class Board:
    """What was said."""

    def __init__(self):
        self.said = []

    def say(self, word):
        self.said.append(word)


def build(loop) -> System:
    """A service that is one loop."""
    system = System("loop")
    system.add(SQLite("db", SCHEMA, url="sqlite:///notes.db"))
    system.add(RedisStore("cache"))
    board = system.add(External("board", Board))

    @system.service("clerk")
    def clerk(env):
        out = env.client(board)

        def main():
            loop(create_engine("sqlite:///notes.db"), out.say)
            while True:
                time.sleep(3600)

        env.main(main)

    @system.entry(examples=["a"])
    def client(env, name):
        """Nobody comes."""

    return system


LOOPS = [added, changed, piped, fetched, by_thread, leased]
SAYS = Site("clerk.main/board.say")


def said(run) -> int:
    return sum(event.kind == "effect" for event in run.history)


@pytest.mark.parametrize("loop", LOOPS)
def test_what_a_library_gathers_is_progress(loop):
    run = build(loop).run()
    assert said(run) == 1
    assert run.ending.verdict == "quiet"


@pytest.mark.parametrize("fault", [Crash(SAYS), Crash(SAYS, down="long"), Pause(SAYS)], ids=repr)
@pytest.mark.parametrize("loop", LOOPS)
def test_it_is_so_after_trouble(loop, fault):
    run = build(loop).run(None, Schedule([fault]))
    assert said(run) == 1
    assert run.ending.verdict == "quiet"


def idle_session(engine, say):
    """An empty table is looked at for ever."""
    session = Session(engine)
    while True:
        if session.query(Note).first():
            say("news")
        session.rollback()
        time.sleep(60)


def idle_pipeline(engine, say):
    """The same two commands are gathered and sent for ever."""
    pipeline = cache.pipeline()
    while True:
        pipeline.get("a").get("b").execute()
        time.sleep(60)


def idle_cursor(engine, say):
    """An empty table is read by one cursor for ever."""
    cursor = engine.raw_connection().cursor()
    while True:
        cursor.execute("SELECT text FROM notes")
        cursor.fetchone()
        time.sleep(60)


def idle_lease(engine, say):
    """A lease is held, and renewed for ever."""
    while True:
        cache.set("lease", "me", ex=120)
        time.sleep(60)


@pytest.mark.parametrize("loop", [idle_session, idle_pipeline, idle_cursor, idle_lease])
def test_a_loop_that_does_the_same_for_ever_is_at_rest(loop):
    run = build(loop).run()
    assert run.ending.verdict == "quiet"
    assert len(run.history) < 100
