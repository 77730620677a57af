"""Wallets, with SQLAlchemy: money moves from one to another, once for each transfer.

chaosharness run models.small.wallet:wallet
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct
from sqlalchemy import Engine, create_engine, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import StaticPool

from chaosharness import (
    Books,
    Env,
    Kafka,
    Property,
    SQLite,
    System,
    conserved,
    idempotent,
    never_stuck,
    nothing_acknowledged_lost,
)
from models.small import PATIENT

OPENING = {"ann": 1_000, "bob": 1_000, "cleo": 1_000}

SCHEMA = f"""
CREATE TABLE wallets (owner TEXT PRIMARY KEY, cents INTEGER NOT NULL);
CREATE TABLE transfers (id TEXT PRIMARY KEY, payer TEXT, payee TEXT, cents INTEGER NOT NULL);
INSERT INTO wallets VALUES {", ".join(f"('{owner}', {cents})" for owner, cents in OPENING.items())};
"""


class Base(DeclarativeBase):
    """What SQLAlchemy wants."""


class Wallet(Base):
    """What somebody has."""

    __tablename__ = "wallets"
    owner: Mapped[str] = mapped_column(primary_key=True)
    cents: Mapped[int]


class Done(Base):
    """A transfer that was made: the inbox of this service."""

    __tablename__ = "transfers"
    id: Mapped[str] = mapped_column(primary_key=True)
    payer: Mapped[str]
    payee: Mapped[str]
    cents: Mapped[int]


class Transfer(Struct, frozen=True):
    """Who gives what to whom."""

    id: str
    payer: str
    payee: str
    cents: int


class WalletService:
    """Writes the transfer down first, which makes others wait; then has the database count."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def on_transfer(self, transfer: Transfer) -> None:
        """Move the money, if it was not moved before."""
        with Session(self.engine) as session, session.begin():
            if session.get(Done, transfer.id) is None:
                session.add(Done(**{name: getattr(transfer, name) for name in FIELDS}))
                session.flush()
                self.move(session, transfer)

    def move(self, session: Session, transfer: Transfer) -> None:
        """Move the money."""
        for owner, cents in ((transfer.payer, -transfer.cents), (transfer.payee, transfer.cents)):
            command = update(Wallet).where(Wallet.owner == owner)
            session.execute(command.values(cents=Wallet.cents + cents))


FIELDS = ("id", "payer", "payee", "cents")
EXAMPLES = (Transfer("t1", "ann", "bob", 100), Transfer("t2", "ann", "cleo", 30))


def wallet(
    *,
    service: Callable[[Engine], WalletService] = WalletService,
    examples: Sequence[Transfer] = EXAMPLES,
) -> System:
    """Build the wallets; two replicas work on transfers of one payer."""
    bank = System("wallet")
    bus = bank.add(Kafka("bus", {"transfers": 2}))
    db = bank.add(SQLite("wallet-db", SCHEMA))

    @bank.service("wallets", replicas=2)
    def wallets(env: Env) -> None:
        engine = create_engine("sqlite://", creator=lambda: env.connect(db), poolclass=StaticPool)
        env.consume(bus, "transfers", service(engine).on_transfer, **PATIENT)

    @bank.entry(examples=examples)
    def pay(env: Env, transfer: Transfer) -> None:
        env.publisher(bus)("transfers", transfer, key=transfer.id)

    bank.claim(
        money(),
        conserved("each wallet", booked=booked, held=held),
        nothing_acknowledged_lost(),
        never_stuck(),
        idempotent(),
    )
    return bank


def money() -> Property:
    """Claim that money is neither made nor lost."""
    return conserved("money", unit="cent", at_first=sum(OPENING.values()), in_the_end=in_all)


def held(books: Books) -> dict[str, int]:
    """Return what is in each wallet."""
    return books.column("wallet-db", "wallets", by="owner", of="cents")


def in_all(books: Books) -> int:
    """Return what is in all wallets together."""
    return sum(held(books).values())


def booked(books: Books) -> dict[str, int]:
    """Return what should be in each wallet, by the transfers that were made."""
    found = dict(OPENING)
    for row in books.rows("wallet-db", "transfers"):
        found[row["payer"]] -= row["cents"]
        found[row["payee"]] += row["cents"]
    return found


def counts_in_python() -> System:
    """The balance is read, changed in memory and written back: over what another wrote."""

    class InMemory(WalletService):
        def on_transfer(self, transfer: Transfer) -> None:
            with Session(self.engine) as session, session.begin():
                payer = session.get_one(Wallet, transfer.payer)
                payee = session.get_one(Wallet, transfer.payee)
                if session.get(Done, transfer.id) is None:
                    session.add(Done(**{name: getattr(transfer, name) for name in FIELDS}))
                    payer.cents -= transfer.cents
                    payee.cents += transfer.cents

    return wallet(service=InMemory)
