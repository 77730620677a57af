"""The application, put together."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI
from sqlalchemy import Engine

from models.applications.checkout import orders, webhooks


def create_app(engine: Engine, *routers: APIRouter) -> FastAPI:
    app = FastAPI(title="checkout")
    app.state.engine = engine
    for router in routers or (orders.router, webhooks.router):
        app.include_router(router)
    return app
