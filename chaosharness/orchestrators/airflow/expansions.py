"""Mapped operators and task groups of Airflow: what they are mapped over, and their items.

An item is resolved by Airflow's own code. Where that asks its supervisor for the XComs of mapped
tasks, it is answered here.

*Source*: apache-airflow-task-sdk 1.3.2: `definitions/mappedoperator.py`, `xcom_arg.py`,
`execution_time/lazy_sequence.py`, `comms.py` (rule A11).
"""

import importlib
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final

from chaosharness.errors import InvalidDefinition
from chaosharness.orchestrators.airflow.groups import AirflowGroup
from chaosharness.orchestrators.airflow.mapping import Joined, Zipped

__all__ = ["answer_for", "expansion_of", "group_of", "is_in_group", "is_mapped_operator"]

ASKING: Final[ContextVar[Any]] = ContextVar("ASKING")
"""The task instance whose code runs."""


def is_mapped_operator(thing: Any) -> bool:
    """Say whether something is what `expand` returns."""
    return hasattr(thing, "operator_class") and hasattr(thing, "expand_input")


def expansion_of(place: str, task: Any) -> dict[str, Any]:
    """Return what an operator is mapped over, as an AirflowTask takes it.

    Raises:
        InvalidDefinition: It is mapped over what is not modelled.
    """
    if not is_mapped_operator(task):
        return {}
    return _mapped_over(place, task._get_specified_expand_input().value)


def is_in_group(task: Any) -> bool:
    """Say whether an operator is in a mapped task group."""
    return getattr(task, "get_closest_mapped_task_group", lambda: None)() is not None


def group_of(place: str, task: Any, groups: dict[str, AirflowGroup]) -> AirflowGroup | None:
    """Return the mapped group that an operator is in, if any; `groups` are those known so far.

    Raises:
        InvalidDefinition: It is mapped over what is not modelled, or is in another mapped one.
    """
    if not is_in_group(task):
        return None
    group, *outer = task.iter_mapped_task_groups()
    if outer:
        raise InvalidDefinition(
            f"{place} is in the mapped task group {group.group_id!r}, and that in the mapped "
            f"group {outer[0].group_id!r}, which is not modelled: map one of them in the DAG under "
            "test"
        )
    if group.group_id not in groups:
        what = f"the task group {group.group_id!r} of DAG {task.dag.dag_id!r}"
        given = _mapped_over(what, group._expand_input.value)
        groups[group.group_id] = AirflowGroup(group.group_id, **given)
    return groups[group.group_id]


def _mapped_over(place: str, value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {"expand": {name: _source(place, one) for name, one in value.items()}}
    if isinstance(value, list | tuple):
        if not all(isinstance(one, Mapping) for one in value):
            raise InvalidDefinition(
                f"{place} has expand_kwargs([...]) with results of tasks in the list, which is not "
                "modelled: let one task return the whole list"
            )
        return {"expand_kwargs": [dict(one) for one in value]}
    return {"expand_kwargs": _source(place, value)}


def _source(place: str, value: Any) -> Any:
    """The length of an XComArg is that of what it is made of."""
    match type(value).__name__:
        case "PlainXComArg":
            return value.operator.task_id
        case "MapXComArg":
            return _source(place, value.arg)
        case "ZipXComArg":
            filled = type(value.fillvalue).__name__ not in ("ArgNotSet", "type")
            return Zipped(tuple(_source(place, one) for one in value.args), filled)
        case "ConcatXComArg":
            return Joined(tuple(_source(place, one) for one in value.args))
        case "MappedArgument":
            raise InvalidDefinition(f"{place} is mapped over an argument of its task group")
    return value


def answer_for(ti: Any) -> None:
    """Answer what Airflow's code asks its supervisor for, on behalf of a task instance."""
    runner = importlib.import_module("airflow.sdk.execution_time.task_runner")
    if not isinstance(getattr(runner, "SUPERVISOR_COMMS", None), _Supervisor):
        runner.SUPERVISOR_COMMS = _Supervisor()  # type: ignore[attr-defined]
    ASKING.set(ti)


class _Supervisor:
    """What the process of a task sends its messages to."""

    def send(self, message: Any) -> Any:
        comms = importlib.import_module("airflow.sdk.execution_time.comms")
        kind = type(message).__name__
        if kind not in ("GetXComCount", "GetXComSequenceItem", "GetXComSequenceSlice"):
            raise InvalidDefinition(f"a task asks Airflow for {kind}, which is not modelled")
        found = ASKING.get().pull_all(message.dag_id, message.run_id, message.task_id, message.key)
        if kind == "GetXComCount":
            return comms.XComCountResponse(len=len(found))
        if kind == "GetXComSequenceSlice":
            part = found[message.start : message.stop : message.step]
            return comms.XComSequenceSliceResult(root=part)
        if -len(found) <= message.offset < len(found):
            return comms.XComSequenceIndexResult(root=found[message.offset])
        return comms.ErrorResponse(error=comms.ErrorType.XCOM_NOT_FOUND)
