"""Charges: FastStream on RabbitMQ, and httpx. Orders are charged, and what is charged is booked."""
