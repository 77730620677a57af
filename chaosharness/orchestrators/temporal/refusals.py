"""What the server refuses a request with: gRPC's status and the server's own text."""

__all__ = ["Refused", "invalid", "not_found"]


class Refused(Exception):
    """A request that the server did not carry out: `status` is gRPC's name for why."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


def not_found(message: str) -> Refused:
    """Nothing there: a late token, a run that has ended."""
    return Refused("NOT_FOUND", message)


def invalid(message: str) -> Refused:
    """A request that no server could carry out."""
    return Refused("INVALID_ARGUMENT", message)


TASK_GONE = "Workflow task not found."
ACTIVITY_GONE = "invalid activityID or activity already timed out or invoking workflow is completed"
RUN_ENDED = "workflow execution already completed"
