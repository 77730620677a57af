"""Durable state: what survives a crash, and what of it does not."""
