"""Systems on Kafka: right ones, and twins with one bug each."""
