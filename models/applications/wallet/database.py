"""Tables, and the engine that the whole application shares."""

from __future__ import annotations

from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

engine = create_engine("postgresql+psycopg://wallet@db.internal:5432/wallet", pool_pre_ping=False)


class Base(DeclarativeBase):
    pass


class Account(Base):
    __tablename__ = "accounts"
    name: Mapped[str] = mapped_column(primary_key=True)
    cents: Mapped[int]


class Transfer(Base):
    __tablename__ = "transfers"
    id: Mapped[str] = mapped_column(primary_key=True)
    payer: Mapped[str]
    payee: Mapped[str]
    cents: Mapped[int]


class Outbox(Base):
    __tablename__ = "outbox"
    id: Mapped[str] = mapped_column(primary_key=True)
    cents: Mapped[int]
    told: Mapped[bool] = mapped_column(default=False)
