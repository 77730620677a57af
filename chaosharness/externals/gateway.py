"""A payment gateway: a third party with a ledger.

Source:
    Stripe API reference, "Idempotent requests" (a key repeats the first answer for at
    least 24 hours; with other parameters or at another endpoint it is an error, 400
    `idempotency_error`) and "Refunds"; Adyen, "API idempotency" (7 days).

Not modelled:
    Currencies; partial captures; a key whose first request is still running (Stripe answers
    409): requests are served one after another.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from math import isfinite
from typing import Any, Final

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.externals.external import Client, OpenExternal, no_method
from chaosharness.externals.request import call
from chaosharness.kernel import allowed
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.spans import DAY_MS
from chaosharness.kernel.world import World


class Declined(Exception):
    """The gateway said no: nothing was charged, and asking again changes nothing."""


class KeyReused(Exception):
    """This idempotency key was another request's: nothing was done, and it never will be."""


_AMOUNTS: Final = (int, float, Decimal, Fraction)

_function: Final = allowed.function_or_none()
_error: Final = allowed.maker_of_errors()


@attrs.frozen
class Receipt:
    """What the gateway answers.

    Attributes:
        id: Number of the entry in the ledger, from 1.
        method: `charge` or `refund`.
        order: The business key, as the caller gave it.
        cents: Amount.
    """

    id: int
    method: str
    order: str
    cents: int


def _remembered(gateway: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, bool) and not allowed.is_whole(value, 1):
        right = "True, False, or how many ms a key is remembered, from 1"
        raise allowed.refused("Gateway", attribute.name, right, value)


@attrs.frozen
class Gateway:
    """A payment gateway with the methods `charge`, `refund` and `find`.

    Args:
        name: What reports call it.
        idempotency_keys: True: a repeated request gets the first answer again, for ever, and
            another one under its key is refused (`KeyReused`). False: keys are ignored. A whole
            number: remembered for so many ms.
        declines: `declines(order, cents)` says which charges are refused for good.
        latency_ms: There and back.
        timeout_ms: How long a caller waits for an answer.
        timeout_error: What a caller sees when no answer comes.
        refused_error: What a caller sees when it is told to come back later.
    """

    name: str = attrs.field(validator=allowed.text())
    idempotency_keys: bool | int = attrs.field(default=True, validator=_remembered, kw_only=True)
    declines: Callable[[str, int], bool] | None = attrs.field(
        default=None, validator=_function, kw_only=True
    )
    latency_ms: int = attrs.field(default=20, validator=allowed.whole(0), kw_only=True)
    timeout_ms: int = attrs.field(default=10_000, validator=allowed.whole(1), kw_only=True)
    timeout_error: Callable[[str], BaseException] = attrs.field(
        default=TimeoutError, validator=_error, kw_only=True
    )
    refused_error: Callable[[str], BaseException] = attrs.field(
        default=ConnectionError, validator=_error, kw_only=True
    )

    def open(self, world: World) -> OpenGateway:
        """Return this gateway, with an empty ledger, for one run."""
        return OpenGateway(self, world)


class OpenGateway(OpenExternal):
    """A payment gateway during one run."""

    def __init__(self, definition: Gateway, world: World) -> None:
        super().__init__(definition, world, None)  # type: ignore[arg-type]
        self.gateway = definition
        self.receipts: list[Receipt] = []
        self.answers: dict[str, tuple[int, tuple[str, str, int], Receipt]] = {}

    def client(self) -> GatewayClient:
        """Return what a service calls it by."""
        return GatewayClient(self)

    def asked(self, method: str, keywords: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return a request to charge, refund or find, and what the history shows of it."""
        return request_of(method, **keywords)

    def _method(self, method: str) -> Any:
        function = None if method.startswith("_") else getattr(self.client(), method, None)
        if not callable(function):
            raise InvalidDefinition(no_method(self.name, self.client(), method, "answer with"))
        return function

    def serve(
        self, caller: Scope, operation: str, attempt: int, request: Any, reply: Callable[..., None]
    ) -> None:
        """Charge, refund, or look up."""
        method, order, cents, key = request
        if method == "find":
            reply([one for one in self.receipts if one.order == order], None)
            return
        known = self._known(key, caller)
        if known is not None:
            asked, receipt = known
            if asked == (method, order, cents):
                reply(receipt, None)
            else:
                words = f"{key!r} was the key of {spelled(*asked)}, not of {spelled(*request[:3])}"
                reply(None, KeyReused(words), happened=False)
            return
        declines = self.gateway.declines
        if method == "charge" and declines is not None and declines(order, cents):
            reply(None, Declined(f"{order}: {cents} cents declined"), happened=False)
            return
        receipt = Receipt(len(self.receipts) + 1, method, order, cents)
        self.receipts.append(receipt)
        if key is not None:
            self.answers[key] = (self.world.now, (method, order, cents), receipt)
        data = {"method": method, "order": order, "cents": cents, "key": key, "id": receipt.id}
        self.ledger(caller, operation, attempt, data, receipt)
        reply(receipt, None)

    def _known(self, key: str | None, caller: Scope) -> tuple[tuple[str, str, int], Receipt] | None:
        """Return what was asked first under this key, and the answer, while it is remembered."""
        remembered = self.gateway.idempotency_keys
        if key is None or remembered is False or key not in self.answers:
            return None
        since, asked, receipt = self.answers[key]
        if remembered is not True:
            caller.clock += 1  # who asks again and again gets another answer in time
            caller.reckons_ms = max(caller.reckons_ms, min(remembered, DAY_MS))
            if self.world.now - since > remembered:
                return None
        return asked, receipt


def spelled(method: str, order: str, cents: int) -> str:
    """Spell a request: `charge(o1, 500)`."""
    return f"{method}({order}, {cents})"


class GatewayClient(Client):
    """A service's access to a gateway. In an `async` handler, await each method."""

    _external: OpenGateway

    def charge(self, order: str, cents: int, *, key: str | None = None) -> Any:
        """Take money for an order; `key` is the idempotency key. Returns a `Receipt`.

        Raises:
            Declined: The gateway said no, for good.
            KeyReused: The key was another request's: other arguments, or a refund's.
            TimeoutError: No answer: it may have happened.
            ConnectionError: Refused for now: it did not happen.
            TypeError: `cents` is no number.
        """
        return self._ask("charge", order, cents, key)

    def refund(self, order: str, cents: int, *, key: str | None = None) -> Any:
        """Give money back for an order. Returns a `Receipt`; raises as `charge` does."""
        return self._ask("refund", order, cents, key)

    def find(self, order: str) -> Any:
        """Return the receipts of an order, oldest first."""
        return self._ask("find", order, 0, None)

    def _ask(self, method: str, order: str, cents: int, key: str | None) -> Any:
        request, words = request_of(method, order, cents, key)
        return call(f"{self._external.name}.{method}", self._external, request, words)


def request_of(
    method: str, order: str, cents: int = 0, key: str | None = None
) -> tuple[tuple[str, str, int, str | None], dict[str, Any]]:
    """Return a request, and what the history shows of it."""
    words: dict[str, Any] = {"method": method, "order": order}
    if method != "find":
        if cents.__class__ is not int:
            _check_amount(method, cents)
        words |= {"cents": cents, "key": key}
    return (method, order, cents, key), words


def _check_amount(method: str, cents: Any) -> None:
    """Refuse what no gateway takes for an amount: the caller hears it, as from a client library."""
    if not isinstance(cents, _AMOUNTS) or not isfinite(cents):
        raise TypeError(f"{method}: cents must be a number, not {cents!r}")
