"""Client libraries of RabbitMQ: pika, aio-pika, and what is built on them."""
