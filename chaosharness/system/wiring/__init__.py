"""Who listens to what and says what, read from subscriptions and code before anything comes in."""

from chaosharness.system.wiring.graph import static_graph as static_graph
