"""Sagas run by an orchestrator of one's own: steps as data or as code, in a database that one has.

N1 to N14 are the rules of `docs/explanation/orchestrators.md`, which has their sources.
"""

from chaosharness.orchestrators.saga.asynchronous import AsyncOrchestrator as AsyncOrchestrator
from chaosharness.orchestrators.saga.definition import Approval as Approval
from chaosharness.orchestrators.saga.definition import Fallback as Fallback
from chaosharness.orchestrators.saga.definition import Parallel as Parallel
from chaosharness.orchestrators.saga.definition import Retry as Retry
from chaosharness.orchestrators.saga.definition import Saga as Saga
from chaosharness.orchestrators.saga.definition import Step as Step
from chaosharness.orchestrators.saga.errors import Fenced as Fenced
from chaosharness.orchestrators.saga.errors import Refused as Refused
from chaosharness.orchestrators.saga.journal import SCHEMA as SCHEMA
from chaosharness.orchestrators.saga.journal import Journal as Journal
from chaosharness.orchestrators.saga.machine import Begin as Begin
from chaosharness.orchestrators.saga.machine import Resolve as Resolve
from chaosharness.orchestrators.saga.machine import SagaMachine as SagaMachine
from chaosharness.orchestrators.saga.machine import TakeOver as TakeOver
from chaosharness.orchestrators.saga.orchestrator import Orchestrator as Orchestrator
from chaosharness.orchestrators.saga.program import Flow as Flow
from chaosharness.orchestrators.saga.records import Command as Command
from chaosharness.orchestrators.saga.records import Record as Record
from chaosharness.orchestrators.saga.records import Reply as Reply
from chaosharness.orchestrators.saga.store import SagaStore as SagaStore

__all__ = [
    "SCHEMA",
    "Approval",
    "AsyncOrchestrator",
    "Begin",
    "Command",
    "Fallback",
    "Fenced",
    "Flow",
    "Journal",
    "Orchestrator",
    "Parallel",
    "Record",
    "Refused",
    "Reply",
    "Resolve",
    "Retry",
    "Saga",
    "SagaMachine",
    "SagaStore",
    "Step",
    "TakeOver",
]
