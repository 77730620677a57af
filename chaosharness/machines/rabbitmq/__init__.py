"""RabbitMQ as a pure machine: exchanges, queues, channels; who gets which message next."""

from __future__ import annotations

from chaosharness.machines.rabbitmq.node import Node, Watcher

__all__ = ["Node", "Watcher"]
