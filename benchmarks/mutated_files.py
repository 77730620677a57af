"""Files that somebody changed: each is used, or refused in one clear line; none raises otherwise.

    python -m benchmarks mutated_files            # 3,000 counterexamples and 3,000 schedules

A counterexample is loaded, replayed and reported in five formats, a schedule is loaded and run:
all that the command line does with them. The same files each time: chance has a fixed seed.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from random import Random
from typing import Any, Final

from chaosharness import Schedule, System, explore, replay, reporting
from chaosharness.counterexample import Counterexample
from chaosharness.errors import ChaosharnessError
from models.order import broken

CHANGES: Final = 3_000
SEED: Final = 7
STRANGE: Final = [
    *(None, True, False, 0, -1, 10**30, 1.5, float("nan"), float("inf"), "", "x", "\x00", "\ud800"),
    *([], [None], [[]], {}, {"": None}, {"a": {"b": [1]}}, "x" * 10_000, "Site()", "for item 1"),
]
INSERTED: Final = ("", "[", '"', "}", "\x00", "9" * 5_000, "[" * 3_000, "{" * 3_000, "\ufeff")


def changed(whole: Any, chance: Random) -> str:
    """Return the text of a file with one to three things wrong."""
    value = json.loads(json.dumps(whole))
    for _ in range(chance.choice((1, 1, 2, 3))):
        place = _place(value, chance)
        if place is None:
            continue
        at, key = place
        if chance.random() < 0.2:
            del at[key]
        else:
            alike = [one for one in STRANGE if type(one) is type(at[key])]
            some = alike if alike and chance.random() < 0.7 else STRANGE
            at[key] = deepcopy(chance.choice(some))
    text = json.dumps(value)
    if chance.random() < 0.1:
        cut = chance.randrange(len(text))
        text = text[:cut] + chance.choice(INSERTED) + text[cut + 1 :]
    return text


def _place(value: Any, chance: Random) -> tuple[Any, Any] | None:
    """Choose a place in a value: what holds it, and its key; None if there is none."""
    at, place = value, None
    while isinstance(at, dict | list) and at:
        key = chance.choice(sorted(at) if isinstance(at, dict) else range(len(at)))
        place = (at, key)
        if chance.random() < 0.5:
            break
        at = at[key]
    return place


def use_counterexample(system: System, text: str) -> None:
    """Do with a counterexample file all that the command line does."""
    found = Counterexample.decode(text)
    outcome = replay(found, system)
    json.dumps(outcome.to_json())
    reporting.to_text(found)
    reporting.to_markdown(found)
    reporting.to_html(found)
    reporting.to_json(found)
    reporting.to_pytest(found)


def use_schedule(system: System, text: str) -> None:
    """Load a schedule file, and run it."""
    system.run(None, Schedule.decode(text, system=system.name)).digest()


def outcomes(
    whole: Any, use: Callable[[str], None], count: int, seed: int = SEED
) -> Iterator[tuple[str, str]]:
    """Use so many changed files.

    Yields:
        What became of each: `used`, `refused` (in one of our errors), or the name of an
        exception that is not ours; and the text of the file.
    """
    chance = Random(seed)
    for _ in range(count):
        text = changed(whole, chance)
        try:
            use(text)
        except ChaosharnessError as error:
            words = str(error)
            yield "refused" if words and "\n" not in words else f"unclear: {words!r}", text
        except Exception as error:
            yield type(error).__name__, text
        else:
            yield "used", text


def main() -> int:
    """Count what becomes of them."""
    system = broken.charge_without_key()
    found = explore(system, stop_at_first=True, target="models.order.broken:charge_without_key")
    whole = found.counterexamples[0]
    kinds: dict[str, tuple[Any, Callable[[str], None]]] = {
        "counterexamples": (whole.to_json(), lambda text: use_counterexample(system, text)),
        "schedules": (
            json.loads(whole.schedule.encode(system=system.name)),
            lambda text: use_schedule(system, text),
        ),
    }
    raw = 0
    for name, (value, use) in kinds.items():
        counts: Counter[str] = Counter()
        for outcome, text in outcomes(value, use, CHANGES):
            counts[outcome] += 1
            if outcome not in ("used", "refused"):
                raw += 1
                print(f"{outcome}: {text[:300]!r}")
        others = sum(counts.values()) - counts["used"] - counts["refused"]
        used, refused = counts["used"], counts["refused"]
        print(
            f"{CHANGES:,} changed {name}: {used:,} used, {refused:,} refused in one clear line, "
            f"{others:,} raw exceptions"
        )
    return 1 if raw else 0


if __name__ == "__main__":
    sys.exit(main())
