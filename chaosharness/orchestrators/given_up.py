"""What an orchestrator has given up waiting for: its workflow is told that, and decides.

Nobody refused anything: who worked on it died, or was too slow. The judge takes it as a no.
"""

from typing import Any

from chaosharness.kernel.history import GAVE_UP
from chaosharness.kernel.scope import Scope

__all__ = ["note_given_up"]


def note_given_up(scope: Scope, saga: str, of: str, **more: Any) -> None:
    """Take note that a workflow is told so: it is not asked for again by itself.

    Args:
        scope: Of the workflow.
        saga: The workflow's own name: its id.
        of: What was waited for: `activity charge`.
        more: What else is told.
    """
    scope.world.effects += 1
    scope.record("note", "", 0, {"what": GAVE_UP, "of": of, "saga": saga, **more})
