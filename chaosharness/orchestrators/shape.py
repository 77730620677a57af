"""The steps of an orchestrated workflow in their order, as a value: what its definition says.

Not modelled:
    How often a step is tried, and how long it may take: a definition says that better itself.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import attrs

__all__ = ["BEGIN", "END", "Move", "StepGraph"]

BEGIN: Final = "(begin)"
END: Final = "(end)"


@attrs.frozen
class Move:
    """From one step to another: by itself, or where `when` says so.

    Attributes:
        source: The step, or `BEGIN`.
        to: What comes next, or `END`.
        when: Under which condition; empty where it always does.
        undoes: Whether `to` makes up for `source`.
    """

    source: str
    to: str
    when: str = ""
    undoes: bool = False


def _once(moves: Iterable[Move]) -> tuple[Move, ...]:
    return tuple(dict.fromkeys(moves))


@attrs.frozen
class StepGraph:
    """The steps of one workflow, and what comes after each.

    Attributes:
        name: Of the workflow.
        engine: What runs it, in words: `Step Functions`.
        moves: In the order of the definition.
        observed: Whether it was seen in a run, and not read from a definition.
    """

    name: str
    engine: str
    moves: tuple[Move, ...] = attrs.field(converter=_once)
    observed: bool = False

    @property
    def steps(self) -> tuple[str, ...]:
        """Its steps, in the order in which they stand."""
        named = (one for move in self.moves for one in (move.source, move.to))
        return tuple(one for one in dict.fromkeys(named) if one not in (BEGIN, END))

    def text(self) -> str:
        """Return one line a move, under its name."""
        how = ", as seen in the calm run" if self.observed else ""
        return "\n".join([f"{self.name} ({self.engine}{how})", *map(_line, self.moves)])

    def mermaid(self, prefix: str = "s") -> Iterator[str]:
        """Yield the lines of a subgraph of a Mermaid flowchart; `prefix` begins its ids."""
        names = {BEGIN: f"{prefix}begin", END: f"{prefix}end"}
        yield f'  subgraph {prefix}["{_escaped(self.name)}"]'
        yield f"    {names[BEGIN]}((begin))"
        for number, step in enumerate(self.steps):
            names[step] = f"{prefix}{number}"
            yield f'    {names[step]}["{_escaped(step)}"]'
        if any(move.to == END for move in self.moves):
            yield f"    {names[END]}((end))"
        for move in self.moves:
            arrow = "-.->" if move.undoes else "-->"
            words = f'|"{_escaped(move.when)}"|' if move.when else ""
            yield f"    {names[move.source]} {arrow}{words} {names[move.to]}"
        yield "  end"


def _line(move: Move) -> str:
    if move.undoes:
        return f"  {move.source} is undone by {move.to}" + (f" ({move.when})" if move.when else "")
    return f"  {move.source} → {move.to}" + (f"  where {move.when}" if move.when else "")


def _escaped(name: str) -> str:
    return name.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
