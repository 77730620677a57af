"""What each client of a product does by default, named by client and version: one way for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

import attrs


class Sourced(Protocol):
    """The defaults of one client."""

    @property
    def source(self) -> str:
        """Where they were read."""


P = TypeVar("P", bound=Sourced)


@attrs.frozen
class Profiles(Generic[P]):
    """The defaults of a product's clients.

    Attributes:
        known: They, by the client's name as users say it.
        unnamed: What there is where no client is named.
        columns: Heads of the table of them, and what stands below.
    """

    known: Mapping[str, P]
    unnamed: P
    columns: Mapping[str, Callable[[P], str]]

    def of(self, client: str | None) -> P:
        """Return the defaults of a client; None: of nobody in particular."""
        return self.known.get(client or "", self.unnamed)

    def default(self, name: str) -> Any:
        """Return the default of an attribute beside `client`: what that client has."""
        return attrs.Factory(lambda self_: getattr(self.of(self_.client), name), takes_self=True)

    def table(self) -> str:
        """Return them as a Markdown table."""
        heads = ["`client=`", *self.columns, "source"]
        rows = [
            [f'`"{client}"`', *(spell(one) for spell in self.columns.values()), one.source]
            for client, one in self.known.items()
        ]
        lines = [f"| {' | '.join(one)} |" for one in (heads, *rows)]
        return "\n".join([lines[0], f"|{'---|' * len(heads)}", *lines[1:]]) + "\n"


def yes(value: bool) -> str:
    """Spell a switch in a table."""
    return "yes" if value else "no"
