"""Shipments: Celery on Redis, with results. A chord charges and prints, then tells the customer."""
