"""An activity as it is called: in its own context, in the colour that it has."""

import dataclasses
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any, Final

import temporalio.activity
from temporalio.testing import ActivityEnvironment

from chaosharness.orchestrators.temporal.interception import Interception

__all__ = ["BY_SOMEBODY_ELSE", "environment_of", "runner_of"]

BY_SOMEBODY_ELSE: Final = object()
"""What an activity returns that somebody else will complete (`raise_complete_async`)."""


TAKES_CLIENT: Final = "client" in signature(ActivityEnvironment).parameters


def environment_of(
    told_of: Mapping[str, Any], converter: Any, client: Any = None
) -> ActivityEnvironment:
    """An activity's context, of what this release of temporalio knows about itself."""
    environment = ActivityEnvironment(client) if TAKES_CLIENT else ActivityEnvironment()
    environment.payload_converter = converter.payload_converter
    known = {field.name for field in dataclasses.fields(environment.info)}
    environment.info = dataclasses.replace(
        environment.info, **{name: v for name, v in told_of.items() if name in known}
    )
    return environment


def runner_of(
    environment: ActivityEnvironment,
    function: Callable[..., Any],
    interception: Interception,
    headers: Mapping[str, Any],
) -> Any:
    """The activity in its own context, in the colour that it has, with what is put around it."""
    from chaosharness.handlers.colours import is_async

    asynchronous = is_async(function)
    function = interception.around(environment, function, headers, asynchronous=asynchronous)
    if asynchronous:

        async def handle(*arguments: Any) -> Any:
            try:
                return await environment.run(function, *arguments)
            except temporalio.activity._CompleteAsyncError:
                return BY_SOMEBODY_ELSE

        return handle

    def handle_plain(*arguments: Any) -> Any:
        try:
            return environment.run(function, *arguments)
        except temporalio.activity._CompleteAsyncError:
            return BY_SOMEBODY_ELSE

    return handle_plain
