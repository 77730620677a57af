"""Who reacts to what, read from subscriptions and code before anything comes in."""

from functools import partial

import pytest

from chaosharness import (
    NATS,
    SNS,
    SQS,
    Airflow,
    AirflowDAG,
    AirflowTask,
    Conductor,
    Exchange,
    External,
    Gateway,
    Kafka,
    NATSConsumer,
    NATSStream,
    Orchestrator,
    RabbitMQ,
    Saga,
    SagaStore,
    Step,
    StepFunctions,
    System,
    event_graph,
    static_graph,
)
from chaosharness.errors import InvalidDefinition
from models.hybrid.broken import mail_is_a_step
from models.hybrid.right import order_hybrid
from models.order.right import order_flow
from models.small.watchers import watchers

NAMES = {"good": "paid", "bad": "failed"}


def shop(handler_of, *, topics=("orders", "paid", "failed")):
    system = System("shop")
    bus = system.add(Kafka("bus", topics={topic: 1 for topic in topics}))
    bank = system.add(Gateway("bank"))

    @system.service("payments")
    def payments(env):
        env.consume(bus, "orders", handler_of(env.publisher(bus), env.client(bank), env))

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order)

    return system


def line_of(system):
    [line] = [one for one in static_graph(system).text().splitlines() if "payments." in one][:1]
    return line


def in_a_closure(publish, bank, env):
    def on_order(order):
        bank.charge(order["id"], 1)
        publish("paid", order)

    return on_order


def in_a_method(publish, bank, env):
    class Payments:
        def __init__(self):
            self.say = publish

        def on_order(self, order):
            self.tell("paid" if order else "failed")

        def tell(self, topic):
            self.say(topic, {})

    return Payments().on_order


def in_a_table(publish, bank, env):
    def on_order(order):
        for word in ("good", "bad"):
            publish(NAMES[word], order)

    return on_order


def handed_on(publish, bank, env):
    def later(function, *arguments):
        function(*arguments)

    def on_order(order):
        later(publish, "paid", order)
        later(bank.charge, order["id"], 1)

    return on_order


def in_a_partial(publish, bank, env):
    def on_order(say, order):
        say("paid", order)

    wrapped = partial(on_order, publish)
    return wrapped


def from_the_payload(publish, bank, env):
    def on_order(order):
        publish(order["topic"], order)

    return on_order


@pytest.mark.parametrize(
    ("handler_of", "told"),
    [
        (in_a_closure, "orders → payments.on_order does bank.charge → paid"),
        (in_a_method, "orders → payments.on_order → failed, paid"),
        (in_a_table, "orders → payments.on_order → failed, paid"),
        (handed_on, "orders → payments.on_order does bank.charge → paid"),
        (in_a_partial, "orders → payments.on_order → paid"),
        (from_the_payload, "orders → payments.on_order → ?"),
    ],
)
def test_what_a_handler_says_is_read_wherever_its_ports_are(handler_of, told):
    assert line_of(shop(handler_of)) == told


def test_nothing_is_called():
    called = []

    def never(publish, bank, env):
        def on_order(order):
            called.append(order)
            publish("paid", order)

        return on_order

    assert static_graph(shop(never)).unheard()
    assert called == []


def test_a_topic_that_stands_in_no_code_is_said_to_be_unknown():
    graph = static_graph(shop(from_the_payload))
    assert graph.unread == {"payments.on_order"}
    assert "a name stands in no code" in graph.text()
    assert graph.unread - static_graph(shop(in_a_closure)).unread


def test_a_circle_is_seen_before_anything_runs_and_a_line_is_none():
    [way] = static_graph(watchers()).possible_circles()
    assert [str(node) for node in way] == ["our-prices", "their-prices"]
    assert static_graph(shop(in_a_closure)).possible_circles() == []


def test_an_event_that_nobody_publishes():
    system = shop(in_a_closure)

    @system.service("mail")
    def mail(env):
        env.consume(system.resources["bus"], "failed", lambda event: None)

    assert [str(node) for node in static_graph(system).unsent()] == ["failed"]


