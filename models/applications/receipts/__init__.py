"""Receipts: taskiq on RabbitMQ, and httpx. A task charges, and sends what it is paid for."""
