"""Parcels: Celery on RabbitMQ, and requests. A task charges, and has another one tell the customer."""
