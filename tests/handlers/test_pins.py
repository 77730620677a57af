import datetime as datetime_module
import hashlib
import os
import random
import secrets
import subprocess
import sys
import time
import uuid
from datetime import UTC, date, datetime
from os import urandom as urandom_by_name
from random import choice, gauss, randint
from random import random as random_by_name
from textwrap import dedent
from time import asctime, ctime, monotonic, monotonic_ns, perf_counter, perf_counter_ns, time_ns
from time import time as time_by_name
from uuid import uuid1, uuid4

import pytest
import time_machine

from chaosharness.handlers import pins as pins_module
from chaosharness.handlers.pins import Pins, utc_zone
from chaosharness.kernel.spans import EPOCH_MS


def stream():
    """Return an entropy function that gives the same bytes in the same order."""
    draws = iter(range(1_000_000))
    return lambda size: hashlib.shake_128(next(draws).to_bytes(8, "big")).digest(size)


def clocks():
    return (
        time_by_name(),
        time.time(),
        monotonic(),
        perf_counter(),
        time_ns() / 1e9,
        monotonic_ns() / 1e9,
        perf_counter_ns() / 1e9,
        time.clock_gettime(time.CLOCK_REALTIME),
        time.clock_gettime(time.CLOCK_MONOTONIC),
        time.clock_gettime_ns(time.CLOCK_MONOTONIC) / 1e9,
        datetime.now().astimezone(UTC).timestamp(),
        datetime.now(UTC).timestamp(),
        datetime_module.datetime.today().timestamp(),
        time.mktime(time.localtime()) + time.time() % 1,
    )


def chances():
    return (
        random_by_name(),
        random.random(),
        random.getrandbits(70),
        randint(1, 1_000_000),
        choice("abcdefgh"),
        gauss(0, 1),
        random.sample(range(1_000), 5),
        random.randbytes(4),
        random.Random().random(),
        random.SystemRandom().random(),
        secrets.token_hex(),
        secrets.randbelow(1_000_000),
        os.urandom(8),
        uuid4(),
        uuid1(),
        uuid.uuid4(),
    )


def pinned(code, **options):
    pins = Pins(entropy=stream())
    pins.start(**options)
    try:
        return code()
    finally:
        pins.stop()


def test_every_clock_shows_virtual_time():
    pins = Pins(entropy=stream())
    pins.start()
    try:
        assert set(clocks()) == {EPOCH_MS / 1_000}
        assert datetime.now() == datetime(2030, 1, 1)
        assert date.today() == date(2030, 1, 1)
        pins.move(86_400_125)
        assert set(clocks()) == {EPOCH_MS / 1_000 + 86_400.125}
        assert datetime.now(UTC) == datetime(2030, 1, 2, 0, 0, 0, 125_000, UTC)
        assert date.today() == date(2030, 1, 2)
        pins.move(0)  # a skewed clock may go back
        assert set(clocks()) == {EPOCH_MS / 1_000}
    finally:
        pins.stop()


def test_clocks_that_speak_show_virtual_time():
    assert pinned(lambda: (time.ctime(), time.asctime())) == ("Tue Jan  1 00:00:00 2030",) * 2
    assert pinned(lambda: time.ctime(None)) == "Tue Jan  1 00:00:00 2030"
    assert pinned(lambda: time.ctime(86_400)) == "Fri Jan  2 00:00:00 1970"
    assert pinned(lambda: time.asctime(time.gmtime(0))) == "Thu Jan  1 00:00:00 1970"
    assert (time.ctime, time.asctime) == (ctime, asctime)


def test_the_real_clocks_come_back():
    before = time_by_name(), monotonic(), perf_counter()
    pinned(clocks)
    after = time_by_name(), monotonic(), perf_counter()
    for earlier, later in zip(before, after, strict=True):
        assert 0 < later - earlier < 60


def test_every_run_finds_the_same_chance():
    first = pinned(chances)
    random.seed(7)
    random.gauss(0, 1)
    uuid1()
    assert pinned(chances) == first
    assert len({*map(str, first)}) == len(first)


def test_another_process_finds_the_same_chance():
    code = """
        import sys; sys.path[:0] = ["tests/handlers"]
        from test_pins import chances, pinned
        print(pinned(chances))
    """
    output = subprocess.check_output(
        [sys.executable, "-c", dedent(code)],
        text=True,
        env={**os.environ, "PYTHONPATH": ".", "PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo"},
    )
    assert output.strip() == str(pinned(chances))


def test_every_version_of_python_finds_the_same_chance():
    assert hashlib.sha256(repr(pinned(chances)).encode()).hexdigest()[:16] == "fdc5a3504f1f6da7"


