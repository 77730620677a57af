"""Schemas of events: formats, their versions, and a registry that keeps them compatible."""

from __future__ import annotations

from chaosharness.schemas.registry import Registry
from chaosharness.schemas.schema import Avro, IncompatibleSchema, JsonSchema, UnreadableEvent

__all__ = ["Avro", "IncompatibleSchema", "JsonSchema", "Registry", "UnreadableEvent"]
