"""NATS JetStream by nats-py: its own clients and contexts, on the broker `NATS`."""
