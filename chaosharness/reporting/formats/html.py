"""A counterexample as one page: no second file, nothing fetched.

A script adds buttons that copy, and nothing else: without it the page says all it has to say.
The browser runs that one script, known by its hash, and no other.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any, Final

import attrs
import jinja2
from markupsafe import Markup

from chaosharness.counterexample import Counterexample
from chaosharness.reporting.formats.pytest_file import has_target, to_pytest
from chaosharness.reporting.formats.redact import Redact, masked
from chaosharness.reporting.formats.snippets import replay_command, schedule_code, test_name
from chaosharness.reporting.story.accounts import unremarkable
from chaosharness.reporting.story.lanes import Lane, Span, spans, within
from chaosharness.reporting.story.legible import (
    breakable,
    clip,
    duration,
    in_parts,
    listed,
    seconds,
)
from chaosharness.reporting.story.select import STEPS_MAX
from chaosharness.reporting.story.step import Step
from chaosharness.reporting.story.tell import Gap, Story, tell

GAP_EVENTS_MAX: Final = 30
CODE_MAX: Final = 20_000
WORKLOAD_MAX: Final = 2_000
LATER_MS: Final = 1_000
"""Virtual time between two rows that is worth a row of its own."""

BESIDE_MAX: Final = 6
"""Lanes up to which ledger and state stand beside the picture; beyond, below it."""

CROWD_MIN: Final = 11
"""Lanes from which their names are small on a wide screen."""

LEVEL_MAX: Final = 5
"""Lanes up to which their names are level on a narrow screen; beyond, they stand upright."""


@attrs.frozen
class Spot:
    """Where things stand in a row, as CSS grid columns over half lanes.

    Attributes:
        columns: Of the arrow or mark.
        label: Of the words.
        side: The side of the words that touches arrow or mark: `start` or `end`.
    """

    columns: str = ""
    label: str = ""
    side: str = "start"


@attrs.frozen(kw_only=True)
class Row:
    """One row of the picture.

    Attributes:
        step: What it tells.
        shape: `right`, `left` (arrows), `mark`, or `line` (across all lanes).
        spot: Where it stands.
        icon: Which mark.
        cut: Where on its way what is lost ends, in percent from the left: on no lane's line.
        busy: Places of lanes that are handling a message.
        down: Places of lanes that are down.
    """

    step: Step
    shape: str
    spot: Spot = Spot()
    icon: str = ""
    cut: float = 50
    busy: tuple[int, ...] = ()
    down: tuple[int, ...] = ()


@attrs.frozen
class Fold:
    """Events that are left out of the picture, to be folded out."""

    words: str
    lines: tuple[tuple[str, str, str], ...]
    more: int
    busy: tuple[int, ...] = ()
    down: tuple[int, ...] = ()


@attrs.frozen
class Later:
    """Time that passes between two rows."""

    words: str
    busy: tuple[int, ...] = ()
    down: tuple[int, ...] = ()
    shape: str = "later"


_ICONS: Final = {
    "effect": "effect",
    "crash": "crash",
    "start": "restart",
    "note": "note",
    "raised": "trouble",
    "dead": "trouble",
}


def _icon(step: Step) -> str:
    if step.tone == "crash":
        return "crash"
    if step.tone == "lost" or step.kind == "fault":
        return "fault"
    return _ICONS.get(step.kind, "trouble" if step.tone == "trouble" else "dot")


def _between_lanes(way: int) -> float:
    """Say where in the middle of a way there is no lane's line, in percent from the left.

    The middle of an even number of lanes is the line of a third one: half a lane less then.
    """
    if way == 0 or way % 2:
        return 50
    ahead = 100 * (abs(way) / 2 - 0.5) / abs(way)
    return round(ahead if way > 0 else 100 - ahead, 2)


class Picture:
    """Where everything stands in the picture of a story."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.lanes: tuple[Lane, ...] = story.lanes
        self.place = {lane.key: at for at, lane in enumerate(story.lanes)}
        self._busy, self._down = spans(story.history)

    def rows(self) -> list[Row | Fold | Later]:
        """Return the rows, from top to bottom."""
        rows: list[Row | Fold | Later] = []
        now = 0
        for part in self.story.parts:
            if isinstance(part, Gap):
                rows.append(self._fold(part))
                continue
            if part.at_ms - now >= LATER_MS:
                rows.append(self._later(part, part.at_ms - now))
            now = part.at_ms
            rows.append(self._row(part))
        return rows

    def _later(self, step: Step, ms: int) -> Later:
        busy = self._places(self._busy, step.event - 1)
        down = self._places(self._down, step.event - 1)
        return Later(f"{duration(ms)} later", busy, down)

    def _row(self, step: Step) -> Row:
        busy = self._places(self._busy, step.event)
        down = self._places(self._down, step.events[-1] + (step.tone == "crash"))
        if step.source not in self.place:
            return Row(step=step, shape="line")
        source = self.place[step.source]
        target = self.place.get(step.target, source)
        cut = _between_lanes(target - source)
        if source == target:
            shape, spot = "mark", self._beside(source)
        else:
            left, right = sorted((source, target))
            shape, spot = "right" if target > source else "left", self._above(left, right)
        icon = _icon(step)
        return Row(step=step, shape=shape, spot=spot, icon=icon, cut=cut, busy=busy, down=down)

    def _places(self, found: tuple[Span, ...], index: int) -> tuple[int, ...]:
        lanes = within(found, index)
        return tuple(at for lane, at in self.place.items() if lane in lanes)

    def _above(self, left: int, right: int) -> Spot:
        """Place an arrow, and words above it where there is more room for them."""
        first, last, end = 2 * left + 2, 2 * right + 2, 2 * len(self.lanes) + 1
        if end - first >= last - 1:
            return Spot(f"{first} / {last}", f"{first} / {end}", "start")
        return Spot(f"{first} / {last}", f"1 / {last}", "end")

    def _beside(self, place: int) -> Spot:
        """Place a mark, and words on the side of it where there is more room."""
        middle, end = 2 * place + 2, 2 * len(self.lanes) + 1
        if end - middle >= middle - 1:
            return Spot(f"{middle - 1} / {middle + 1}", f"{middle} / {end}", "start")
        return Spot(f"{middle - 1} / {middle + 1}", f"1 / {middle}", "end")

    def _fold(self, gap: Gap) -> Fold:
        shown = gap.events[:GAP_EVENTS_MAX]
        narrator = self.story.narrator
        lines = []
        for index in shown:
            step = narrator.step(index)
            lines.append((seconds(step.at_ms), who(step, self.story), _words(step)))
        busy = self._places(self._busy, gap.events[0])
        down = self._places(self._down, gap.events[0])
        return Fold(gap.words, tuple(lines), len(gap.events) - len(shown), busy, down)