@pytest.mark.parametrize("build", [order_flow, order_hybrid, watchers])
def test_what_happens_in_a_run_is_among_what_was_read(build):
    """Or the reader has said that it does not know all of a handler."""
    system = build()
    static, seen = static_graph(system), event_graph(system.calm().history)
    known = {(one.name, to.name.partition("/")[0]) for one, to in static.edges}
    for one, to in seen.edges:
        edge = (one.name, to.name.partition(":")[0].partition("/")[0])
        if one.kind == "handler" and one.name not in static.unread:
            assert edge in known
        if one.kind == "event" and not static.unread:
            assert (one.name.partition(":")[0], to.name) in known


def consumes(system, broker, source):
    @system.service("last")
    def last(env):
        def on_event(event):
            pass

        env.consume(broker, source, on_event)


def place_by(system, broker, topic, **options):
    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(broker)(topic, order, **options)


def test_ways_through_exchanges():
    system = System("ways")
    exchanges = {
        "orders": Exchange("topic", {"order.*": "billing"}, exchanges={"#": "audit"}),
        "audit": Exchange("fanout", ["kept"]),
    }
    bus = system.add(RabbitMQ("bus", queues=["billing", "kept"], exchanges=exchanges))
    place_by(system, bus, "order.placed", exchange="orders")
    consumes(system, bus, "kept")
    assert "orders/order.placed → last.on_event" in static_graph(system).text()


def test_ways_through_topics_of_sns_and_subjects_of_nats():
    system = System("aws")
    queues = system.add(SQS("queues", ["mine"]))
    place_by(system, system.add(SNS("topics", queues, {"orders": ["mine"]})), "orders")
    consumes(system, queues, "mine")
    assert "orders → last.on_event" in static_graph(system).text()

    system = System("nats")
    stream = NATSStream(subjects="orders.*", consumers={"one": NATSConsumer(filters="orders.a")})
    bus = system.add(NATS("bus", {"orders": stream}))
    place_by(system, bus, "orders.a")
    consumes(system, bus, "one")
    assert "orders.a → last.on_event" in static_graph(system).text()


# ---- the boundary


def test_the_critical_path_that_depends_on_what_is_aside_is_named():
    [way] = static_graph(mail_is_a_step()).leaks()
    assert [str(one) for one in way] == ["mailer.on_command", "replies", "orchestrator.on_reply"]
    assert static_graph(order_hybrid()).leaks() == []


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (["paymnts"], "did you mean 'payments'"),
        (["bank"], "names no service"),
        (["payments", "bank"], "leaves no service aside"),
        ([7], "is no part of the system"),
    ],
)
def test_a_boundary_that_cannot_be_drawn(parts, words):
    with pytest.raises(InvalidDefinition, match=words):
        shop(in_a_closure).critical_path(*parts)


def test_a_single_handler_can_be_the_critical_path():
    system = shop(in_a_closure)
    system.critical_path("payments.on_order", "bank")
    assert system.critical == {"payments.on_order", "bank"}
    assert [one.name for one in system.properties] == ["side effects never touch the critical path"]


def drawn_anew(*parts, **options):
    system = order_hybrid()
    system.properties.clear()
    system._boundaries.clear()
    system.critical_path(*parts, **options)
    return system


@pytest.mark.parametrize(
    ("parts", "ignore", "words"),
    [
        (["orchestrator.no_such"], [], "which is no handler of 'orchestrator'; it has: orch"),
        (["orchestrator.on_repli"], [], r"Is 'orchestrator\.on_reply' meant\?"),
        (["orchestrator"], ["bank.no_such"], "which is no store, table, column, third party"),
        (["orchestrator"], ["bank.refnd"], r"or field here\. Is 'bank\.refund' meant\?"),
    ],
)
def test_a_boundary_with_a_name_that_nothing_has_is_refused_by_the_first_run(parts, ignore, words):
    system = drawn_anew(*parts, "bank", ignore=ignore)
    for _ in range(2):  # and by the next
        with pytest.raises(InvalidDefinition, match=words) as told:
            system.run()
    assert "test_wiring_before_runs.py" in str(told.value)


def test_a_name_of_nothing_is_refused_where_all_names_are_known():
    system = shop(in_a_closure)
    system.add(Kafka("log", topics={"told": 1}))
    system.critical_path("payments.on_order", "bank", ignore=["told", "no_such"])
    with pytest.raises(InvalidDefinition, match=r"ignores 'no_such', which is no .*log\.told"):
        system.run()


