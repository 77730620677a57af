"""AWS as a part of a system: the queues, topics, tables, buses, state machines the SDK reaches.

Source:
    AWS SDK for Python: boto3 and botocore 1.44, "Retries", "Config reference"; of each service, its
    API Reference.

Not modelled:
    Permissions, accounts (all names are of one), signatures, endpoints, presigned addresses; names
    and addresses that tell regions apart (they all say eu-central-1). A service without a part
    here is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs

from chaosharness.adapters.aws.asking import Request, Speaker
from chaosharness.adapters.aws.events import Events
from chaosharness.adapters.aws.executions import Executions
from chaosharness.adapters.aws.queues import Queues
from chaosharness.adapters.aws.tables import Tables
from chaosharness.adapters.aws.topics import Topics
from chaosharness.adapters.libraries import speak
from chaosharness.brokers.broker import declared
from chaosharness.brokers.eventbridge.eventbridge import EventBridge
from chaosharness.brokers.eventbridge.router import OpenEventBridge
from chaosharness.brokers.sns.sns import SNS, OpenSNS
from chaosharness.brokers.sqs.sqs import SQS, OpenSQS
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.places import asked_at
from chaosharness.handlers.port import call_off
from chaosharness.kernel.scope import Incarnation
from chaosharness.kernel.world import World
from chaosharness.orchestrators.stepfunctions import StepFunctions
from chaosharness.orchestrators.stepfunctions.engine import OpenStepFunctions
from chaosharness.stores.dynamodb.dynamodb import DynamoDB, OpenDynamoDB

MET: Final = ("aiobotocore", "boto3", "botocore")
SPEAKERS: Final[dict[type, tuple[str, Callable[[Any], Speaker]]]] = {
    OpenSQS: ("sqs", Queues),
    OpenSNS: ("sns", Topics),
    OpenEventBridge: ("events", Events),
    OpenDynamoDB: ("dynamodb", Tables),
    OpenStepFunctions: ("stepfunctions", Executions),
}
"""What is behind each service of AWS, and who speaks for it."""


@attrs.frozen(init=False)
class AWS:
    """What boto3 reaches: `system.add(AWS(bus, topics))`.

    Args:
        parts: Parts of the same system, added before: `SQS`, `SNS`, `EventBridge`, `DynamoDB`,
            `StepFunctions`; one of each kind at most.
        name: What the system knows it by; by default `aws`, or its region.
        region: Where it is, in a system with several: `us-east-1`. A client reaches that of its
            own region; by default one stands for every region that has none.

    Raises:
        InvalidDefinition: A part is none that AWS has, or two are of one kind.
    """

    parts: tuple[Any, ...]
    name: str = "aws"
    region: str | None = None

    def __init__(self, *parts: Any, name: str | None = None, region: str | None = None) -> None:
        kinds = [type(one) for one in parts]
        for one in parts:
            if not isinstance(one, (SQS, SNS, EventBridge, DynamoDB, StepFunctions)):
                raise InvalidDefinition(
                    "AWS takes an SQS, an SNS, an EventBridge, a DynamoDB or a StepFunctions, not "
                    f"{one!r}{asked_at()}"
                )
            if kinds.count(type(one)) > 1:
                raise InvalidDefinition(
                    f"AWS takes one {type(one).__name__}: an account has one{asked_at()}. Declare "
                    "all names in it"
                )
        if not parts:
            raise InvalidDefinition(f"AWS needs the parts that boto3 reaches: AWS(bus){asked_at()}")
        self.__attrs_init__(parts, name or region or "aws", region)
        self.prepare()

    @property
    def speaks(self) -> tuple[str, ...]:
        """The client libraries that it meets."""
        return MET

    def prepare(self) -> None:
        """Have client libraries met, before a run begins."""
        speak(MET)

    def open(self, world: World) -> OpenAWS:
        """Return it for one run.

        Raises:
            InvalidDefinition: A part is none of the system.
        """
        for one in self.parts:
            state = world.states.get(one.name)
            if state is None or declared(state) is not one:
                raise InvalidDefinition(
                    f"AWS speaks for {one.name!r}, which is no part of this system: add(...) that "
                    "first"
                )
        return OpenAWS(self, world)


class OpenAWS:
    """AWS during one run."""

    def __init__(self, definition: AWS, world: World) -> None:
        self.name = definition.name
        self.region = definition.region
        self._speakers: dict[str, Speaker] = {}
        for one in definition.parts:
            state = world.states[one.name]
            service, speaker = SPEAKERS[type(state)]
            self._speakers[service] = speaker(state)
        self.memory: dict[tuple[Incarnation, int], Any] = {}

    def speaker(self, request: Request) -> Speaker:
        """Return who answers a request.

        Raises:
            InvalidDefinition: Nobody does, which calls the run off.
        """
        found = self._speakers.get(request.service)
        if found is None:
            known = ", ".join(sorted(self._speakers))
            call_off(
                InvalidDefinition(
                    f"boto3: {request.service}.{request.method}{asked_at()} reaches nobody: AWS of "
                    f"this system has {known}. Add the part behind it, or pass a double"
                )
            )
        return found


def all_of(world: World) -> list[OpenAWS]:
    """Return each AWS of a run."""
    return [one for one in world.states.values() if isinstance(one, OpenAWS)]


def aws_of(world: World, region: str) -> OpenAWS | None:
    """Return the AWS of a run that a client of a region reaches, if there is one."""
    found = {one.region: one for one in all_of(world)}
    return found.get(region, found.get(None))


def regions_of(world: World) -> list[str]:
    """Return the regions in which a run has an AWS."""
    return sorted(one.region for one in all_of(world) if one.region is not None)


def memory_of(world: World) -> dict[tuple[Incarnation, int], Any] | None:
    """Return what clients remember in a run; None where it has no AWS."""
    return next((one.memory for one in all_of(world)), None)
