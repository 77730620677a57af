"""Invoices: pika, requests and sqlite3. One worker charges an order, and another books it."""
