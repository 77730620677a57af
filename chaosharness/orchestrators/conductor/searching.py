"""The index that workflows are searched in: written after the store, and so behind it.

*Source*: conductor-oss/conductor, `core/dal/ExecutionDAOFacade.java` (a workflow is written, and
then indexed, in a queue of its own where `asyncIndexingEnabled` says so), `WorkflowSummary.java`;
docs, "Searching for workflows" (rule C19).
*Not modelled*: OR, ranges and times, sorting, free text but `*`; searching for tasks.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.kernel.allowed import listed, spelled
from chaosharness.orchestrators.conductor.records import RUNNING, Workflow

__all__ = ["Query", "found", "read_query"]

FIELDS: Final = ("workflowId", "workflowType", "version", "status", "correlationId")
_TERM: Final = re.compile(r"\s*(?P<field>\w+)\s*(?:=\s*(?P<one>\S+)|IN\s*\((?P<some>[^)]*)\))\s*")


@attrs.frozen
class Query:
    """What each field may be."""

    wanted: Mapping[str, frozenset[str]]


def read_query(text: str | None, free_text: str = "*") -> Query:
    """Read a query: `workflowType = 'order' AND status IN (RUNNING, FAILED)`.

    Raises:
        InvalidDefinition: It is none, or asks for what is not modelled.
    """
    if free_text not in ("*", ""):
        raise InvalidDefinition(
            f"a search has free_text={spelled(free_text)}: not modelled; ask by query="
        )
    wanted: dict[str, frozenset[str]] = {}
    for term in re.split(r"\s+AND\s+", text.strip()) if text else ():
        read = _TERM.fullmatch(term)
        if read is None or read["field"] not in FIELDS:
            raise InvalidDefinition(
                f"a search has {spelled(term)} in its query: modelled is FIELD = VALUE and "
                f"FIELD IN (VALUE, ...), joined by AND; fields are {listed(FIELDS)}"
            )
        values = [read["one"]] if read["some"] is None else read["some"].split(",")
        wanted[read["field"]] = frozenset(one.strip().strip("'\"") for one in values)
    return Query(wanted)


def found(workflows: Iterable[Workflow], query: Query, as_of_ms: int) -> list[dict[str, Any]]:
    """Return the summaries of what the index had at a moment, the newest first."""
    summaries = [_summary(one, as_of_ms) for one in workflows if one.created_ms <= as_of_ms]
    return [
        one for one in reversed(summaries)
        if all(str(one.get(field)) in values for field, values in query.wanted.items())
    ]  # fmt: skip


def _summary(workflow: Workflow, as_of_ms: int) -> dict[str, Any]:
    over = workflow.ended_ms is not None and workflow.ended_ms <= as_of_ms
    summary: dict[str, Any] = {
        "workflowType": workflow.blueprint.name,
        "version": workflow.blueprint.version,
        "workflowId": workflow.id,
        "correlationId": workflow.correlation,
        "startTime": workflow.created_ms,
        "status": workflow.status if over else RUNNING,
        "input": json.dumps(workflow.input),
    }
    if over:
        summary["endTime"] = workflow.ended_ms
        summary["output"] = json.dumps(workflow.output)
        summary["reasonForIncompletion"] = workflow.reason
    return summary
