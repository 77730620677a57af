"""Systems on NATS JetStream: right ones, and twins with one bug each."""
