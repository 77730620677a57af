"""Refunds: kafka-python and requests. Claims come by one topic, what was refunded goes to another."""
