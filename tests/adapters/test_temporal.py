"""Programs that make their own client and worker of Temporal, unmodified, on our server."""

import json
from functools import partial

import pytest

pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is not installed")
pytest.importorskip("httpx")

from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion
from temporalio.worker import Worker, WorkerDeploymentConfig

from chaosharness import (
    Crash,
    Gateway,
    GracefulStop,
    LostReply,
    Schedule,
    Site,
    System,
    Temporal,
    Web,
    assumed,
    explore,
    smallest,
)
from chaosharness.errors import InvalidDefinition
from tests.adapters import temporal_program as program
from tests.adapters.digests import printed_everywhere

AT = program.TEMPORAL


def shop(main, *servers, ask=program.place):
    system = System("shop")
    for server in servers or (Temporal("temporal", address=AT),):
        system.add(server)
    bank = system.add(Gateway("bank"))
    system.add(Web("bank.example", bank, routes={"POST /charges": "charge"}))

    @system.service("orders")
    def orders(env):
        async def run():
            await main()

        env.main(run)

    @system.entry(examples=["o1"])
    async def place(env, order):
        env.note("answer", is_=await ask(order))

    return system


def answers(run):
    return [one.data["is_"] for one in run.history.of("note") if one.data["what"] == "answer"]


def charges(run):
    return [one.data["key"] for one in run.history.of("effect")]


def test_a_program_of_its_own_is_run():
    run = shop(program.run).run()
    assert run.ending.verdict == "quiet"
    assert (answers(run), charges(run)) == (["done"], ["o1"])


def test_its_bug_is_found_and_the_right_one_is_silent():
    found = smallest(shop(partial(program.run, program.charge_anew)), faults_max=1)
    assert found.findings[0].kind == "effect twice"
    right = shop(program.run)
    found = explore(right, properties=assumed(right), faults_max=1, options="mildest")
    assert not found.counterexamples


DEATHS = [
    Site("orders.run/temporal.get_system_info", entity=0),
    Site("orders.run/temporal.get_system_info", entity=0, phase="after"),
    Site("orders.Order/decide"),
    Site("orders.Order/store decision"),
    Site("orders.Order/store decision", phase="after"),
    Site("orders.charge/handle"),
    Site("orders.charge/bank.charge", phase="after"),
    Site("orders.charge/handle", phase="after"),
]


@pytest.mark.parametrize("site", DEATHS, ids=str)
def test_wherever_its_process_dies_the_next_one_goes_on(site):
    run = shop(program.run).run(None, Schedule([Crash(site)]))
    assert len([*run.history.of("crash")]) == 1
    assert run.ending.verdict == "quiet"
    assert answers(run) == ["done"] and set(charges(run)) == {"o1"}


def test_a_program_that_is_told_to_stop_cuts_its_activity_off_which_is_tried_again():
    stop = Schedule([GracefulStop(Site("orders.charge/handle"))])
    run = shop(program.run_until_told).run(None, stop)
    assert [one.data["how"] for one in run.history.of("crash")] == ["stopped"]
    assert (answers(run), charges(run)) == (["done"], ["o1"])
    events = json.loads(run.event_histories["o1"])["events"]
    [begun] = [one for one in events if one["eventType"].endswith("ACTIVITY_TASK_STARTED")]
    failure = begun["activityTaskStartedEventAttributes"]["lastFailure"]
    assert failure["applicationFailureInfo"]["type"] == "WorkerShutdown"


def test_a_server_that_does_not_answer_is_told_as_the_library_tells_it():
    site = Site("orders.run/temporal.get_system_info", entity=0, phase="after")
    run = shop(program.run).run(None, Schedule([LostReply(site)]))
    [raised] = run.history.of("raised")
    assert raised.data["error"].startswith("RuntimeError: Failed client connect")
    assert answers(run) == ["done"]  # it was started again


async def with_options(**options):
    client = await Client.connect(AT)
    await Worker(client, task_queue="q", workflows=[program.Order], **options).run()


VERSION = WorkerDeploymentVersion("orders", "1")
DEPLOYMENT = WorkerDeploymentConfig(version=VERSION, use_worker_versioning=True)


class Shop:
    """A Nexus service's handler, as far as it is looked at."""


REFUSED = [
    (partial(with_options, nexus_service_handlers=[Shop()]), "Nexus is not modelled: leave out"),
    (partial(with_options, use_worker_versioning=True, build_id="1"), "worker versioning is not"),
    (
        partial(with_options, deployment_config=DEPLOYMENT),
        "worker versioning, pinned and auto-upgrade, is not modelled: give this Worker "
        "deployment_config=None, or one with use_worker_versioning=False",
    ),
    (partial(with_options, plugins=[Shop()]), "a plugin is not modelled"),
    (partial(with_options, activities=[print]), "which is no function with @activity.defn"),
]


@pytest.mark.parametrize(("main", "words"), REFUSED)
def test_what_is_not_modelled_is_said_where_the_worker_is_made(main, words):
    with pytest.raises(InvalidDefinition, match=words):
        shop(main).run()


@pytest.mark.parametrize(
    ("servers", "words"),
    [
        ([Temporal("temporal", address="other:7233")], "is no server of this system; it has"),
        ([Temporal("one"), Temporal("two")], "may mean 'one' and 'two'"),
    ],
)
def test_an_address_means_one_server(servers, words):
    with pytest.raises(InvalidDefinition, match=words):
        shop(program.run, *servers).run()


def test_an_address_is_text():
    with pytest.raises(InvalidDefinition, match="address is what clients connect to"):
        Temporal("temporal", address=7233)


LATE = """
from chaosharness import KeyValue, System
system = System("shop")
system.add(KeyValue("rows"))
system.service("orders")(lambda env: None)
system.entry(examples=[1])(lambda env, item: None)
system.run()
import temporalio.worker
print(temporalio.worker.Worker.__init__.__wrapped__.__name__)
"""


def test_the_library_may_be_imported_after_a_run():
    assert printed_everywhere(LATE) == ["__init__"]
