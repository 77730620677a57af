"""Dispatch by scope: ours inside a run, the real library outside, whatever name it goes by."""

import subprocess
import sys
from contextlib import suppress
from contextvars import copy_context
from types import ModuleType

import pytest

from chaosharness import System
from chaosharness.adapters import dispatch
from chaosharness.adapters.dispatch import Library, Seam, Swap, inside, install
from chaosharness.adapters.unmodelled import not_modelled
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.exchange import exchange
from chaosharness.kernel.scope import SCOPE
from chaosharness.system.parts import UNTESTED


@pytest.fixture
def library(monkeypatch):
    """A client library, made up for one test."""
    module = ModuleType("madeup")
    source = "class Client:\n    def send(self, what):\n        return f'really {what}'\n"
    exec(source, module.__dict__)
    monkeypatch.setitem(sys.modules, "madeup", module)
    return module


def ours(real, self, what):
    return f"ours instead of {real(self, what)}"


def test_a_seam_is_ours_inside_a_run_only(library):
    held = library.Client()
    seam = Seam("madeup:Client.send", ("self", "what"), ours)
    install(Library("madeup-seam", tested=">=1", seams=(seam,)))
    assert held.send("x") == "really x"
    context = copy_context()
    context.run(SCOPE.set, object())
    assert context.run(inside) and not inside()
    assert context.run(held.send, "x") == "ours instead of really x"


def test_a_swap_reaches_those_who_imported_it_by_name(library, monkeypatch):
    user = ModuleType("shop_of_user")
    user.Client = user.Other = real = library.Client
    monkeypatch.setitem(sys.modules, "shop_of_user", user)

    class Ours:
        pass

    install(Library("madeup-swap", tested=">=1", swaps=(Swap("madeup:Client", lambda _: Ours),)))
    assert user.Client is user.Other is library.Client is Ours
    exchange(Ours, real)


def test_a_version_that_nobody_has_tried_is_said_where_the_code_holds_it(library, monkeypatch):
    versions = {"madeup": "2.1", "known": "1.9"}
    monkeypatch.setattr(dispatch, "version_of", lambda name: versions.get(name, "unknown"))
    monkeypatch.setattr(sys.modules[__name__], "client", library.Client, raising=False)
    library.Client.__module__ = "madeup"
    seam = Seam("madeup:Client.send", ("self", "what"), ours)
    install(Library("madeup", tested=">=1,<2", seams=(seam,)))
    try:
        system = System("shop")
        system.service("worker")(lambda env: None)
        system.entry(examples=[1])(lambda env, item: None)
        [said] = system.run().unspoken
    finally:
        UNTESTED.clear()
    assert said == (
        "a trial of madeup 2.1 (its adapter is tested with >=1,<2: install such a version)"
    )
    install(Library("known", tested=">=1,<2", seams=(seam,)))
    assert not UNTESTED


@pytest.mark.parametrize(
    ("where", "takes", "words"),
    [
        ("madeup:Client.send", ("self", "request"), r"Client.send\(self, request\) takes \(self"),
        ("madeup:Client.submit", ("self",), r"Client.submit\(self\) is not there"),
        ("madeup:Session.send", ("self",), r"Session.send\(self\) is not there"),
    ],
)
def test_another_version_is_told_with_its_number_and_nothing_is_touched(
    library, where, takes, words
):
    before = library.Client.send
    good = Seam("madeup:Client.send", ("self", "what"), ours)
    changed = Library("attrs", tested=">=1,<2", seams=(good, Seam(where, takes, ours)))
    with pytest.raises(InvalidDefinition, match=rf"attrs [\d.]+ is not as .*{words}.*>=1,<2"):
        install(changed)
    assert library.Client.send is before


def test_importing_the_package_loads_no_client_library():
    code = (
        "import sys, chaosharness as c; c.System, c.External, c.Web('a.example');"
        "print({'httpx', 'httpcore', 'requests', 'urllib3', 'aiohttp', 'stripe', 'anyio'} "
        "& sys.modules.keys())"
    )
    output = subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60)
    assert output.strip() == "set()"


def test_a_library_that_is_imported_later_is_met_too():
    code = (
        "import chaosharness as c; c.Web('a.example'); import httpx;"
        "print(httpx.HTTPTransport.handle_request.__wrapped__.__qualname__, "
        "type(httpx.__spec__.loader).__name__)"
    )
    output = subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60)
    assert output.split() == ["HTTPTransport.handle_request", "SourceFileLoader"]


@pytest.mark.parametrize("library", ["faststream.rabbit", "aio_pika", "aiormq", "pika"])
def test_libraries_of_amqp_are_met_in_whatever_order_they_are_imported(library):
    code = (
        "import sys, chaosharness as c; c.AMQP('rabbit', c.RabbitMQ('bus'));"
        f"assert not {{'pika', 'aiormq', 'faststream'}} & sys.modules.keys(); import {library};"
        "from chaosharness.adapters.dispatch import _INSTALLED; print(*sorted(_INSTALLED))"
    )
    output = subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60)
    assert library.partition(".")[0].replace("_", "-") in output.split()


def test_what_a_duck_type_lacks_ends_the_run_in_words():
    class Consumer:
        def __getattr__(self, name):
            not_modelled("confluent-kafka", "Consumer", name, absent=("group",))

    def loop():
        assert not hasattr(Consumer(), "group")
        with suppress(Exception):  # as users do
            Consumer().offsets_for_times([])

    shop = System("shop")
    shop.service("payments")(lambda env: env.main(loop))
    shop.entry(examples=[1])(lambda env, item: None)
    words = r"confluent-kafka: Consumer.offsets_for_times is not modelled \(at .*test_dispatch.py:"
    with pytest.raises(InvalidDefinition, match=words):
        shop.run()


def test_a_version_that_lacks_what_an_adapter_takes_from_it_is_told():
    code = (
        "import psycopg.errors as e; del e.lookup\n"
        "from chaosharness.adapters.libraries import speak\n"
        "try: speak(['psycopg'])\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    output = subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60)
    assert output.startswith("InvalidDefinition psycopg 3.") and "'lookup'" in output
    assert "is not as its adapter knows it" in output
