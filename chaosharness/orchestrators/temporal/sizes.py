"""How large payloads and requests may be.

*Source*: temporalio/temporal, `limit.blobSize.error` (2 MiB), `common/util.go` for its texts;
docs.temporal.io, "Troubleshoot the blob size limit error", for what workers of SDK 1.23 and later
do: the workflow task fails, and the workflow stays open.
*Not modelled*: limits of memos, and of a history as a whole; workers before SDK 1.23, whose
workflows the server terminates for that.
"""

from collections.abc import Iterable
from typing import Any, Final

from chaosharness.orchestrators.temporal.refusals import Refused, invalid

__all__ = ["BLOB_MAX", "RESULT_TOO_LARGE", "TOO_LARGE", "check_request", "is_too_large"]

BLOB_MAX: Final = 2 * 1024 * 1024
MESSAGE_MAX: Final = 4 * 1024 * 1024

TOO_LARGE: Final = {
    "message": "[TMPRL1103] Attempted to upload payloads with size that exceeded the error limit."
}
RESULT_TOO_LARGE: Final = {
    "message": "Complete result exceeds size limit.",
    "source": "Server",
    "serverFailureInfo": {"nonRetryable": True},
}
"""How an activity fails whose result is too large: it is not tried again."""


def check_request(req: Any) -> None:
    """Refuse a client's request that is too large, as the server does.

    Raises:
        Refused: It is, or a blob of it.
    """
    size = req.ByteSize()
    if size <= BLOB_MAX:
        return
    if size > MESSAGE_MAX:
        words = f"grpc: received message larger than max ({size} vs. {MESSAGE_MAX})"
        raise Refused("RESOURCE_EXHAUSTED", words)
    for field in ("input", "signal_input", "query_args"):
        if hasattr(req, field) and getattr(req, field).ByteSize() > BLOB_MAX:
            raise invalid("Blob data size exceeds limit.")


def is_too_large(commands: Iterable[Any]) -> bool:
    """Say whether a command of a workflow has more with it than the server takes."""
    return any(command.ByteSize() > BLOB_MAX for command in commands)
