"""Refunds: kafka-python and requests. Claims come by a topic, what was refunded goes to another."""
