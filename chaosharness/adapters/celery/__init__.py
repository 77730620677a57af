"""Celery: applications and their workers as they are, on the brokers and stores of a run."""
