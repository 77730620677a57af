"""RabbitMQ's own traps: heartbeats, requeues, retry queues, replays and confirms."""
