"""Payouts: aiokafka and httpx. Requests come by one topic, what was paid out goes to another."""
