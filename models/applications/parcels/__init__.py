"""Parcels: Celery on RabbitMQ, and requests. A task charges, another tells the customer."""
