"""What a system, its parts and its runs are given: a mistake ends in one sentence with its line."""

import re
from functools import partial

import attrs
import pytest

from chaosharness import (
    Budget,
    Exchange,
    External,
    Gateway,
    Kafka,
    KeyValue,
    Queue,
    RabbitMQ,
    SQLite,
    System,
    check,
    explore,
)
from chaosharness.errors import InvalidDefinition, InvalidValue

HERE = r"\(at \S*test_given\.py:\d+\)$"
NO_WHOLE_NUMBERS = ("x", 1.5, None, True, float("inf"), -2)


def shop(factory=None, entry=None, **options):
    system = System("shop", **options)
    bus = system.add(Kafka("bus", ["orders"]))

    def pay(env):
        env.consume(bus, "orders", lambda order: None)

    def place(env, order):
        env.publisher(bus)("orders", order)

    system.service("pay")(factory or pay)
    system.entry(examples=[{"id": "o1"}])(entry or place)
    return system


# ---- what builds a service


async def build_async(env): ...


class Builder:
    async def __call__(self, env): ...


@pytest.mark.parametrize(
    "factory", [build_async, Builder(), partial(build_async)], ids=["function", "object", "partial"]
)
def test_an_async_factory_is_refused_where_it_is_given(factory):
    with pytest.raises(InvalidDefinition, match=r"\(\S*test_given\.py:\d+\), which is 'async def'"):
        shop(factory)
    with pytest.raises(InvalidDefinition, match="which is 'async def': make it 'def'"):
        System("shop").service("pay", previous=factory)


@pytest.mark.parametrize("door", [System.run, check, explore])
def test_a_factory_that_hides_async_code_is_told_with_the_line_of_that_code(door):
    words = (
        r"pay\.start returned a coroutine that nobody awaits, of build_async \(.*given\.py:\d+\)"
    )

    def hides(env):
        return build_async(env)

    with pytest.raises(InvalidDefinition, match=words):
        door(shop(hides))


def test_a_factory_with_a_yield_in_it_is_told_with_its_line():
    def build(env):
        yield env

    with pytest.raises(InvalidDefinition, match=r"a generator, of build \(.*test_given\.py:\d+\)"):
        shop(build).run()


def test_functions_that_take_something_else_are_refused_where_they_are_given():
    with pytest.raises(InvalidDefinition, match=r"called with \(env\), and takes \(\)"):
        shop(lambda: None)
    with pytest.raises(InvalidDefinition, match=r"called with \(env, item\), and takes \(env\)"):
        shop(entry=lambda env: None)
    with pytest.raises(InvalidDefinition, match="needs a function that builds it, not 3"):
        System("shop").service("pay")(3)


# ---- budgets, and other options


@pytest.mark.parametrize("budget", [3, 0, False, {}, "much", Budget], ids=repr)
def test_a_budget_is_a_budget(budget):
    for make in (lambda: System("shop", budget=budget), lambda: shop().run(budget=budget)):
        with pytest.raises(InvalidValue, match=f"budget must be a Budget, .*{HERE}"):
            make()


def _wrong_options():
    for kind, arguments in (
        (Budget, ()),
        (System, ("shop",)),
        (Kafka, ("bus", ["orders"])),
        (RabbitMQ, ("bus", ["orders"])),
        (Gateway, ("bank",)),
        (External, ("bank", dict)),
        (KeyValue, ("store",)),
        (SQLite, ("store",)),
    ):
        for option in _options_in_whole_numbers(kind):
            for value in NO_WHOLE_NUMBERS:
                if (option, value) == ("offsets_retention_ms", None):
                    continue  # for ever
                yield partial(kind, *arguments, **{option: value}), option, value
    for option in ("ttl_ms", "length_max", "priority_max"):
        for value in ("x", 1.5, True, -2):
            yield partial(Queue, **{option: value}), option, value
    for kind, option in (
        (Kafka, "idempotent_producer"),
        (RabbitMQ, "confirms"),
        (SQLite, "synced"),
        (KeyValue, "synced"),
    ):
        arguments = ("bus", ["orders"]) if kind in (Kafka, RabbitMQ) else ("store",)
        for value in (0, 1, "yes", None):
            yield partial(kind, *arguments, **{option: value}), option, value
    for value in ("x", 1.5, None, 0, -1):
        yield partial(Gateway, "bank", idempotency_keys=value), "idempotency_keys", value
    for option in ("timeout_error", "refused_error"):
        for value in (None, 3, "TimeoutError", TimeoutError("no answer")):
            yield partial(External, "bank", dict, **{option: value}), option, value
    yield partial(Queue, dead_letter=3), "dead_letter", 3
    yield partial(Queue, "transient"), "kind", "transient"
    yield partial(Kafka, "bus", ["orders"], assignment="fair"), "assignment", "fair"
    yield partial(Gateway, "bank", declines=3), "declines", 3
    yield partial(Exchange, "topic", {"a": 3}), "bindings", 3


def _options_in_whole_numbers(kind):
    if kind is System:
        return ["arrival_ms"]
    found = [one.name for one in attrs.fields(kind) if one.name.endswith(("_ms", "_max"))]
    assert found
    return found