def test_entropy_belongs_to_the_scope_that_draws():
    pins = Pins(entropy=lambda size: b"\x11" * size)
    pins.start()
    try:
        assert uuid4() == uuid4() == uuid.UUID("11111111-1111-4111-9111-111111111111")
        assert randint(1, 100) == randint(1, 100)
        assert random.random() == random.random()
        assert secrets.token_hex(2) == "1111"
    finally:
        pins.stop()


def test_the_users_generator_is_untouched():
    random.seed(42)
    expected = [random.random(), random.gauss(0, 1), random.gauss(0, 1), randint(1, 1_000)]
    random.seed(42)
    found = []
    for draw in (
        random.random,
        lambda: gauss(0, 1),
        lambda: gauss(0, 1),
        lambda: randint(1, 1_000),
    ):
        pinned(chances)
        pinned(lambda: random.seed(1))
        found.append(draw())
    assert found == expected


def test_a_seeded_generator_is_the_users_own():
    assert pinned(lambda: random.Random(5).random()) == random.Random(5).random()


def test_everything_is_put_back():
    def surroundings():
        return (
            [names[name] for names, name, _ in pins_module._REPLACED],
            [clock.value for clock, _ in pins_module._CLOCKS],
            type(random._inst),
            random.getstate(),
            os.environ.get("TZ"),
            time.tzname,
            uuid._generate_time_safe,
        )

    pinned(chances)
    uuid._last_timestamp = None
    before = surroundings()
    with pytest.raises(ZeroDivisionError):
        pinned(lambda: 1 // 0)
    assert surroundings() == before


def test_bytes_by_another_name_are_refused_as_they_are():
    """What stands for `os.urandom` says what that says."""

    def code():
        for wrong, error in ((-1, ValueError), (1.0, TypeError), ("1", TypeError)):
            with pytest.raises(error):
                urandom_by_name(wrong)
        return urandom_by_name(0), len(urandom_by_name(True))

    assert pinned(code) == (b"", 1)
    assert pinned(lambda: urandom_by_name(8)) == pinned(lambda: os.urandom(8))
    assert urandom_by_name(16) != urandom_by_name(16)
    assert os.urandom.__name__ == "urandom"


def test_runs_nest():
    outer, inner = Pins(entropy=lambda size: b"\1" * size), Pins(entropy=stream())
    outer.start()
    outer.move(5_000)
    random_by_name()
    state = random.getstate()
    inner.start(0)
    inner.move(7)
    assert (time_by_name(), monotonic()) == (0.007, 0.007)
    assert os.urandom(4) != b"\1" * 4
    chances()
    inner.stop()
    assert (time_by_name(), monotonic()) == (EPOCH_MS / 1_000 + 5,) * 2
    assert os.urandom(1) == b"\1"
    assert random.getstate() == state
    outer.move(6_000)
    assert time_by_name() == EPOCH_MS / 1_000 + 6
    outer.stop()
    assert time_by_name() < EPOCH_MS / 1_000


def test_one_object_may_be_started_twice():
    pins = Pins(entropy=stream())
    pins.start(0)
    pins.start(1_000)
    assert monotonic() == 1
    pins.stop()
    pins.move(3)
    assert monotonic() == 0.003
    pins.stop()


def test_inside_a_time_machine_of_the_user():
    with time_machine.travel(100, tick=False):
        assert set(pinned(clocks)) == {EPOCH_MS / 1_000}
        assert time_by_name() == 100
        assert monotonic() != 100


def test_a_time_machine_left_behind_by_a_crashed_handler():
    pinned(lambda: time_machine.travel(100, tick=False).start())
    assert time_by_name() > 1_000_000


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="no time zones to set")
def test_the_time_zone_is_utc_and_comes_back(monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert pinned(lambda: (datetime.now(), time.tzname)) == (
            datetime(2030, 1, 1),
            ("UTC", "UTC"),
        )
        assert time.tzname == ("EST", "EDT")
        with utc_zone():
            pinned(clocks)
            assert time.tzname == ("UTC", "UTC")
        assert time.tzname == ("EST", "EDT")
        assert os.environ["TZ"] == "America/New_York"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_clocks_that_count_a_processor_s_work_are_real():
    real = time.clock_gettime(time.CLOCK_PROCESS_CPUTIME_ID)
    pins = Pins(entropy=stream())
    pins.start()
    try:
        assert real <= time.clock_gettime(time.CLOCK_PROCESS_CPUTIME_ID) < real + 60
    finally:
        pins.stop()
