"""Tables, and a session for each request."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import Request
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[str] = mapped_column(primary_key=True)
    customer: Mapped[str]
    cents: Mapped[int]
    status: Mapped[str] = mapped_column(default="pending")


class Customer(Base):
    __tablename__ = "customers"
    name: Mapped[str] = mapped_column(primary_key=True)
    points: Mapped[int]


class Receipt(Base):
    __tablename__ = "receipts"
    event: Mapped[str] = mapped_column(primary_key=True)
    order: Mapped[str]


def database(request: Request) -> Iterator[Session]:
    with Session(request.app.state.engine) as session:
        yield session