def test_a_name_that_only_trouble_may_come_by_is_not_refused():
    """A queue that the code makes where a payment fails, as far as a run without faults can say."""
    system = drawn_anew("orchestrator", "bank", ignore=["order-refused"])
    assert system.run().ending.verdict == "quiet"


def test_a_boundary_names_handlers_that_a_run_does_not_come_by_and_all_that_may_differ():
    ignore = [
        *("saga-db", "sagas", "saga-db.sagas", "status", "sagas.status", "bank", "refund"),
        *("bank.refund", "cents", "charge.cents", "order-completed", "outbox", "points"),
    ]
    system = drawn_anew("orchestrator.on_order", "payment.on_command", "bank", ignore=ignore)
    assert system.run(()).ending.verdict == "quiet"
    assert drawn_anew("orchestrator", "bank", ignore=ignore).run().ending.verdict == "quiet"


# ---- what orchestrators have done


class Mail:
    def send(self, id):
        return "sent"


def orchestrated(engine, serve, begin):
    system = System("orchestrated")
    bus = system.add(Kafka("bus", topics={"paid": 1}))
    bank, mail = system.add(Gateway("bank")), system.add(External("mail", Mail))
    part = system.add(engine)

    @system.service("mails")
    def mails(env):
        mailer = env.client(mail)
        env.consume(bus, "paid", lambda order: mailer.send(order["id"]))

    @system.service("orders")
    def orders(env):
        money, publish = env.client(bank), env.publisher(bus)

        def pay(id):
            money.charge(id, 500, key=id)
            publish("paid", {"id": id})

        serve(env, part, pay)

    system.entry(examples=["o1"])(lambda env, id: begin(env, part, id))
    return system


def saga():
    def serve(env, store, pay):
        def made():
            return Orchestrator(
                Saga("order", Step("pay")), env.connect(store), now_ms=env.now_ms, sleep=env.sleep,
                calls={"pay": lambda command: pay(command.saga)},
            )  # fmt: skip

        env.serve("order", lambda id: made().start(id, {}))
        env.main(made().run)

    begin = lambda env, part, id: env.call("orders", "order", id)  # noqa: E731
    return orchestrated(SagaStore("sagas"), serve, begin)


def step_functions():
    task = {"Type": "Task", "Resource": "pay", "End": True}
    engine = StepFunctions("sfn", machines={"m": {"StartAt": "Pay", "States": {"Pay": task}}})

    def serve(env, part, pay):
        env.function(part, "pay", lambda event, context: pay(event["id"]))

    def begin(env, part, id):
        env.client(part).start_execution(stateMachineArn="m", name=id, input=f'{{"id": "{id}"}}')

    return orchestrated(engine, serve, begin)


def conductor():
    task = {"name": "pay", "taskReferenceName": "pay", "inputParameters": {"id": "o1"}}
    engine = Conductor("conductor", workflows=[{"name": "order", "tasks": [task]}])

    def serve(env, part, pay):
        env.task_worker(part, pay, name="pay")

    def begin(env, part, id):
        env.client(part).start_workflow_by_name("order", {})

    return orchestrated(engine, serve, begin)


def airflow():
    engine = Airflow("airflow", dags=[AirflowDAG("d", tasks=[AirflowTask("pay")])])

    def serve(env, part, pay):
        env.tasks(part, {"d.pay": lambda dag_run: pay(dag_run.run_id)})

    def begin(env, part, id):
        env.client(part).trigger_dag_run("d", dag_run_id=id)

    return orchestrated(engine, serve, begin)


def temporal():
    pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is not installed")
    from temporalio import activity

    from chaosharness import Temporal

    def serve(env, part, pay):
        named = activity.defn(name="pay")(pay)
        env.worker(part, task_queue="q", activities=[named])

    async def begin(env, part, id):
        await env.client(part).start_workflow("Order", id, id=id, task_queue="q")

    return orchestrated(Temporal("temporal"), serve, begin)


@pytest.mark.parametrize("build", [saga, step_functions, conductor, airflow, temporal])
def test_what_steps_and_tasks_do_is_read(build):
    """An event of a step that nobody was seen to publish is a false alarm."""
    graph = static_graph(build())
    lines = graph.text().splitlines()
    assert any("orders." in line and "does bank.charge → paid" in line for line in lines)
    assert "nobody publishes paid" not in graph.text()
