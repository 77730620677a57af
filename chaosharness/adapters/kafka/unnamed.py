"""On whose behalf offsets go into a transaction, where a client says only so much of it."""

from __future__ import annotations

from typing import Any


class Named:
    """A member of a group, as somebody knew it: of this generation then.

    Args:
        group: The group, as the cluster has it.
        id: What the member is called there; empty where nobody says.
        generation: The one that it was of; None for whichever is the latest.
        member: The member itself, where there is one.
    """

    def __init__(
        self, group: Any, id: str | int = "", generation: int | None = None, member: Any = None
    ) -> None:
        self.group = group
        self.id = id
        self._generation = generation
        self._member = member

    @property
    def expelled(self) -> bool:
        """Whether its group goes on without it."""
        return self._member is not None and bool(self._member.expelled)

    @property
    def generation(self) -> int:
        """The generation that it says it is of."""
        latest: int = self.group.generation
        return latest if self._generation is None else self._generation

    def standing(self) -> Named:
        """Return who it is in its group."""
        return self


class Reader:
    """Passes for a consumer that has read nothing itself: its offsets are given."""

    def __init__(self, member: Named) -> None:
        self._member = member

    def standing(self) -> tuple[Named, dict[Any, int]]:
        """Return who it is in its group, and nothing that it has read."""
        return self._member, {}
