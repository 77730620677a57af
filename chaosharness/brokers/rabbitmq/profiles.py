"""What each client of RabbitMQ does by default: named by client and version, as data.

A broker that is told `client="pika"` takes that client's defaults for all that is not said;
reports print whose they were, and which server it is.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import attrs

from chaosharness.brokers.profiles import Profiles, yes

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
_KNOWN: Final[dict[str, Profile]] = {
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
PROFILES: Final = Profiles(
    _KNOWN,
    UNNAMED,
    {
        "confirms": lambda one: yes(one.confirms),
        "heartbeat": lambda one: f"{one.heartbeat_ms / 1000:g} s",
        "back after": lambda one: f"{one.reconnect_ms / 1000:g} s",
    },
)
