"""What services call Conductor by: the methods of conductor-python's clients, under their names.

*Source*: conductor-python 2.0, `orkes/orkes_workflow_client.py`, `orkes/orkes_task_client.py`.
*Not modelled*: bulk operations, metadata (definitions are given to `Conductor`).
"""

import json
from collections.abc import Mapping
from typing import Any

from chaosharness.errors import InvalidDefinition, RefusedValue
from chaosharness.externals.request import Server, call
from chaosharness.handlers.port import call_off
from chaosharness.kernel.allowed import spelled
from chaosharness.orchestrators.conductor.fields import OF_STARTS, near
from chaosharness.orchestrators.conductor.searching import read_query

__all__ = ["ConductorClient"]


class ConductorClient:
    """`WorkflowClient` and `TaskClient` in one. In an `async` handler, await each method.

    Answers are JSON: mappings in the names that the REST API has.
    """

    def __init__(self, engine: Server) -> None:
        self._engine = engine

    def _ask(self, what: str, action: str, shown: dict[str, Any], **words: Any) -> Any:
        engine = self._engine
        data = {"method": action, **shown}
        return call(f"{engine.name}.{action}", engine, (what, words), data)

    def start_workflow(self, start_workflow_request: Any) -> Any:
        """Start a workflow; return its id.

        Args:
            start_workflow_request: `StartWorkflowRequest` of conductor-python, or a mapping with
                `name`, `input` and what else it has.

        Raises:
            NotFound: There is no such definition.
            Conflict: The idempotency key was used, and the strategy is FAIL.
        """
        given = _start(start_workflow_request)
        return self.start_workflow_by_name(
            given.get("name"),
            given.get("input") or {},
            version=given.get("version"),
            correlationId=given.get("correlationId"),
            idempotency_key=given.get("idempotencyKey"),
            idempotency_strategy=given.get("idempotencyStrategy") or "FAIL",
            task_to_domain=given.get("taskToDomain"),
        )

    def start_workflow_by_name(
        self,
        name: Any,
        input: Mapping[str, Any],
        *,
        version: int | None = None,
        correlationId: str | None = None,
        idempotency_key: str | None = None,
        idempotency_strategy: Any = "FAIL",
        task_to_domain: Mapping[str, str] | None = None,
    ) -> Any:
        """Start a workflow; return its id. Without a key each call starts another one (C16).

        Without a version it is the latest; it keeps that to its end, whatever is deployed (C1).
        `task_to_domain` says whose workers get which of its tasks, or all (`*`): domains in the
        order in which they are asked for, with commas between (C20).
        """
        strategy = str(getattr(idempotency_strategy, "name", idempotency_strategy))
        if strategy not in ("FAIL", "RETURN_EXISTING"):
            call_off(
                InvalidDefinition(
                    "idempotency_strategy must be FAIL or RETURN_EXISTING, not "
                    f"{idempotency_strategy!r}"
                )
            )
        given = _json(input, f"the input of workflow {name!r}")
        domains = {} if task_to_domain is None else _json(task_to_domain, "task_to_domain")
        return self._ask(
            "start", "start_workflow", {"workflow": name, "input": given}, name=name, given=given,
            version=version, domains=domains, correlation=correlationId, key=idempotency_key,
            existing=strategy == "RETURN_EXISTING",
        )  # fmt: skip

    def get_workflow(self, workflow_id: str, include_tasks: bool = True) -> Any:
        """Return a workflow as it stands, with its tasks."""
        return self._ask("get", "get_workflow", {"workflow": workflow_id},
                         workflow_id=workflow_id, tasks=include_tasks)  # fmt: skip

    def search(
        self, start: int = 0, size: int = 100, free_text: str = "*", query: str | None = None
    ) -> Any:
        """Search the index, which may not know yet what happened last (C19).

        Args:
            start: How many to leave out.
            size: How many to return at most.
            free_text: `*`.
            query: `workflowType = 'order' AND status IN (RUNNING)`; all workflows by default.

        Returns:
            `{"totalHits": ..., "results": [...]}`, the newest first.
        """
        try:
            asked = read_query(query, free_text)
        except InvalidDefinition as error:
            call_off(error)
        return self._ask("search", "search", {"query": query}, query=asked, start=start, size=size)

    def terminate_workflow(self, workflow_id: str, reason: str = "") -> Any:
        """End a workflow; its failureWorkflow is not started.

        Raises:
            NotFound, Conflict.
        """
        return self._ask("end", "terminate_workflow", {"workflow": workflow_id},
                         workflow_id=workflow_id, reason=reason)  # fmt: skip

    def update_task(self, task_result: Any) -> Any:
        """Say how a task has ended: `TaskResult` of conductor-python, or a mapping like it.

        What comes too late is accepted and changes nothing (C5).
        """
        given = _fields(task_result)
        output = _json(given.get("output_data") or {}, "a task's output")
        status = str(getattr(given.get("status"), "name", given.get("status")))
        return self._ask(
            "result", "update_task", {"task": given.get("task_id"), "status": status},
            task_id=given.get("task_id"), status=status, output=output,
            reason=given.get("reason_for_incompletion"),
        )  # fmt: skip

    def update_task_by_ref_name(
        self, workflow_id: str, task_ref_name: str, status: str, output: Mapping[str, Any]
    ) -> Any:
        """End a task that waits for somebody: a WAIT, a HUMAN; return its id."""
        given = _json(output, f"the output of {task_ref_name!r}")
        return self._ask(
            "result_of", "update_task", {"workflow": workflow_id, "task": task_ref_name,
                                         "status": status},
            workflow_id=workflow_id, ref=task_ref_name, status=status, output=given,
        )  # fmt: skip


def _start(given: Any) -> dict[str, Any]:
    """A request to start a workflow, in the names of its JSON; as mappings either may stand there.

    What the request has no field for is refused: a mistyped `corelationId` changes what runs.
    """
    names = {name.lower(): name for name in OF_STARTS}
    found = {}
    for field, value in _fields(given).items():
        name = names.get(str(field).replace("_", "").lower())
        if name is None:
            call_off(
                InvalidDefinition(
                    f"a request to start a workflow has no field {spelled(field)}"
                    f"{near(str(field), OF_STARTS)}"
                )
            )
        found[name] = value
    return found


def _fields(given: Any) -> dict[str, Any]:
    if isinstance(given, Mapping):
        return dict(given)
    names = getattr(given, "swagger_types", None)
    if names is None:
        call_off(
            InvalidDefinition(
                f"Conductor needs a request of conductor-python, or a mapping, not {given!r}"
            )
        )
    return {name: getattr(given, name, None) for name in names}


def _json(given: Any, what: str) -> dict[str, Any]:
    """Return a copy, as it is on the other side of a network."""
    try:
        found = json.loads(json.dumps(given))
    except (TypeError, ValueError) as error:
        call_off(RefusedValue(f"{what} has no JSON form: {error}"))
    if not isinstance(found, dict):
        call_off(InvalidDefinition(f"{what} must be an object, not {spelled(given)}"))
    return found
