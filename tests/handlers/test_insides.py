"""What an object holds, read without running any code of its class."""

import threading

from chaosharness.handlers.insides import dict_of


class Plain:
    def __init__(self):
        self.x = 1


class Answering(Plain):
    def __getattr__(self, name):
        raise AssertionError(name)


class Proxy:
    __slots__ = ()

    @property
    def __dict__(self):
        raise RuntimeError("outside of a request")


class Asking:
    __slots__ = ()

    def __getattr__(self, name):
        raise AssertionError(name)


def test_what_there_is_is_found_and_nobody_is_asked():
    local = threading.local()
    local.x = 1
    for one in (Plain(), Answering(), local):
        assert dict_of(one) == {"x": 1}
    for one in (Proxy(), Asking(), 1, "text", [], object()):
        assert dict_of(one) is None
