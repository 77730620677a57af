"""A checkout: FastAPI, httpx and SQLAlchemy. A bank charges, and its webhooks say what is paid."""
