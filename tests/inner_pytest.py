"""How tests start pytest in a process of its own."""

from typing import Final

LEAN: Final = [
    *("-p", "no:cacheprovider"),
    *("-p", "no:conductor-agents-testing"),
    *("-p", "no:faker"),
    *("-p", "no:anyio"),
]
"""Arguments that leave out what the tests in there have no use for.

The plugins of others which happen to be installed here import their whole libraries into each such
process: more than half of the time that it takes. Ours, Hypothesis's and xdist's load as ever.
"""