def who(step: Step, story: Story) -> str:
    """Say between whom a step is: `payments → bank`."""
    if step.source == "world":
        return ""
    source = story.narrator.name(step.source)
    return f"{source} → {story.narrator.name(step.target)}" if step.target else source


def _words(step: Step) -> str:
    return f"{step.words}: {step.detail}" if step.detail else step.words


@cache
def templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["seconds"] = seconds
    environment.filters["clip"] = clip
    environment.filters["listed"] = listed
    environment.filters["breakable"] = breakable
    environment.filters["in_parts"] = in_parts
    script = (Path(__file__).with_name("templates") / "copy.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.globals["copy_script"] = Markup(script)
    environment.globals["copy_hash"] = f"sha256-{digest}"
    return environment


def to_html(found: Counterexample, *, redact: Redact = (), file: str = "") -> str:
    """Render a counterexample as one self-contained HTML page, dark and light.

    Args:
        found: The counterexample.
        redact: Fields to mask: see `masked`.
        file: Where the counterexample's file is, for the replay command.
    """
    found = masked(found, redact)
    story = tell(found, steps_max=STEPS_MAX)
    picture = Picture(story)
    source = to_pytest(found) if has_target(found) else ""
    template = templates().get_template("report.html.jinja")
    return template.render(
        found=found,
        story=story,
        picture=picture,
        rows=picture.rows(),
        roomy=len(story.lanes) <= BESIDE_MAX,
        clock=max((len(seconds(step.at_ms)) for step in story.steps), default=5),
        crowd=len(story.lanes) >= CROWD_MIN,
        slim=len(story.lanes) <= LEVEL_MAX,
        who=lambda step: who(step, story),
        unremarkable=unremarkable,
        is_fold=lambda row: isinstance(row, Fold),
        schedule=schedule_code(found.schedule, 76),
        replay=replay_command(found, file),
        test_name=test_name(found),
        test_source=source if len(source) <= CODE_MAX else "",
        workload=_workload(found),
    )


def _workload(found: Counterexample) -> list[str]:
    return [clip(_spelled(item), WORKLOAD_MAX) for item in found.items]


def _spelled(item: Any) -> str:
    return json.dumps(item, ensure_ascii=False, default=str)
