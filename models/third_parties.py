"""Who is called by the orchestrated sagas: a bank and a courier that know what they did."""

from typing import Any

from chaosharness import Books, External, Order, Property, compensation_in_reverse, conserved


class Bank:
    """Takes money once per key, and gives it back once."""

    def __init__(self) -> None:
        self.charged: dict[str, int] = {}
        self.refunded: set[str] = set()

    def charge(self, key: str, cents: int) -> Any:
        """Take the money, unless it was taken under this key."""
        if key in self.charged:
            return External.unchanged(key)
        self.charged[key] = cents
        return key

    def is_charged(self, order: str) -> Any:
        """Say whether it was taken for an order, under whatever key."""
        return External.unchanged(any(key.startswith(order) for key in self.charged))

    def refund(self, key: str, cents: int) -> Any:
        """Give it back, if it was taken and not given back yet."""
        if key in self.refunded or key not in self.charged:
            return External.unchanged(key)
        self.refunded.add(key)
        return key


class PaysBack(Bank):
    """Gives money back whenever it is asked to, once for each key."""

    def refund(self, key: str, cents: int) -> Any:
        """Give it back, whether it was taken or not."""
        if key in self.refunded:
            return External.unchanged(key)
        self.refunded.add(key)
        return key


class CannotDeliver(Exception):
    """The courier does not deliver such a thing; asking again changes nothing."""


class Courier:
    """Takes one parcel per order, but no lamps, and stops those that are recalled."""

    def __init__(self) -> None:
        self.parcels: set[str] = set()
        self.recalled: set[str] = set()

    def ship(self, order: str, item: str) -> Any:
        """Take the parcel, unless there is one, or it was recalled before it came.

        Raises:
            CannotDeliver: It is a lamp.
        """
        if item == "lamp":
            raise CannotDeliver(item)
        if order in self.parcels | self.recalled:
            return External.unchanged(order)
        self.parcels.add(order)
        return order

    def recall(self, order: str) -> Any:
        """Stop the parcel, wherever it is, and take none any more."""
        first = order not in self.recalled
        self.recalled.add(order)
        return order if first and order in self.parcels else External.unchanged(order)


class NotInsurable(Exception):
    """No parcel with such a thing is insured; asking again changes nothing."""


class Insurer:
    """Says whether a parcel is insured: the last step of an order, after which two are undone."""

    def cover(self, order: str, item: str) -> str:
        """Say under which number.

        Raises:
            NotInsurable: It is a vase.
        """
        if item == "vase":
            raise NotInsurable(item)
        return f"cover of {order}"


VASE = Order("o3", "eve", "vase", 900)
"""An order that is charged and shipped, and then undone."""


def parcels_are_stopped_before_money_goes_back() -> Property:
    """Claim that an order is undone in the reverse of the order in which it was done."""
    return compensation_in_reverse({"charge": "refund", "ship": "recall"}, by=("order", "key"))


def money_is_kept_for_parcels() -> Property:
    """Claim that of each order the money is kept, in the end, exactly if it was shipped."""

    def shipped(books: Books) -> dict[str, int]:
        cents = {order.id: order.cents for order in books.items}
        recalled = {entry["order"] for entry in books.ledger("courier", "recall")}
        shipped = {entry["order"] for entry in books.ledger("courier", "ship")}
        return {order: cents[order] for order in sorted(shipped - recalled)}

    return conserved("money", shipped=shipped, kept=_kept)


def _kept(books: Books) -> dict[str, int]:
    """What the bank has of each order: that of the key, or that whose work it was, since a key may
    be anything. Nobody's work is that of a loop, which tries again what is due."""
    found: dict[str, int] = {}
    orders = [item.id for item in books.items]
    for event in books.history.of("effect"):
        sign = {"charge": 1, "refund": -1}.get(str(event.data.get("method")), 0)
        if event.actor == "bank" and sign:
            key = str(event.data.get("key"))
            order = orders[event.entity - 1] if event.entity and key not in orders else key
            found[order] = found.get(order, 0) + sign * int(event.data["cents"])
    return found
