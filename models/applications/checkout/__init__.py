"""A checkout: FastAPI, httpx and SQLAlchemy. It charges at a bank, whose webhooks say what is paid."""
