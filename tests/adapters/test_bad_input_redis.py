"""What code over redis-py hears of its own mistakes with streams: rows of the table of bad input.

A running Redis is asked the same.
"""

import pytest

from chaosharness import Redis, RedisStore
from tests.adapters.test_bad_input import said, spelled, told_in

redis = pytest.importorskip("redis")
async_redis = pytest.importorskip("redis.asyncio")


def reads_for_an_absent_group(bus):
    return bus.xreadgroup("g", "c", {"s": ">"})


def makes_a_group_of_an_absent_stream(bus):
    return bus.xgroup_create("s", "g")


def claims_for_an_absent_group(bus):
    return bus.xautoclaim("s", "g", "c", 0)


def adds_behind_the_last(bus):
    return bus.xadd("s", {"a": 1}, id="0-0")


def acknowledges_for_an_absent_group(bus):
    return bus.xack("s", "g", "1-1")


def acknowledges_nothing(bus):
    return bus.xack("s", "g")


def deletes_nothing(bus):
    return bus.xdel("s")


def adds_half_a_field(bus):
    return bus.execute_command("XADD", "s", "*", "a")


def adds_nothing(bus):
    return bus.xadd("s", {})


def adds_none(bus):
    return bus.xadd("s", {"a": None})


def looks_at_an_absent_stream(bus):
    return bus.xinfo_stream("s")


def adds_to_a_string(bus):
    return bus.xadd("s", {"a": 1})


def reads_a_string_for_a_group(bus):
    return bus.xreadgroup("g", "c", {"s": ">"})


def gets_a_stream(bus):
    return bus.get("s")


def pushes_onto_a_stream(bus):
    return bus.lpush("s", 1)


def asks_what_a_string_is(bus):
    return bus.type("s")


BEFORE = {
    **dict.fromkeys(
        (adds_to_a_string, reads_a_string_for_a_group, asks_what_a_string_is),
        lambda bus: bus.set("s", "v"),
    ),
    **dict.fromkeys(
        (gets_a_stream, pushes_onto_a_stream), lambda bus: bus.xadd("s", {"a": 1}, id="1-1")
    ),
}
"""What is done first."""
WRONG_TYPE = "ResponseError: WRONGTYPE Operation against a key holding the wrong kind of value"
BY_REDIS = {
    adds_to_a_string: WRONG_TYPE,
    reads_a_string_for_a_group: WRONG_TYPE,
    gets_a_stream: WRONG_TYPE,
    pushes_onto_a_stream: WRONG_TYPE,
    asks_what_a_string_is: "b'string'",
    reads_for_an_absent_group: "ResponseError: NOGROUP No such key 's' or consumer group 'g'",
    makes_a_group_of_an_absent_stream: (
        "ResponseError: The XGROUP subcommand requires the key to exist"
    ),
    claims_for_an_absent_group: "ResponseError: NOGROUP No such key 's' or consumer group 'g'",
    adds_behind_the_last: "ResponseError: The ID specified in XADD must be greater than 0-0",
    acknowledges_for_an_absent_group: "0",
    acknowledges_nothing: "ResponseError: wrong number of arguments for 'xack' command",
    deletes_nothing: "ResponseError: wrong number of arguments for 'xdel' command",
    adds_half_a_field: "ResponseError: wrong number of arguments for 'xadd' command",
    adds_nothing: "DataError: XADD fields must be a non-empty dict",
    adds_none: "DataError: Invalid input of type: 'NoneType'",
    looks_at_an_absent_stream: "ResponseError: no such key",
}


def prepared(ask, bus):
    """Do what is done first; return what is said then."""
    if ask in BEFORE:
        BEFORE[ask](bus)
    return str(said(lambda: ask(bus)))


def by_redis(ask, clientele):
    store = RedisStore("cache", url="redis://one")
    if clientele == "redis-py":

        def call():
            return prepared(ask, redis.Redis("one"))
    else:

        async def call():
            bus = async_redis.Redis(host="one")
            try:
                if ask in BEFORE:
                    await BEFORE[ask](bus)
                return str(await ask(bus))
            except Exception as error:
                return spelled(error)

    return told_in(Redis("bus", ["s"], url="redis://one"), call, store)


@pytest.mark.real_broker
@pytest.mark.parametrize("ask", BY_REDIS)
def test_a_running_redis_says_the_same(ask):
    real = redis.Redis(db=9)
    try:
        real.delete("s")
    except redis.ConnectionError:
        pytest.skip("no Redis answers at 127.0.0.1:6379")
    assert prepared(ask, real) == by_redis(ask, "redis-py")
