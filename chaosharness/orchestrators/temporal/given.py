"""What users give a client and a worker of Temporal, checked before anything runs.

*Source*: temporalio 1.35.0, `Client.connect` and `Worker`.
*Not modelled*: payload codecs and external storage, which the library's own worker applies.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import temporalio.client
import temporalio.converter
import temporalio.worker

from chaosharness.errors import InvalidDefinition
from chaosharness.orchestrators.temporal.visibility import OWN, TYPES

__all__ = ["check", "check_codec", "check_failures", "converter_of", "of_workers"]


def check(name: str, searchable: Any, converter: Any, interceptors: Any) -> None:
    """Refuse what is no converter, no interceptor or no type of a search attribute.

    Raises:
        InvalidDefinition: One of them is.
    """
    who = f"Temporal {name!r}"
    if not isinstance(searchable, Mapping):
        raise InvalidDefinition(
            f"{who}: search_attributes are types by name, as {{'CustomerId': 'Keyword'}}, "
            f"not {searchable!r}"
        )
    for attribute, kind in searchable.items():
        if kind not in TYPES:
            raise InvalidDefinition(
                f"{who}: the search attribute {attribute!r} has the type {kind!r}; there are: "
                f"{', '.join(TYPES)}"
            )
        if not isinstance(attribute, str) or attribute in OWN:
            raise InvalidDefinition(
                f"{who}: {attribute!r} cannot be a search attribute of your own: it is no text, or "
                "each workflow has it"
            )
    if not isinstance(interceptors, Sequence) or isinstance(interceptors, str):
        raise InvalidDefinition(f"{who}: interceptors are a list, not {interceptors!r}")
    known = (temporalio.client.Interceptor, temporalio.worker.Interceptor)
    for interceptor in interceptors:
        if not isinstance(interceptor, known):
            raise InvalidDefinition(
                f"{who}: the interceptor {interceptor!r} is no instance of "
                "temporalio.client.Interceptor or temporalio.worker.Interceptor"
            )
    if converter is None:
        return
    if not isinstance(converter, temporalio.converter.DataConverter):
        raise InvalidDefinition(
            f"{who}: data_converter is a temporalio.converter.DataConverter, not {converter!r}"
        )
    check_codec(converter, who)


def check_codec(converter: Any, who: str) -> None:
    """Refuse a converter that encodes payloads once more.

    Raises:
        InvalidDefinition: It has a codec.
    """
    if converter.payload_codec is not None:
        raise InvalidDefinition(
            f"{who}: a payload codec is not modelled; give the data converter without it: "
            "dataclasses.replace(converter, payload_codec=None)"
        )


def converter_of(given: Any) -> Any:
    """The data converter: the library's own where none is given."""
    return temporalio.converter.DataConverter.default if given is None else given


def of_workers(interceptors: Sequence[Any]) -> list[Any]:
    """Those interceptors of a client that are workers', too."""
    return [one for one in interceptors if isinstance(one, temporalio.worker.Interceptor)]


def check_failures(failures: Any, service: str) -> tuple[type[BaseException], ...]:
    """The exceptions that fail a workflow, and not its task.

    Raises:
        InvalidDefinition: One of them is no exception.
    """
    for one in failures:
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            raise InvalidDefinition(
                f"service {service!r}: workflow_failure_exception_types are exceptions, not {one!r}"
            )
    return tuple(failures)
