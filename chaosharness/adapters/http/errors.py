"""What a request may end in without an answer; each client library has its own words for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal

Ended = Literal["connect timeout", "read timeout", "refused", "disconnected", "given up"]


class NoAnswer(Exception):
    """A request that got no answer.

    Attributes:
        ended: How: nobody took the connection in time, or refused it; no answer came in time; the
            other side closed the connection; TCP gave up, where the client set no time-out.
    """

    def __init__(self, ended: Ended, words: str) -> None:
        super().__init__(words)
        self.ended: Ended = ended


Errors = Mapping[Ended, Callable[[str], BaseException]]
"""How a client library tells each of them."""

GIVEN_UP_MS: Final = 924_600
"""How long TCP sends again what nobody acknowledges.

*Source*: Linux `ip-sysctl`, `tcp_retries2`: 15 "yields a hypothetical timeout of 924.6 seconds".

*Not modelled*: A client without a time-out, whose request was acknowledged and whose answer never
comes, waits for ever. Here it waits as long as for one that was not acknowledged.
"""
