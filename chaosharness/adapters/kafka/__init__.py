"""Kafka by the clients that user code imports: confluent-kafka."""
