"""Property-based chaos testing for event-driven and saga systems, in virtual time.

Everything here is loaded when first used, so that the pytest plugin costs nothing to
projects that have chaosharness installed and do not use it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from chaosharness.adapters.amqp.amqp import AMQP as AMQP
    from chaosharness.adapters.aws.aws import AWS as AWS
    from chaosharness.adapters.http.message import Answer as Answer
    from chaosharness.adapters.http.web import Web as Web
    from chaosharness.adapters.http.webhooks import Webhooks as Webhooks
    from chaosharness.adapters.kafka.servers import KafkaServers as KafkaServers
    from chaosharness.adapters.network.host import Host as Host
    from chaosharness.adapters.network.wire import Wire as Wire
    from chaosharness.brokers import NATS as NATS
    from chaosharness.brokers import SNS as SNS
    from chaosharness.brokers import SQS as SQS
    from chaosharness.brokers import AWSError as AWSError
    from chaosharness.brokers import ChannelClosed as ChannelClosed
    from chaosharness.brokers import CommitFailed as CommitFailed
    from chaosharness.brokers import Delivery as Delivery
    from chaosharness.brokers import DynamoStream as DynamoStream
    from chaosharness.brokers import EventBridge as EventBridge
    from chaosharness.brokers import EventRule as EventRule
    from chaosharness.brokers import EventTarget as EventTarget
    from chaosharness.brokers import Exchange as Exchange
    from chaosharness.brokers import InvalidRecord as InvalidRecord
    from chaosharness.brokers import Kafka as Kafka
    from chaosharness.brokers import KafkaTopic as KafkaTopic
    from chaosharness.brokers import Lambda as Lambda
    from chaosharness.brokers import NATSConsumer as NATSConsumer
    from chaosharness.brokers import NATSError as NATSError
    from chaosharness.brokers import NATSStream as NATSStream
    from chaosharness.brokers import Pending as Pending
    from chaosharness.brokers import ProducerFenced as ProducerFenced
    from chaosharness.brokers import Queue as Queue
    from chaosharness.brokers import RabbitMQ as RabbitMQ
    from chaosharness.brokers import RecordTooLarge as RecordTooLarge
    from chaosharness.brokers import Redis as Redis
    from chaosharness.brokers import RedisError as RedisError
    from chaosharness.brokers import RedisStream as RedisStream
    from chaosharness.brokers import SNSSubscription as SNSSubscription
    from chaosharness.brokers import SNSTopic as SNSTopic
    from chaosharness.brokers import SQSQueue as SQSQueue
    from chaosharness.brokers import Unroutable as Unroutable
    from chaosharness.calls import RemoteError as RemoteError
    from chaosharness.campaign import Campaign as Campaign
    from chaosharness.checkers import Books as Books
    from chaosharness.checkers import Evidence as Evidence
    from chaosharness.checkers import Finding as Finding
    from chaosharness.checkers import Property as Property
    from chaosharness.checkers import always as always
    from chaosharness.checkers import announced as announced
    from chaosharness.checkers import assumed as assumed
    from chaosharness.checkers import compensation_complete as compensation_complete
    from chaosharness.checkers import compensation_in_reverse as compensation_in_reverse
    from chaosharness.checkers import conserved as conserved
    from chaosharness.checkers import dead_letters_at_most as dead_letters_at_most
    from chaosharness.checkers import (
        dead_letters_overwrite_nothing_newer as dead_letters_overwrite_nothing_newer,
    )
    from chaosharness.checkers import dead_letters_were_tried as dead_letters_were_tried
    from chaosharness.checkers import event_graph as event_graph
    from chaosharness.checkers import events_say_enough as events_say_enough
    from chaosharness.checkers import eventually as eventually
    from chaosharness.checkers import every_event_carries_an_id as every_event_carries_an_id
    from chaosharness.checkers import every_event_is_heard as every_event_is_heard
    from chaosharness.checkers import every_event_is_readable as every_event_is_readable
    from chaosharness.checkers import every_saga_settles as every_saga_settles
    from chaosharness.checkers import idempotent as idempotent
    from chaosharness.checkers import ids_travel as ids_travel
    from chaosharness.checkers import joins_complete as joins_complete
    from chaosharness.checkers import never_charged_twice as never_charged_twice
    from chaosharness.checkers import (
        never_compensates_what_did_not_happen as never_compensates_what_did_not_happen,
    )
    from chaosharness.checkers import never_stuck as never_stuck
    from chaosharness.checkers import never_twice as never_twice
    from chaosharness.checkers import no_call_chain as no_call_chain
    from chaosharness.checkers import no_event_cycle as no_event_cycle
    from chaosharness.checkers import no_ghost_event as no_ghost_event
    from chaosharness.checkers import no_money_dropped as no_money_dropped
    from chaosharness.checkers import nothing_acknowledged_lost as nothing_acknowledged_lost
    from chaosharness.checkers import order_per_key as order_per_key
    from chaosharness.checkers import poison_blocks_nobody as poison_blocks_nobody
    from chaosharness.checkers import (
        side_effects_never_touch_critical_path as side_effects_never_touch_critical_path,
    )
    from chaosharness.checkers import sometimes as sometimes
    from chaosharness.checkers import (
        unhandled_exceptions_block_nobody as unhandled_exceptions_block_nobody,
    )
    from chaosharness.checkers.flow import EventGraph as EventGraph
    from chaosharness.counterexample import Counterexample as Counterexample
    from chaosharness.externals.external import External as External
    from chaosharness.externals.gateway import Declined as Declined
    from chaosharness.externals.gateway import Gateway as Gateway
    from chaosharness.externals.gateway import KeyReused as KeyReused
    from chaosharness.externals.gateway import Receipt as Receipt
    from chaosharness.faults import BrokerAlarm as BrokerAlarm
    from chaosharness.faults import BrokerRestart as BrokerRestart
    from chaosharness.faults import ClockSkew as ClockSkew
    from chaosharness.faults import ConsumerCancel as ConsumerCancel
    from chaosharness.faults import Crash as Crash
    from chaosharness.faults import Delay as Delay
    from chaosharness.faults import Duplicate as Duplicate
    from chaosharness.faults import ErrorReply as ErrorReply
    from chaosharness.faults import FailedCommit as FailedCommit
    from chaosharness.faults import GracefulStop as GracefulStop
    from chaosharness.faults import HostDeath as HostDeath
    from chaosharness.faults import LostReply as LostReply
    from chaosharness.faults import LostRequest as LostRequest
    from chaosharness.faults import LostWrites as LostWrites
    from chaosharness.faults import NetworkPartition as NetworkPartition
    from chaosharness.faults import NewEvent as NewEvent
    from chaosharness.faults import OldEvent as OldEvent
    from chaosharness.faults import PartitionDelay as PartitionDelay
    from chaosharness.faults import Pause as Pause
    from chaosharness.faults import Poison as Poison
    from chaosharness.faults import Rebalance as Rebalance
    from chaosharness.faults import Redeliver as Redeliver
    from chaosharness.faults import Redeploy as Redeploy
    from chaosharness.faults import StoreOutage as StoreOutage
    from chaosharness.kernel.history import Event as Event
    from chaosharness.kernel.history import History as History
    from chaosharness.kernel.site import Site as Site
    from chaosharness.kernel.world import Budget as Budget
    from chaosharness.orchestrators.airflow import Airflow as Airflow
    from chaosharness.orchestrators.airflow import AirflowApiException as AirflowApiException
    from chaosharness.orchestrators.airflow import AirflowDAG as AirflowDAG
    from chaosharness.orchestrators.airflow import AirflowFailException as AirflowFailException
    from chaosharness.orchestrators.airflow import AirflowGroup as AirflowGroup
    from chaosharness.orchestrators.airflow import AirflowPool as AirflowPool
    from chaosharness.orchestrators.airflow import (
        AirflowRescheduleException as AirflowRescheduleException,
    )
    from chaosharness.orchestrators.airflow import AirflowSensorTimeout as AirflowSensorTimeout
    from chaosharness.orchestrators.airflow import AirflowSkipException as AirflowSkipException
    from chaosharness.orchestrators.airflow import AirflowTask as AirflowTask
    from chaosharness.orchestrators.airflow import TaskDeferred as TaskDeferred
    from chaosharness.orchestrators.airflow import TriggerEvent as TriggerEvent
    from chaosharness.orchestrators.conductor import Conductor as Conductor
    from chaosharness.orchestrators.durablefunctions import DurableFunctions as DurableFunctions
    from chaosharness.orchestrators.saga import Approval as Approval
    from chaosharness.orchestrators.saga import AsyncOrchestrator as AsyncOrchestrator
    from chaosharness.orchestrators.saga import Command as Command
    from chaosharness.orchestrators.saga import Fallback as Fallback
    from chaosharness.orchestrators.saga import Flow as Flow
    from chaosharness.orchestrators.saga import Journal as Journal
    from chaosharness.orchestrators.saga import Orchestrator as Orchestrator
    from chaosharness.orchestrators.saga import Parallel as Parallel
    from chaosharness.orchestrators.saga import Refused as Refused
    from chaosharness.orchestrators.saga import Reply as Reply
    from chaosharness.orchestrators.saga import Retry as Retry
    from chaosharness.orchestrators.saga import Saga as Saga
    from chaosharness.orchestrators.saga import SagaMachine as SagaMachine
    from chaosharness.orchestrators.saga import SagaStore as SagaStore
    from chaosharness.orchestrators.saga import Step as Step
    from chaosharness.orchestrators.stepfunctions import StepFunctions as StepFunctions
    from chaosharness.orchestrators.temporal import Temporal as Temporal
    from chaosharness.schedule import Schedule as Schedule
    from chaosharness.schemas import Avro as Avro
    from chaosharness.schemas import IncompatibleSchema as IncompatibleSchema
    from chaosharness.schemas import JsonSchema as JsonSchema
    from chaosharness.schemas import Registry as Registry
    from chaosharness.schemas import UnreadableEvent as UnreadableEvent
    from chaosharness.search.decorator import chaos_test as chaos_test
    from chaosharness.search.doors import certify as certify
    from chaosharness.search.doors import check as check
    from chaosharness.search.doors import smallest as smallest
    from chaosharness.search.explore import explore as explore
    from chaosharness.search.hypothesis_adapter import chaos_settings as chaos_settings
    from chaosharness.search.hypothesis_adapter import (
        observe_in_hypothesis as observe_in_hypothesis,
    )
    from chaosharness.search.live import Live as Live
    from chaosharness.search.replay import replay as replay
    from chaosharness.stores.dynamodb import DynamoConnection as DynamoConnection
    from chaosharness.stores.dynamodb import DynamoDB as DynamoDB
    from chaosharness.stores.dynamodb import DynamoError as DynamoError
    from chaosharness.stores.dynamodb import DynamoTable as DynamoTable
    from chaosharness.stores.keyvalue import KeyValue as KeyValue
    from chaosharness.stores.postgresql import PostgreSQL as PostgreSQL
    from chaosharness.stores.redis import RedisStore as RedisStore
    from chaosharness.stores.sqlite import SQLite as SQLite
    from chaosharness.strategies.personas import Persona as Persona
    from chaosharness.strategies.personas import personas as personas
    from chaosharness.strategies.schedules import schedules as schedules
    from chaosharness.strategies.workloads import Order as Order
    from chaosharness.strategies.workloads import orders as orders
    from chaosharness.strategies.workloads import workloads as workloads
    from chaosharness.system import Env as Env
    from chaosharness.system import Run as Run
    from chaosharness.system import System as System
    from chaosharness.system.wiring import static_graph as static_graph
    from chaosharness.traces import TraceReading as TraceReading
    from chaosharness.traces import read_trace as read_trace
    from chaosharness.traces import to_trace as to_trace

_HOME = {
    "adapters.http.message": ("Answer",),
    "adapters.amqp.amqp": ("AMQP",),
    "adapters.aws.aws": ("AWS",),
    "adapters.http.web": ("Web",),
    "adapters.http.webhooks": ("Webhooks",),
    "adapters.network.host": ("Host",),
    "adapters.network.wire": ("Wire",),
    "adapters.kafka.servers": ("KafkaServers",),
    "brokers": (
        "NATS",
        "SNS",
        "SQS",
        "AWSError",
        "ChannelClosed",
        "CommitFailed",
        "Delivery",
        "DynamoStream",
        "EventBridge",
        "EventRule",
        "EventTarget",
        "Exchange",
        "InvalidRecord",
        "Kafka",
        "KafkaTopic",
        "Lambda",
        "NATSConsumer",
        "NATSError",
        "NATSStream",
        "Pending",
        "ProducerFenced",
        "Queue",
        "RabbitMQ",
        "RecordTooLarge",
        "Redis",
        "RedisError",
        "RedisStream",
        "SNSSubscription",
        "SNSTopic",
        "SQSQueue",
        "Unroutable",
    ),
    "calls": ("RemoteError",),
    "campaign": ("Campaign",),
    "checkers.flow": ("EventGraph",),
    "checkers": (
        "Books",
        "Evidence",
        "Finding",
        "Property",
        "always",
        "announced",
        "assumed",
        "compensation_complete",
        "compensation_in_reverse",
        "conserved",
        "dead_letters_at_most",
        "dead_letters_overwrite_nothing_newer",
        "dead_letters_were_tried",
        "event_graph",
        "eventually",
        "events_say_enough",
        "every_event_carries_an_id",
        "every_event_is_heard",
        "every_event_is_readable",
        "every_saga_settles",
        "idempotent",
        "ids_travel",
        "joins_complete",
        "never_charged_twice",
        "never_compensates_what_did_not_happen",
        "never_stuck",
        "never_twice",
        "no_call_chain",
        "no_event_cycle",
        "no_ghost_event",
        "no_money_dropped",
        "nothing_acknowledged_lost",
        "order_per_key",
        "poison_blocks_nobody",
        "side_effects_never_touch_critical_path",
        "sometimes",
        "unhandled_exceptions_block_nobody",
    ),
    "counterexample": ("Counterexample",),
    "externals.external": ("External",),
    "externals.gateway": ("Declined", "Gateway", "KeyReused", "Receipt"),
    "faults": (
        "BrokerAlarm",
        "BrokerRestart",
        "ClockSkew",
        "ConsumerCancel",
        "Crash",
        "Delay",
        "Duplicate",
        "ErrorReply",
        "FailedCommit",
        "GracefulStop",
        "HostDeath",
        "LostReply",
        "LostRequest",
        "LostWrites",
        "NetworkPartition",
        "NewEvent",
        "OldEvent",
        "PartitionDelay",
        "Pause",
        "Poison",
        "Rebalance",
        "Redeliver",
        "Redeploy",
        "StoreOutage",
    ),
    "kernel.history": ("Event", "History"),
    "kernel.site": ("Site",),
    "kernel.world": ("Budget",),
    "orchestrators.saga": (
        "Approval",
        "Command",
        "Fallback",
        "Flow",
        "Journal",
        "AsyncOrchestrator",
        "Orchestrator",
        "Parallel",
        "Refused",
        "Reply",
        "Retry",
        "Saga",
        "SagaMachine",
        "SagaStore",
        "Step",
    ),
    "orchestrators.conductor": ("Conductor",),
    "orchestrators.airflow": (
        "Airflow",
        "AirflowApiException",
        "AirflowDAG",
        "AirflowFailException",
        "AirflowGroup",
        "AirflowPool",
        "AirflowRescheduleException",
        "AirflowSensorTimeout",
        "AirflowSkipException",
        "AirflowTask",
        "TaskDeferred",
        "TriggerEvent",
    ),
    "orchestrators.durablefunctions": ("DurableFunctions",),
    "orchestrators.stepfunctions": ("StepFunctions",),
    "orchestrators.temporal": ("Temporal",),
    "schedule": ("Schedule",),
    "schemas": ("Avro", "IncompatibleSchema", "JsonSchema", "Registry", "UnreadableEvent"),
    "stores.dynamodb": ("DynamoConnection", "DynamoDB", "DynamoError", "DynamoTable"),
    "stores.keyvalue": ("KeyValue",),
    "stores.postgresql": ("PostgreSQL",),
    "stores.redis": ("RedisStore",),
    "stores.sqlite": ("SQLite",),
    "search.decorator": ("chaos_test",),
    "search.doors": ("certify", "check", "smallest"),
    "search.explore": ("explore",),
    "search.live": ("Live",),
    "search.hypothesis_adapter": ("chaos_settings", "observe_in_hypothesis"),
    "search.replay": ("replay",),
    "strategies.personas": ("Persona", "personas"),
    "strategies.schedules": ("schedules",),
    "strategies.workloads": ("Order", "orders", "workloads"),
    "system": ("Env", "Run", "System"),
    "system.wiring": ("static_graph",),
    "traces": ("TraceReading", "read_trace", "to_trace"),
}
_ROOM_OF = {name: room for room, names in _HOME.items() for name in names}

__all__ = sorted(_ROOM_OF)  # noqa: PLE0605


if not TYPE_CHECKING:  # or a type checker would take any name that is asked for

    def __getattr__(name: str) -> Any:
        room = _ROOM_OF.get(name)
        if room is None:
            raise AttributeError(f"module 'chaosharness' has no attribute {name!r}")
        value = getattr(import_module(f"chaosharness.{room}"), name)
        if room == "system":
            import_module("chaosharness.adapters.libraries")  # what parts speak is met from there
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