@pytest.mark.parametrize(
    ("make", "option", "value"),
    [
        pytest.param(make, option, value, id=f"{make.func.__name__}({option}={value!r})")
        for make, option, value in _wrong_options()
    ],
)
def test_a_wrong_option_is_told_with_its_name_its_value_and_what_is_allowed(make, option, value):
    with pytest.raises(InvalidValue) as caught:
        make()
    words = str(caught.value)
    assert re.fullmatch(
        rf"\w+: {option} must be .*, not {re.escape(repr(value))} \(at .*:\d+\)", words
    )


def test_the_right_values_are_taken():
    Budget(events_max=1, chaos_ms=1, calm_ms=1, deliveries_max=1, hops_max=1)
    Gateway("bank", idempotency_keys=60_000, declines=lambda order, cents: False)
    External("bank", dict, timeout_error=OSError, latency_ms=0)
    Queue(ttl_ms=0, length_max=0, dead_letter="dead")
    System("shop", arrival_ms=0, shared=["shop.settings"], budget=Budget())


@pytest.mark.parametrize("option", ["faults_max", "runs_max", "seed", "options", "mode", "items"])
def test_a_wrong_option_of_a_search_is_told_with_the_line(option):
    with pytest.raises(InvalidDefinition, match=rf"'x'.*{HERE}"):
        explore(shop(), **{option: "x"})


@pytest.mark.parametrize("door", [check, explore])
def test_a_search_takes_a_system_and_says_so(door):
    def build_shop():
        return shop()

    with pytest.raises(
        InvalidValue, match=rf"system must be a System; call what .*shop\(\).*{HERE}"
    ):
        door(build_shop)
    with pytest.raises(InvalidValue, match=f"system must be a System, not 3 {HERE}"):
        door(3)


# ---- brokers, stores, third parties


@pytest.mark.parametrize(
    "given", [["a", "b"], ("a", "b"), {"b", "a"}], ids=["list", "tuple", "set"]
)
def test_topics_may_be_names_alone(given):
    assert Kafka("bus", topics=given) == Kafka("bus", topics={"a": 1, "b": 1})


@pytest.mark.parametrize("given", ["a", 3, None, [3], {1: 1}, {"": 1}, {"a b": 1}], ids=repr)
def test_other_topics_are_refused_with_what_is_right(given):
    with pytest.raises(InvalidValue, match=f"Kafka: .* must be .*{HERE}"):
        Kafka("bus", topics=given)


@pytest.mark.parametrize("count", ["1", 0, None, True, 1.5])
def test_a_topic_has_log_partitions(count):
    with pytest.raises(InvalidDefinition, match=f"'a' must have at least 1 log partition.*{HERE}"):
        Kafka("bus", topics={"a": count})


@pytest.mark.parametrize("given", ["a", 3, None, ["a"]], ids=repr)
def test_exchanges_are_a_mapping(given):
    with pytest.raises(InvalidValue, match=f"RabbitMQ: exchanges must be .*Exchange.*{HERE}"):
        RabbitMQ("bus", queues=["a"], exchanges=given)


class Bank:
    def __init__(self, name="bank"):
        self.name = name

    def charge(self, order):
        return order

    def find(self, order):
        return order


def test_a_third_party_is_given_by_its_class():
    words = rf"External: server must be what makes the object.*External\(name, Bank\).*{HERE}"
    with pytest.raises(InvalidValue, match=words):
        External("bank", Bank())
    with pytest.raises(InvalidValue, match="a class, or a function without arguments"):
        External("bank", None)


def called(server, **options):
    system = System("shop")
    bank = system.add(External("bank", server, **options))

    @system.service("pay")
    def pay(env):
        env.client(bank).charge("o1")

    system.entry(examples=[1])(lambda env, item: None)
    return system.run()


def bank_of(name):
    return Bank(name)


async def bank_async():
    return Bank()


@pytest.mark.parametrize(
    ("server", "words"),
    [
        (lambda: 1 / 0, r"\(\S*test_given\.py:\d+\), which raised ZeroDivisionError.* at "),
        (bank_of, r"missing 1 required.*External\(name, lambda: Bank"),
        (bank_async, r"bank_async \(\S*test_given\.py:\d+\), which is async"),
        (lambda: None, "which made None: that has no methods to call"),
    ],
)
def test_what_makes_a_third_party_is_told_with_its_line(server, words):
    with pytest.raises(InvalidDefinition, match=words):
        called(server)


def test_methods_that_are_not_there_are_told_with_those_that_are():
    class Other:
        def chargee(self, order): ...

    words = rf"bank has no method 'charge' to call; did you mean 'chargee'\? it has: chargee {HERE}"
    with pytest.raises(InvalidDefinition, match=words):
        called(Other)
    with pytest.raises(InvalidDefinition, match="no method 'finds' to read; did you mean 'find'"):
        called(Bank, reads=["finds"])
    assert called(Bank, reads="find").ending.verdict == "quiet"


def test_a_part_is_an_object_and_not_its_class():
    with pytest.raises(InvalidDefinition, match=rf"which is a class: write Kafka\(.*{HERE}"):
        System("shop").add(Kafka)
