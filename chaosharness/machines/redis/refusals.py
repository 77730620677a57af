"""What Redis says where it refuses, in its own words.

Source:
    redis/redis 7.0, `src/t_stream.c`; each was heard from a running Redis 7.0.15.
"""

from __future__ import annotations

from typing import Final

from chaosharness.machines.machine import Refusal

BAD_ID: Final = Refusal("ERR", "Invalid stream ID specified as stream command argument")
ZERO_ID: Final = Refusal("ERR", "The ID specified in XADD must be greater than 0-0")
OLD_ID: Final = Refusal(
    "ERR", "The ID specified in XADD is equal or smaller than the target stream top item"
)
NEGATIVE_LENGTH: Final = Refusal("ERR", "The MAXLEN argument must be >= 0.")
LIMIT_IS_EXACT: Final = Refusal(
    "ERR", "syntax error, LIMIT cannot be used without the special ~ option"
)
NO_COUNT: Final = Refusal("ERR", "COUNT must be > 0")
GROUP_EXISTS: Final = Refusal("BUSYGROUP", "Consumer Group name already exists")
NO_KEY: Final = Refusal(
    "ERR",
    "The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use "
    "the MKSTREAM option to create an empty stream automatically.",
)
WRONG_TYPE: Final = Refusal("WRONGTYPE", "Operation against a key holding the wrong kind of value")
NOT_THERE: Final = Refusal("ERR", "no such key")
READ_WRONGLY: Final = Refusal("ERR", "value for ENTRIESREAD must be positive or -1")
DOLLAR: Final = Refusal(
    "ERR",
    "The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this "
    "consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just "
    "return an empty result set.",
)


def no_group(stream: str, group: str) -> Refusal:
    """Return the refusal of a group that is not there."""
    return Refusal("NOGROUP", f"No such key '{stream}' or consumer group '{group}'")


def no_group_to_read(stream: str, group: str) -> Refusal:
    """Return the refusal to read for a group that is not there."""
    words = no_group(stream, group).text
    return Refusal("NOGROUP", f"{words} in XREADGROUP with GROUP option")


def no_group_of_key(stream: str, group: str) -> Refusal:
    """Return the refusal to change a group that is not there."""
    return Refusal("NOGROUP", f"No such consumer group '{group}' for key name '{stream}'")
