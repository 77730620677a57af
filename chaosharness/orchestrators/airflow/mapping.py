"""Mapped tasks: how many instances a task has, and which item each of them gets.

*Source*: apache-airflow-core 3.3.2: `models/expandinput.py`, `models/taskmap.py`
(`expand_mapped_task`), `serialization/definitions/xcom_arg.py` (`get_task_map_length`);
apache-airflow-task-sdk 1.3.2, `definitions/_internal/expandinput.py` (rule A11).
*Not modelled*: `map_index_template`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.kernel.allowed import spelled

__all__ = ["Joined", "Known", "Zipped", "arguments_of", "check_mapping", "sources_of", "total_of"]

Known = Callable[[str], int | None]
"""How many items a task has returned; None while nobody knows."""


@attrs.frozen
class Zipped:
    """Several sources side by side: `zip`. With a `fillvalue` it is as long as the longest."""

    sources: tuple[Any, ...]
    filled: bool = False


@attrs.frozen
class Joined:
    """Several sources, one after the other: `concat`."""

    sources: tuple[Any, ...]


def check_mapping(place: str, expand: Any, expand_kwargs: Any, partial: Any) -> None:
    """Refuse what no task can be mapped over.

    Raises:
        InvalidDefinition: Says what is wrong, and where.
    """
    if expand is not None and expand_kwargs is not None:
        raise InvalidDefinition(f"{place}: a task has expand or expand_kwargs, not both")
    if expand is not None:
        if not isinstance(expand, Mapping) or not expand:
            raise InvalidDefinition(
                f"{place}: expand is {{parameter: a list, or the id of a task that returns one}}, "
                f"not {spelled(expand)}"
            )
        for name, source in expand.items():
            _check_source(f"{place}: expand[{spelled(name)}]", source)
    if expand_kwargs is not None:
        _check_source(f"{place}: expand_kwargs", expand_kwargs)
        if isinstance(expand_kwargs, Mapping) or (
            isinstance(expand_kwargs, list | tuple)
            and not all(isinstance(one, Mapping) for one in expand_kwargs)
        ):
            raise InvalidDefinition(
                f"{place}: expand_kwargs is a list of dicts, or the id of a task that returns one, "
                f"not {spelled(expand_kwargs)}"
            )
    if not isinstance(partial, Mapping):
        raise InvalidDefinition(f"{place}: partial is {{parameter: value}}, not {spelled(partial)}")
    twice = [name for name in partial if isinstance(expand, Mapping) and name in expand]
    if twice:
        raise InvalidDefinition(
            f"{place}: {spelled(twice[0])} is in partial and in expand: say it once"
        )
    if partial and expand is None and expand_kwargs is None:
        raise InvalidDefinition(
            f"{place} has partial, and neither expand nor expand_kwargs: it was never mapped"
        )


def _check_source(place: str, source: Any) -> None:
    if isinstance(source, str) and source:
        return
    if not isinstance(source, list | tuple | Mapping | Zipped | Joined):
        raise InvalidDefinition(
            f"{place} is a list, a dict, or the id of a task that returns one; "
            f"not {spelled(source)}"
        )


def sources_of(expand: Mapping[str, Any] | None, expand_kwargs: Any) -> tuple[str, ...]:
    """Return the tasks that a task is mapped over, each once."""
    given = [*(expand or {}).values()] + ([] if expand_kwargs is None else [expand_kwargs])
    return tuple(dict.fromkeys(name for source in given for name in _names_in(source)))


def _names_in(source: Any) -> list[str]:
    if isinstance(source, str):
        return [source]
    if isinstance(source, Zipped | Joined):
        return [name for one in source.sources for name in _names_in(one)]
    return []


def total_of(expand: Mapping[str, Any] | None, expand_kwargs: Any, known: Known) -> int | None:
    """Return how many instances a mapped task has; None while nobody knows."""
    if expand_kwargs is not None:
        return _length_of(expand_kwargs, known)
    total = 1
    for source in (expand or {}).values():
        length = _length_of(source, known)
        if length is None:
            return None
        total *= length
    return total


def _length_of(source: Any, known: Known) -> int | None:
    if isinstance(source, str):
        return known(source)
    if isinstance(source, Zipped | Joined):
        lengths = [_length_of(one, known) for one in source.sources]
        all_known = [length for length in lengths if length is not None]
        if len(all_known) < len(lengths):
            return None
        if isinstance(source, Joined):
            return sum(all_known)
        return max(all_known) if source.filled else min(all_known)
    return len(source)


def arguments_of(
    expand: Mapping[str, Any] | None, expand_kwargs: Any, partial: Mapping[str, Any],
    index: int, pull: Callable[[str], Any],
) -> dict[str, Any]:  # fmt: skip
    """Return what the function of a mapped task is given, beside the context.

    The last parameter goes round fastest. An item of a dict is its key and its value.

    Args:
        expand: What each parameter is mapped over.
        expand_kwargs: Or what all are mapped over together.
        partial: What is the same for all instances.
        index: Which instance it is, from 0.
        pull: Gives what a task returned: of a mapped one, all that its instances did.

    Raises:
        ValueError: What a task returned is no list of dicts: this one fails.
    """
    if expand_kwargs is not None:
        items = pull(expand_kwargs) if isinstance(expand_kwargs, str) else expand_kwargs
        if not isinstance(items, Sequence):
            kind = type(items).__name__
            raise ValueError(f"expand_kwargs() expects a list[dict], not {kind}")
        item = items[index]
        if not isinstance(item, Mapping):
            kind = type(item).__name__
            raise ValueError(f"expand_kwargs() expects a list[dict], not list[{kind}]")
        return {**partial, **item}
    found: dict[str, Any] = {}
    for name, source in reversed([*(expand or {}).items()]):
        items = pull(source) if isinstance(source, str) else source
        index, at = divmod(index, len(items))
        found[name] = [*items.items()][at] if isinstance(items, Mapping) else items[at]
    return {**partial, **dict(reversed([*found.items()]))}
