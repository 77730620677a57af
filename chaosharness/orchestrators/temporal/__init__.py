"""Temporal: its server as a pure machine, and unmodified workflow and activity code on it."""
