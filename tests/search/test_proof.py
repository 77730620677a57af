"""No green without proof: where nothing was tested, every door says so and none is green."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from textwrap import dedent

import httpx
import pika
import pytest
from click.testing import CliRunner
from fastapi import FastAPI, HTTPException
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from chaosharness import (
    AMQP,
    SNS,
    SQS,
    Crash,
    Declined,
    Delay,
    Exchange,
    Gateway,
    Kafka,
    KeyValue,
    Property,
    Queue,
    RabbitMQ,
    Schedule,
    Site,
    SNSSubscription,
    SQSQueue,
    System,
    Web,
    chaos_settings,
    chaos_test,
    check,
    eventually,
    explore,
    idempotent,
    never_charged_twice,
    schedules,
    sometimes,
)
from chaosharness.checkers.progress import upset
from chaosharness.checkers.proof import unproved
from chaosharness.cli import main
from chaosharness.errors import InvalidDefinition, NothingProved, RealIO
from chaosharness.reporting import summary
from tests.search.planted import EXAMPLES, right


def shop(*, examples=({"id": "o1"},), consume=True, handler=None, claim=False, **options):
    """Return a shop that charges without a key, with one thing about it that tests nothing."""
    system = System("shop")
    bus, bank = system.add(Kafka("bus", topics={"orders": 1})), system.add(Gateway("bank"))

    @system.service("pay")
    def pay(env):
        client = env.client(bank)

        def on_order(order: dict):
            (handler or charge)(order)

        def charge(order):
            client.charge(order["id"], 500)

        if consume:
            env.consume(bus, "orders", on_order, **options)

    @system.entry(examples=examples)
    def place(env, order):
        env.publisher(bus)("orders", order, key="k")

    if claim:
        system.claim(never_charged_twice(bank))
    return system


def typo(order):
    raise KeyError("order_id")


UNREADABLE = {"on_unreadable": "dead-letter"}


def cannot_read():
    """Return a shop whose handler wants another type than what comes."""
    system = System("unread")
    bus = system.add(Kafka("bus", topics={"orders": 1}))

    @system.service("pay")
    def pay(env):
        def on_order(order: int):
            """Never gets here."""

        env.consume(bus, "orders", on_order, **UNREADABLE)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order)

    return system


def nobody_reads_a_queue():
    system = System("queues")
    bus = system.add(RabbitMQ("bus", queues=["orders"]))
    kv = system.add(KeyValue("kv"))

    @system.service("pay")
    def pay(env):
        env.connect(kv).put("built", True)  # which says nothing about what comes in

    @system.entry(examples=["o1"])
    def place(env, order):
        env.publisher(bus)("orders", order)

    return system


def leads_nowhere():
    """Return a shop whose entry forgets to publish."""
    system = shop()

    def place(env, order): ...

    system._entry = place
    return system


EMPTY = {
    "an entry that leads nowhere": (leads_nowhere, "no item of the workload led to anything"),
    "no consumer": (lambda: shop(consume=False), "nothing was consumed: messages were published"),
    "no consumer of a queue": (nobody_reads_a_queue, "nothing was consumed"),
    "no example": (lambda: shop(examples=[]), "there is no workload"),
    "every handler fails": (
        lambda: shop(handler=typo, on_error="dead-letter"),
        "no handler came to its end, even without any fault: pay.on_order raised KeyError",
    ),
    "everything is put aside": (cannot_read, "everything was put aside|no handler came to its end"),
}


@pytest.mark.parametrize(("make", "words"), EMPTY.values(), ids=EMPTY)
def test_a_campaign_does_not_know(make, words):
    campaign = explore(make(), faults_max=1)
    if campaign.result != "violated":
        assert campaign.result == "unknown"
    assert any(re.search(words, one) for one in campaign.reasons)
    assert campaign.unproved
    assert all(one.result != "holds" for one in campaign.standings)


def test_where_every_handler_fails_without_a_fault_the_search_ends_there():
    def campaign(**options):
        return explore(shop(handler=typo, on_error="dead-letter"), faults_max=1, **options)

    found = campaign()
    assert (found.result, found.searched) == ("unknown", 1)
    assert any("calm run, in which everything fails" in one for one in found.reasons)
    mine = campaign(properties=[eventually("it is put aside", lambda h: any(h.of("dead")))])
    assert mine.searched > 1  # who claims something for that is answered


@pytest.mark.parametrize(("make", "words"), EMPTY.values(), ids=EMPTY)
def test_check_fails(make, words):
    with pytest.raises(AssertionError) as caught:
        check(make(), faults_max=1)
    if isinstance(caught.value, NothingProved):
        assert re.search(words, str(caught.value))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("make", "words"), EMPTY.values(), ids=EMPTY)
def test_a_chaos_test_fails(make, words):
    settings = chaos_settings(database=None, suppress_health_check=list(HealthCheck))

    def body():
        @chaos_test(make(), faults_max=1, runs=20, settings=settings)
        def test_checkout(run):
            """Asks for nothing."""

        test_checkout()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((AssertionError, InvalidDefinition)):
            body()


def test_a_plain_hypothesis_test_fails_where_nobody_reads():
    system = shop(consume=False)

    @chaos_settings(database=None)
    @given(st.just([{"id": "o1"}]), schedules(system, faults_max=1))
    def test_checkout(items, schedule):
        system.run(items, schedule).check()

    with pytest.raises(NothingProved, match="nothing was consumed"):
        test_checkout()


FAILS = {
    "no item leads anywhere": leads_nowhere,
    "every handler fails": lambda: shop(handler=typo, on_error="dead-letter"),
}


@pytest.mark.parametrize("make", FAILS.values(), ids=FAILS)
def test_a_run_that_tested_nothing_fails_when_it_is_judged(make):
    system = make()
    with pytest.raises(NothingProved):
        system.run().check()

    @chaos_test(system, properties=[], runs=5, settings=chaos_settings(database=None))
    def test_quiet(run):
        assert run.ending.verdict == "quiet"

    with pytest.raises(NothingProved):
        test_quiet()


def test_a_crash_before_the_error_is_no_proof():
    system = shop(handler=typo, acknowledge="before", on_error="skip")

    @chaos_test(
        system, faults_max=1, runs=20, kinds=[Crash], settings=chaos_settings(database=None)
    )
    def test_nothing(): ...

    with pytest.raises(NothingProved, match="no handler came to its end"):
        test_nothing()


def test_a_verdict_that_is_returned_is_refused():
    @chaos_test(right(), properties=[], runs=5, settings=chaos_settings(database=None))
    def test_stuck(run):
        return run.ending.verdict == "stuck"

    with pytest.raises(InvalidDefinition, match=r"test_proof.py:\d+.* returns False.*write assert"):
        test_stuck()


def test_one_item_may_be_refused_where_others_are_not():
    def refuse(order):
        if order["id"] == "bad":
            raise ValueError(order)

    system = shop(handler=refuse, on_error="dead-letter")
    system.run([{"id": "bad"}]).check()


def test_a_system_that_works_of_itself_needs_no_items():
    system = System("alone")
    kv = system.add(KeyValue("kv"))

    @system.service("job")
    def job(env):
        store = env.connect(kv)
        env.main(lambda: store.put("done", True))

    @system.entry(examples=["nothing"])
    def nothing(env, item): ...

    system.run().check()
    assert not explore(system, faults_max=1).unproved


def test_without_faults_no_claim_about_trouble_is_kept():
    campaign = explore(shop(claim=True), faults_max=0)
    assert campaign.result == "unknown"
    (reason,) = campaign.reasons
    assert re.fullmatch(
        "no fault was asked for, so no claim about trouble was put to the test: ask for one "
        r"fault or more \(wired at \S*test_proof\.py:\d+, \S*test_proof\.py:\d+\)",
        reason,
    )
    assert "UNKNOWN" in summary(campaign)
    with pytest.raises(NothingProved, match="no fault was asked for"):
        check(shop(claim=True), faults_max=0)


def test_where_no_fault_can_strike_nothing_is_kept():
    campaign = explore(right(), items=EXAMPLES[:1], kinds=[], faults_max=1)
    assert campaign.result == "unknown"
    assert "no fault of the kinds asked for could strike" in campaign.reasons[0]


def test_a_case_that_is_reached_needs_no_fault():
    charged = sometimes("an order is charged", lambda history: any(history.of("effect")))
    assert explore(right(), properties=[charged], faults_max=0).result == "holds"


def test_where_no_claim_is_put_to_the_test_nothing_is_kept():
    never = {"tested": lambda evidence: False, "assumption": "nobody promised it"}
    vacuous = [Property(name, lambda evidence: [], **never) for name in ("a", "b")]
    campaign = explore(right(), items=EXAMPLES[:1], properties=vacuous, faults_max=1)
    assert campaign.result == "unknown"
    assert "no claim was ever put to the test" in campaign.reasons[0]
    with pytest.raises(NothingProved, match="no claim was ever put to the test"):
        check(right(), items=EXAMPLES[:1], properties=vacuous, faults_max=1)


def test_what_is_only_assumed_and_vacuous_is_not_called_kept():
    campaign = explore(right(), items=EXAMPLES[:1], faults_max=1)
    assert campaign.result == "holds"
    assert all(one.result == "unknown" for one in campaign.standings if not one.tested)


# ---- code that ends the process


def test_the_end_of_the_process_is_refused_by_name():
    posix = sys.modules[os.name]
    own = os.getpid()
    for end, words in (
        (lambda _: os._exit(0), r"os\._exit\(0\)"),
        (lambda _: posix._exit(0), r"os\._exit\(0\)"),
        (lambda _: os.abort(), r"os\.abort"),
        (lambda _: posix.abort(), r"os\.abort"),
        (lambda _: os.execv("/nowhere", ["x"]), r"os\.execv"),
        (lambda _: os.execlp("true", "true"), r"os\.execv"),
        (lambda _: posix.execve("/nowhere", ["x"], {}), r"os\.execv"),
        (lambda _: os.kill(own, signal.SIGTERM), r"os\.kill"),
        (lambda _: signal.raise_signal(signal.SIGTERM), r"signal\.raise_signal"),
    ):
        with pytest.raises(RealIO, match=f"pay.on_order called .*{words}"):
            shop(handler=end).run()


def test_sys_exit_in_a_handler_is_a_crash_and_the_message_comes_again():
    left = [0]

    def once(order):
        left[0] += 1
        if left[0] == 1:
            sys.exit(0)

    run = shop(handler=once).run()
    assert run.ending.verdict == "quiet"
    kinds = [event.kind for event in run.history]
    assert kinds.count("crash") == 1
    assert kinds.index("raised") < kinds.index("crash") < kinds.index("handled")
    assert [event.data["times"] for event in run.history.of("deliver")] == [1, 2]


def test_sys_exit_for_ever_ends_in_a_verdict():
    run = shop(handler=lambda _: sys.exit(0)).run()
    assert run.ending.verdict == "budget"
    assert explore(shop(handler=lambda _: sys.exit(0)), faults_max=1).result == "violated"


ENDING = {
    "import": "raise SystemExit(0)",
    "import-hard": "import os; os._exit(0)",
    "import-harder": "import posix; posix._exit(0)",
    "import-another": "import os; os.execv('/bin/true', ['true'])",
    "call": "def shop(): raise SystemExit(0)",
    "factory": """
        @shop.service("s")
        def s(env): raise SystemExit(0)
        shop.entry(examples=[1])(lambda env, item: None)
    """,
    "entry": """
        import sys
        shop.entry(examples=[1])(lambda env, item: sys.exit(0))
    """,
    "property": """
        from chaosharness import Property
        shop.entry(examples=[1])(lambda env, item: None)
        shop.claim(Property("p", lambda evidence: exit(0)))
    """,
    "property-hard": """
        import os
        from chaosharness import Property
        shop.entry(examples=[1])(lambda env, item: None)
        shop.claim(Property("p", lambda evidence: os._exit(0)))
    """,
}


@pytest.mark.parametrize("where", ENDING)
def test_whatever_ends_the_process_ends_in_exit_code_3_and_one_line(where, tmp_path):
    head = "from chaosharness import System\nshop = System('shop')\n"
    (tmp_path / "ending.py").write_text(head + dedent(ENDING[where]))
    command = [sys.executable, "-m", "chaosharness", "run", "ending:shop", "--faults", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stdout + done.stderr
    assert done.stderr.startswith("chaosharness: ")
    assert "Traceback" not in done.stderr and "a bug in chaosharness" not in done.stderr


def test_the_command_line_exits_with_2(tmp_path, monkeypatch):
    (tmp_path / "empty_shop.py").write_text(
        dedent("""
        from chaosharness import Kafka, System
        shop = System("shop")
        bus = shop.add(Kafka("bus", topics={"orders": 1}))
        @shop.service("pay")
        def pay(env): ...
        @shop.entry(examples=[{"id": "o1"}])
        def place(env, order): env.publisher(bus)("orders", order)
        """)
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    result = CliRunner().invoke(main, ["run", "empty_shop:shop", "--faults", "1"])
    assert result.exit_code == 2, result.output
    assert "unknown, because nothing was consumed" in result.output


def filtering(*, word, claims=()):
    """A service that takes orders of one kind only."""
    system = System("filtering")
    bus, bank = system.add(Kafka("bus", topics={"orders": 1})), system.add(Gateway("bank"))

    @system.service("pay")
    def pay(env):
        client = env.client(bank)

        def on_order(order: dict):
            if order.get("kind") == word:
                client.charge(order["id"], 500, key=order["id"])

        env.consume(bus, "orders", on_order, on_error="dead-letter", retries_max=20)

    @system.entry(examples=[{"id": "o1", "kind": "order"}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    system.claim(*claims)
    return system


def test_handlers_that_do_nothing_prove_nothing_where_nothing_is_claimed():
    words = "pay.on_order came to the end and did nothing, even without any fault"
    idle = filtering(word="Order")
    campaign = explore(idle, faults_max=1)
    assert campaign.result == "unknown"
    assert any(one.startswith(words) for one in campaign.unproved)
    with pytest.raises(NothingProved, match=words):
        check(idle, faults_max=1)

    @chaos_test(idle, faults_max=1, runs=20)
    def by_the_decorator(): ...

    with pytest.raises(NothingProved, match=words):
        by_the_decorator()
    assert explore(filtering(word="order"), faults_max=1).result == "holds"


def test_handlers_that_do_nothing_may_keep_what_is_claimed():
    handled = eventually("it is handled", lambda history: any(history.of("handled")))
    assert explore(filtering(word="Order", claims=[handled]), faults_max=1).result == "holds"


def bound_at(worker_s, *, transient=False):
    """Return orders published to an exchange, which a worker binds its queue to when it begins."""
    system = System("late")
    bus = system.add(RabbitMQ("bus", exchanges={"orders": Exchange("topic")}, queues=["other"]))
    system.add(AMQP("rabbit", bus))
    bank, files = system.add(Gateway("bank")), system.add(KeyValue("files"))

    @system.service("billing")
    def billing(env):
        client = env.client(bank)

        def work():
            time.sleep(worker_s)
            channel = pika.BlockingConnection(pika.ConnectionParameters("rabbit")).channel()
            channel.queue_declare("billing", durable=True, auto_delete=transient)
            channel.queue_bind("billing", "orders", "order.*")
            for method, _, body in channel.consume("billing"):
                order = json.loads(body)
                client.charge(order["id"], 500, key=order["id"])
                channel.basic_ack(method.delivery_tag)

        env.main(work)

    @system.service("others")
    def others(env):
        seen = env.connect(files)
        env.consume(bus, "other", lambda order: seen.put(order["id"], "seen"), read_as=dict)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        time.sleep(2)
        env.publisher(bus)("order.created", order, exchange="orders")
        env.publisher(bus)("other", order)

    return system


def test_what_is_published_before_its_queue_is_bound_proves_nothing_and_says_who_published_it():
    campaign = explore(bound_at(5), faults_max=1, runs_max=1)
    assert campaign.result == "unknown"
    reason = campaign.reasons[0]
    assert reason.startswith("what client.place published as 'order.created' was dropped, even")
    assert "Declare and bind the queue before anything is published" in reason
    assert campaign.upset == (
        "what client.place published to exchange 'orders' as 'order.created' was dropped: no queue "
        "is bound for it, and one is only later (bind it before anything is published), once",
    )


def test_what_then_arrives_because_a_fault_made_it_late_is_no_finding():
    late = Schedule([Delay(Site("client.place/bus.publish order.created"), lasting=4500)])
    run = bound_at(5).run(None, late)
    assert [one.data["order"] for one in run.history.of("effect")] == ["o1"]
    run.check(idempotent())


def test_what_is_published_after_its_queue_is_bound_is_no_matter():
    run = bound_at(0).run()
    assert not unproved(run.history, run.items) and not upset(run.history)


def test_a_queue_of_its_consumer_alone_takes_what_comes_from_then_on_by_design():
    run = bound_at(5, transient=True).run()
    assert not unproved(run.history, run.items)
    assert [one.partition(" as ")[0] for one in upset(run.history)] == [
        "what client.place published to exchange 'orders'"
    ]


@pytest.mark.parametrize("read", [False, True])
def test_a_queue_that_nobody_reads_is_named(read):
    system = System("parked")
    queues = {"orders": SQSQueue(), "review": SQSQueue()}
    bus, bank = system.add(SQS("bus", queues)), system.add(Gateway("bank"))

    @system.service("pay")
    def pay(env):
        client, send = env.client(bank), env.publisher(bus)

        def on_order(order):
            client.charge(order["id"], 500, key=order["id"])
            send("review", order)

        env.consume(bus, "orders", on_order)
        if read:
            env.consume(bus, "review", lambda order: None)

    @system.entry(examples=[{"id": "o1"}, {"id": "o2"}])
    def place(env, order):
        env.publisher(bus)("orders", order)

    found = explore(system, faults_max=1, runs_max=20).upset
    named = "nobody read what pay.on_order published to queue 'review', 2 times"
    assert found == (() if read else (named,))


@pytest.mark.parametrize("passes", [True, False])
def test_a_topic_is_read_where_a_subscriber_gets_copies_of_what_is_told_there(passes):
    system = System("news")
    queues = system.add(SQS("queues", ["orders", "letters"]))
    only = SNSSubscription(
        "letters",
        raw=True,
        filter_policy={"id": ["o1" if passes else "another"]},
        filter_scope="MessageBody",
    )
    topics = system.add(SNS("topics", queues, {"told": [only]}))

    @system.service("tell")
    def tell(env):
        send = env.publisher(topics)
        env.consume(queues, "orders", lambda order: send("told", order), read_as=dict)
        env.consume(queues, "letters", lambda letter: None)

    @system.entry(examples=[{"id": "o1"}, {"id": "o2"}])
    def place(env, order):
        env.publisher(queues)("orders", order)

    said = [one for one in upset(system.run().history) if "nobody read" in one]
    assert bool(said) is not passes


def test_messages_that_wait_in_a_queue_for_their_time_are_read_where_they_go_then():
    system = System("later")
    later = Queue(ttl_ms=5_000, dead_letter="orders")
    bus = system.add(RabbitMQ("bus", queues={"orders": Queue(), "later": later}))
    bank = system.add(Gateway("bank"))

    @system.service("pay")
    def pay(env):
        client = env.client(bank)
        env.consume(bus, "orders", lambda order: client.charge(order["id"], 5, key=order["id"]))

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("later", order)

    assert explore(system, faults_max=1, runs_max=20).upset == ()


# ---- requests that no application takes


def counter(path, fields, *, looks=False):
    """An application that takes sales at `/api/sales`, and an entry that asks for another."""
    system = System("counter")
    store = system.add(KeyValue("db"))
    site = system.add(Web("counter.example"))

    @system.service("counter")
    def serve(env):
        app, db = FastAPI(), env.connect(store)

        @app.post("/api/sales")
        async def sell(sale: dict, count: int):
            if looks and await db.get(sale["id"]) is None:
                raise HTTPException(404, "no such sale")
            await db.put(sale["id"], count)

        env.app(site, app)

    @system.entry(examples=[{"id": "s1"}, {"id": "s2"}])
    def buy(env, sale):
        httpx.post(f"https://counter.example{path}", json=sale, params=fields)

    return system


@pytest.mark.parametrize(("path", "fields"), [("/sales", {"count": 1}), ("/api/sales", {})])
def test_where_an_application_takes_no_request_nothing_is_proved(path, fields):
    campaign = explore(counter(path, fields), faults_max=1)
    assert campaign.result == "unknown"
    words = (
        f"all that the entry asks for is refused, even without any fault: POST {path} is answered"
    )
    assert any(words in one for one in campaign.unproved)


@pytest.mark.parametrize("looks", [True, False])
def test_a_refusal_that_code_has_looked_up_and_what_is_taken_prove_as_ever(looks):
    system = counter("/api/sales", {"count": 1}, looks=looks)
    assert "refused" not in unproved(system.run().history, [{"id": "s1"}])


def biller(fields, declines=None):
    """Return a service that asks a bank behind a host name for what `fields` say, and goes on."""
    system = System("biller")
    bus = system.add(Kafka("bus", {"orders": 1}))
    bank = system.add(Gateway("bank", declines=declines))
    routes = {"POST /charges": "charge"}
    system.add(Web("bank.example", bank, routes=routes, errors={Declined: 422}))

    @system.service("billing")
    def billing(env):
        def on_order(order):
            body = {"order": order["id"], **fields}
            httpx.post("https://bank.example/charges", json=body)

        env.consume(bus, "orders", on_order)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


@pytest.mark.parametrize(
    ("fields", "why"), [({}, "cents is missing"), ({"cents": "much"}, "Expected `int`, got `str`")]
)
def test_where_a_third_party_can_read_nothing_that_it_is_asked_nothing_is_proved(fields, why):
    reason = unproved(biller(fields).run().history, [{"id": "o1"}])
    assert "billing.on_order asks bank.charge for nothing that it can read" in reason
    assert reason.endswith(why)
    [said] = explore(biller(fields), faults_max=1, runs_max=20).unproved
    assert said.startswith(reason)


def test_a_third_party_that_refuses_what_it_has_read_proves_as_ever():
    """Also with the status that others have for what they cannot read."""
    declined = biller({"cents": 500}, declines=lambda order, cents: True)
    assert "can read" not in unproved(declined.run().history, [{"id": "o1"}])
    assert unproved(biller({"cents": 500}).run().history, [{"id": "o1"}]) == ""
