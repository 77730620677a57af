"""What the server refuses a caller with, in the shape of conductor-python's errors.

*Source*: conductor-oss/conductor, `core/exception/*.java` and the status codes of its REST API;
conductor-python, `client/codegen/rest.py` (`ApiException`).
"""

from typing import Any

__all__ = ["ConductorError", "Conflict", "Invalid", "NotFound"]


class ConductorError(Exception):
    """The server said no: nothing happened. `status` is what the REST API answers with."""

    status = 500

    def __init__(self, message: str) -> None:
        super().__init__(f"({self.status}) {message}")
        self.reason = message
        self.body: dict[str, Any] = {"status": self.status, "message": message}


class NotFound(ConductorError):
    """There is no such workflow, task or definition."""

    status = 404


class Conflict(ConductorError):
    """It has ended already, or its idempotency key was used."""

    status = 409


class Invalid(ConductorError):
    """The request makes no sense."""

    status = 400
