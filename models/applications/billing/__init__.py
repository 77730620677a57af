"""Billing: confluent-kafka and requests. Orders come by one topic, payments go to another."""
