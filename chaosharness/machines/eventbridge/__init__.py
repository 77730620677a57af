"""EventBridge: buses, rules and targets as a pure machine."""

from __future__ import annotations

from chaosharness.machines.eventbridge.machine import EventBridgeMachine
from chaosharness.machines.eventbridge.settings import RuleSettings, TargetSettings

__all__ = ["EventBridgeMachine", "RuleSettings", "TargetSettings"]
