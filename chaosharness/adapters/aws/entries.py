"""Requests with several entries: each may fail alone, and the call succeeds all the same.

Source:
    Amazon SQS API Reference, SendMessageBatch (errors of entries have to be looked for at a status
    of 200, too); SNS API Reference, PublishBatch; EventBridge User Guide, "Handling failures with
    PutEvents".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from chaosharness.adapters.aws.asking import Request
from chaosharness.faults import ErrorReply
from chaosharness.handlers.port import Surface, strikes
from chaosharness.kernel.scope import Scope

FAILED: Final[Mapping[str, Any]] = {
    "Code": "InternalError",
    "Message": "The request processing has failed because of an unknown error.",
    "SenderFault": False,
}


def failing(
    name: str, about: str, request: Request, scope: Scope, entries: list[Any], surface: Surface
) -> set[int]:
    """Return which entries of a request fail for now; each is a site, with this surface."""
    world = scope.world
    operation = f"{scope.place}/{name}.entry of {request.method}{about and f' {about}'}"
    if operation not in world.surfaces:
        world.meet(operation, surface)
    found: set[int] = set()
    for index in range(len(entries)):
        attempt = world.reach(operation, scope.entity, scope.message)
        if operation in world.armed:
            struck = strikes(scope, operation, "before", attempt)
            if any(isinstance(fault, ErrorReply) for fault in struck):
                found.add(index)
    return found


def without(request: Request, name: str, failed: set[int]) -> dict[str, Any]:
    """Return what a request asks for, without the entries that fail."""
    given = dict(request.given)
    given[name] = [one for index, one in enumerate(given[name]) if index not in failed]
    return given


def with_failed(answer: dict[str, Any], entries: list[Any], failed: set[int]) -> dict[str, Any]:
    """Return an answer in which some entries have failed."""
    if not failed:
        return answer
    words = [{"Id": entries[index]["Id"], **FAILED} for index in sorted(failed)]
    return {**answer, "Failed": [*answer.get("Failed", ()), *words]}
