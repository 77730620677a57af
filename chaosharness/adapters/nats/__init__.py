"""NATS JetStream by nats-py: its own clients and contexts, on the broker `NATS`.

The library comes before the modules of this room, whichever of them is loaded first: where it is
met as it is imported, that loads the others, and none of them may be half there by then.
"""

from __future__ import annotations

import nats as nats
