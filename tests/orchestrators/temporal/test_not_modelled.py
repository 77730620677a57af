"""Nexus and worker versioning: each is refused by its name, and none is left out in silence."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is not installed")

import nexusrpc
from temporalio import workflow
from temporalio.api.workflowservice.v1 import (
    ResetWorkflowExecutionRequest,
    SetWorkerDeploymentCurrentVersionRequest,
    UpdateWorkflowExecutionOptionsRequest,
)
from temporalio.client import BuildIdOpAddNewDefault, Client
from temporalio.common import (
    AutoUpgradeVersioningOverride,
    PinnedVersioningOverride,
    VersioningBehavior,
    WorkerDeploymentVersion,
)

from chaosharness import Env, System, Temporal
from chaosharness.errors import InvalidDefinition
from chaosharness.system.run import Run

VERSION = WorkerDeploymentVersion("orders", "1")


@nexusrpc.service
class Payments:
    """A service of another namespace."""

    charge: nexusrpc.Operation[str, str]


@workflow.defn
class Pays:
    """Has a Nexus operation done."""

    @workflow.run
    async def run(self, order: str) -> str:
        payments = workflow.create_nexus_client(service=Payments, endpoint="payments")
        return await payments.execute_operation(Payments.charge, order)


@workflow.defn(versioning_behavior=VersioningBehavior.PINNED)
class Pinned:
    """Says how it is versioned, which counts on versioned workers only."""

    @workflow.run
    async def run(self, order: str) -> str:
        return order


def played(client: Callable[[Client], Awaitable[Any]]) -> Run:
    system = System("shop")
    temporal = system.add(Temporal("temporal"))

    @system.service("worker")
    def worker(env: Env) -> None:
        env.worker(temporal, task_queue="q", workflows=[Pays, Pinned])

    @system.entry(examples=["o"])
    async def place(env: Env, item: str) -> None:
        await client(env.client(temporal))

    return system.run()


def starting(name: str, **options: Any) -> Callable[[Client], Any]:
    return lambda client: client.execute_workflow(name, "o", id="w", task_queue="q", **options)


def asking(rpc: str, request: Any) -> Callable[[Client], Any]:
    return lambda client: getattr(client.workflow_service, rpc)(request)


@pytest.mark.parametrize(
    ("client", "words"),
    [
        (
            starting("Pays"),
            "the workflow commands 'schedule_nexus_operation', which the Temporal of chaosharness "
            "does not model",
        ),
        (
            starting("Pinned", versioning_override=PinnedVersioningOverride(VERSION)),
            r"workflow 'Pinned' \(w\) is started with a pinned versioning_override: worker "
            "versioning, pinned and auto-upgrade, is not modelled. Leave it out",
        ),
        (
            asking(
                "set_worker_deployment_current_version", SetWorkerDeploymentCurrentVersionRequest()
            ),
            "the client asks the Temporal server for 'set_worker_deployment_current_version': not",
        ),
        (
            asking("update_workflow_execution_options", UpdateWorkflowExecutionOptionsRequest()),
            "the client asks the Temporal server for 'update_workflow_execution_options': not mod",
        ),
        (
            lambda client: client.update_worker_build_id_compatibility(
                "q", BuildIdOpAddNewDefault("1")
            ),
            "the client asks the Temporal server for 'update_worker_build_id_compatibility': not",
        ),
        (
            asking("reset_workflow_execution", ResetWorkflowExecutionRequest()),
            "the client asks the Temporal server for 'reset_workflow_execution': not modelled",
        ),
    ],
)
def test_what_is_not_modelled_is_refused_by_its_name(client: Any, words: str) -> None:
    with pytest.raises(InvalidDefinition, match=words):
        played(client)


@pytest.mark.parametrize("options", [{}, {"versioning_override": AutoUpgradeVersioningOverride()}])
def test_what_means_nothing_on_workers_without_a_version_is_let_through(options: Any) -> None:
    assert played(starting("Pinned", **options)).ending.verdict == "quiet"
