"""Mapped task groups: a few tasks that a run has once for each item, all with the same index.

*Source*: apache-airflow-core 3.3.2: `ti_deps/deps/trigger_rule_dep.py`
(`_get_relevant_upstream_map_indexes`), `models/taskinstance.py` (`_get_relevant_map_indexes`),
`mapped_task_upstream_dep.py`; apache-airflow-task-sdk 1.3.2, `definitions/taskgroup.py`
(`MappedTaskGroup`), `definitions/decorators/task_group.py` (rule A14).
*Not modelled*: a mapped group in another one (Airflow refuses one that is mapped over an argument
of the other). A task in a mapped group that is mapped itself is refused by Airflow, too.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol, TypeVar

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.kernel.allowed import spelled
from chaosharness.orchestrators.airflow.mapping import check_mapping, sources_of

__all__ = ["FAST", "AirflowGroup", "behind_its_sources", "check_in_group"]

FAST: Final = frozenset(("one_success", "one_failed", "one_done", "none_failed_min_one_success"))
"""Trigger rules that some upstream task may satisfy alone: before a group is expanded they look at
all instances upstream."""


@attrs.frozen
class AirflowGroup:
    """A mapped task group: its tasks have one instance each for every item.

    Tasks are in it by `AirflowTask(..., group=...)`. A function is given those of its parameters
    that the group is mapped over; what another task of the group returned for the same item is
    `ti.xcom_pull(..., map_indexes=ti.map_index)`.

    Args:
        group_id: Its name. Airflow puts it before the ids of its tasks: `parcel.ship`.
        expand: What each parameter is mapped over: a list, a dict, or the id of a task that
            returns one.
        expand_kwargs: Or what all are mapped over together: a list of dicts, or such a task.
        partial: Parameters that are the same for all items.

    Raises:
        InvalidDefinition: It is mapped over nothing, or over what cannot be.
    """

    group_id: str
    expand: Mapping[str, Any] | None = attrs.field(default=None, kw_only=True)
    expand_kwargs: Any = attrs.field(default=None, kw_only=True)
    partial: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.group_id, str) or not self.group_id:
            raise InvalidDefinition(
                f"an AirflowGroup needs a group_id, not {spelled(self.group_id)}"
            )
        place = f"AirflowGroup({spelled(self.group_id)})"
        check_mapping(place, self.expand, self.expand_kwargs, self.partial)
        if self.expand is None and self.expand_kwargs is None:
            raise InvalidDefinition(
                f"{place} has neither expand nor expand_kwargs: a group that is not mapped changes "
                "nothing that runs, so leave it out"
            )

    @property
    def mapped_over(self) -> tuple[str, ...]:
        """Return the tasks whose results it is mapped over."""
        return sources_of(self.expand, self.expand_kwargs)


class Grouped(Protocol):
    """What is asked of a task here."""

    @property
    def group(self) -> AirflowGroup | None:
        """The group that it is in."""

    @property
    def expand(self) -> Mapping[str, Any] | None:
        """What it is mapped over itself."""

    @property
    def expand_kwargs(self) -> Any:
        """Or that."""

    @property
    def trigger_rule(self) -> str:
        """The name of its trigger rule."""


T = TypeVar("T")


def check_in_group(place: str, task: Grouped) -> None:
    """Refuse what no task of a mapped group can be.

    Raises:
        InvalidDefinition: Says what is wrong, and where.
    """
    if not isinstance(task.group, AirflowGroup):
        raise InvalidDefinition(
            f"{place}: group is an AirflowGroup(...), not {spelled(task.group)}"
        )
    if task.expand is not None or task.expand_kwargs is not None:
        raise InvalidDefinition(
            f"{place} is mapped, and in the mapped group {spelled(task.group.group_id)}: Airflow "
            "has no such tasks (operator expansion in an expanded task group is not yet supported)"
        )
    if task.trigger_rule == "always":
        raise InvalidDefinition(
            f"{place}: a task of a mapped group cannot have trigger_rule='always': Airflow refuses "
            "it"
        )


def behind_its_sources(tasks: Iterable[T]) -> tuple[T, ...]:
    """Return tasks of which the first ones of each group come after what the group is mapped over.

    Raises:
        InvalidDefinition: Two groups have one name, and are mapped over something else.
    """
    given: tuple[Any, ...] = (*tasks,)
    groups: dict[str, AirflowGroup] = {}
    inside: dict[str, set[str]] = {}
    for task in given:
        group = getattr(task, "group", None)
        if group is None:
            continue
        known = groups.setdefault(group.group_id, group)
        if known is not group and known != group:
            raise InvalidDefinition(f"two groups are called {spelled(group.group_id)}")
        inside.setdefault(group.group_id, set()).add(task.task_id)
    return tuple(_placed(task, inside) for task in given)


def _placed(task: Any, inside: Mapping[str, set[str]]) -> Any:
    group = getattr(task, "group", None)
    if group is None or inside[group.group_id] & {*task.upstream}:
        return task
    more = [name for name in group.mapped_over if name not in task.upstream]
    return attrs.evolve(task, upstream=(*task.upstream, *more)) if more else task
