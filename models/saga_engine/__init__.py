"""An order saga that the native orchestrator runs: by calls, and by commands over RabbitMQ."""
