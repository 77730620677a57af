"""boto3: its clients are botocore's; what its resources make of an answer keeps track of messages.

Source:
    boto3 1.44, `resources/response.py`: `ResourceHandler` makes a list of resources of an answer.

Not modelled:
    What `botocore` leaves out; collections (`queue.messages.all()` of what is not modelled).
"""

from __future__ import annotations

from typing import Any, Final

from chaosharness.adapters.aws.received import Received
from chaosharness.adapters.dispatch import Library, Seam


def _made(real: Any, self: Any, parent: Any, params: Any, response: Any) -> Any:
    made = real(self, parent, params, response)
    messages = response.get("Messages") if isinstance(response, dict) else None
    if isinstance(messages, Received) and isinstance(made, list) and len(made) == len(messages):
        messages.go_to(0)
        return Received(made, messages.go_to)
    return made


LIBRARY: Final = Library(
    "boto3",
    tested=">=1.35,<2",
    seams=(
        Seam(
            "boto3.resources.response:ResourceHandler.__call__",
            ("self", "parent", "params", "response"),
            _made,
        ),
    ),
)
