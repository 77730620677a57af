"""What each client of RabbitMQ does by default: named by client and version, as data.

A broker that is told `client="pika"` takes that client's defaults for all that is not said;
reports print whose they were, and which server it is.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import attrs

Client = Literal["pika", "aio-pika"]
CLIENTS: Final = get_args(Client)


@attrs.frozen(kw_only=True)
class Profile:
    """The defaults of one client.

    Attributes:
        name: Client and version; empty where nobody said which.
        source: Where they were read.
        confirms: Whether its publishers wait for a confirm.
        heartbeat_ms: What it settles on with a server that proposes 60 s.
        reconnect_ms: How long it takes to be back on a new connection.
    """

    name: str
    source: str
    confirms: bool = True
    heartbeat_ms: int = 60_000
    reconnect_ms: int = 1_000

    def words(self, version: str) -> str:
        """Return it as reports print it, with the version of the server."""
        server = f"RabbitMQ {version}"
        whose = f"{self.name} on {server}" if self.name else server
        return (
            f"{whose}: {'' if self.confirms else 'no '}confirms, heartbeat "
            f"{self.heartbeat_ms / 1000:g} s, back after {self.reconnect_ms / 1000:g} s"
        )


UNNAMED: Final = Profile(name="", source="")
PROFILES: Final[dict[str, Profile]] = {
    "pika": Profile(
        name="pika 1.4",
        source="pika 1.4.4, `confirm_delivery`, `ConnectionParameters`; to come back is up to code",
        confirms=False,
    ),
    "aio-pika": Profile(
        name="aio-pika 10",
        source="aio-pika 10.2.1, `connect_robust`, `channel`; aiormq 7.2.4, `heartbeat`",
        reconnect_ms=5_000,
    ),
}


def profile_of(client: str | None) -> Profile:
    """Return the defaults of a client; None: of nobody in particular."""
    return PROFILES.get(client or "", UNNAMED)


def table() -> str:
    """Return the profiles as a Markdown table."""
    lines = ["| `client=` | confirms | heartbeat | back after | source |", "|---|---|---|---|---|"]
    for client, one in PROFILES.items():
        words = (
            f'`"{client}"`',
            "yes" if one.confirms else "no",
            f"{one.heartbeat_ms / 1000:g} s",
            f"{one.reconnect_ms / 1000:g} s",
            one.source,
        )
        lines.append(f"| {' | '.join(words)} |")
    return "\n".join(lines)
