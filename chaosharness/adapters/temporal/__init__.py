"""Temporal's own clients and workers, as programs make them, on the server `Temporal`."""
