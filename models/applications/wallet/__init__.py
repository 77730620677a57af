"""A wallet: FastAPI, SQLAlchemy on PostgreSQL, an outbox, and a ledger that is told over HTTP."""
