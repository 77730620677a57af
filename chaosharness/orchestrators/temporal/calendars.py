"""Calendars and intervals: when a cron expression, or a schedule's spec, comes next.

*Source*: robfig/cron v3, `parser.go`, `spec.go` and `constantdelay.go` (which `cron_schedule` of a
start goes through); temporalio/temporal, `service/worker/scheduler/spec.go`, `calendar.go` and
`cron.go` (schedules). Times are seconds since 1970, in UTC.
*Not modelled*: jitter, leap seconds, time zones given as data.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import attrs

__all__ = ["Calendar", "Interval", "NotACalendar", "Spec", "cron_of", "duration_s"]

YEARS_MAX: Final = 30
"""How far ahead is looked for a time that matches."""
MONTHS: Final = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
DAYS: Final = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
LIMITS: Final = {
    "second": (0, 59),
    "minute": (0, 59),
    "hour": (0, 23),
    "day_of_month": (1, 31),
    "month": (1, 12),
    "day_of_week": (0, 6),
}
NAMED: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "d": 86_400.0}


class NotACalendar(Exception):
    """Text that is no cron expression: says why."""


@attrs.frozen
class Interval:
    """Each so many seconds: from the epoch, or from when it is asked where it has no phase."""

    every_s: int
    phase_s: int | None = 0

    def after(self, moment_s: float) -> int:
        """The first time after this one."""
        if self.phase_s is None:
            return int(moment_s) + self.every_s
        passed = (moment_s - self.phase_s) // self.every_s
        return int(passed + 1) * self.every_s + self.phase_s


@attrs.frozen
class Calendar:
    """Seconds that match in each field; `either` day is enough where both are restricted (cron)."""

    fields: Mapping[str, frozenset[int]]
    zone: str = "UTC"
    years: frozenset[int] = frozenset()
    either: bool = False

    def after(self, moment_s: float) -> int | None:
        """The first time after this one that matches; None where there is none."""
        zone = _zone(self.zone)
        begin = int(moment_s) + 1
        day = datetime.fromtimestamp(begin, zone).replace(hour=0, minute=0, second=0)
        for _ in range(366 * YEARS_MAX):
            if self._is_day(day):
                for at in self._times(day, zone):
                    if at >= begin:
                        return at
            day = (day.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=zone)
        return None

    def matches(self, moment_s: int) -> bool:
        """Whether a time matches."""
        return self.after(moment_s - 1) == moment_s

    def _is_day(self, day: datetime) -> bool:
        if day.month not in self.fields["month"] or (self.years and day.year not in self.years):
            return False
        of_month = day.day in self.fields["day_of_month"]
        of_week = day.isoweekday() % 7 in self.fields["day_of_week"]
        return of_month or of_week if self.either else of_month and of_week

    def _times(self, day: datetime, zone: ZoneInfo) -> Iterable[int]:
        for hour in sorted(self.fields["hour"]):
            for minute in sorted(self.fields["minute"]):
                for second in sorted(self.fields["second"]):
                    at = day.replace(hour=hour, minute=minute, second=second)
                    stamp = int(at.timestamp())
                    if datetime.fromtimestamp(stamp, zone).hour == hour:  # a clock may leap over it
                        yield stamp


@attrs.frozen
class Spec:
    """What a schedule's spec says: any of these, but none that is excluded, between two times."""

    calendars: tuple[Calendar | Interval, ...]
    excluded: tuple[Calendar, ...] = ()
    begins_s: float | None = None
    ends_s: float | None = None

    def after(self, moment_s: float) -> int | None:
        """The first time after this one that matches; None where there is none."""
        if self.begins_s is not None:
            moment_s = max(moment_s, self.begins_s - 1)
        for _ in range(10_000):
            found = [at for one in self.calendars if (at := one.after(moment_s)) is not None]
            first = min(found, default=None)
            if first is None or (self.ends_s is not None and first > self.ends_s):
                return None
            if not any(one.matches(first) for one in self.excluded):
                return first
            moment_s = first
        return None


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        raise NotACalendar(f"unknown time zone {name}") from None


def duration_s(text: str) -> int:
    """Seconds of a Go duration such as `1h30m`."""
    parts = re.findall(r"([\d.]+)(ms|[dhms])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise NotACalendar(f"failed to parse duration {text}")
    return round(sum(float(number) * UNITS[unit] for number, unit in parts))


def cron_of(text: str, *, of_schedule: bool = False) -> Calendar | Interval:
    """Read a cron expression: of a start, or of a schedule (which takes seconds and years, too).

    Raises:
        NotACalendar: It is none.
    """
    rest, zone = text.strip(), "UTC"
    if of_schedule:
        rest = rest.partition("#")[0].strip()
    if match := re.match(r"(?:CRON_TZ|TZ)=(\S+)\s+(.*)", rest):
        zone, rest = match.groups()
    _zone(zone)
    if rest.startswith("@every"):
        every, _, phase = rest.removeprefix("@every").strip().partition("/")
        if of_schedule:
            return Interval(duration_s(every), duration_s(phase) if phase else 0)
        return Interval(max(1, duration_s(every)), None)
    if rest.startswith("@"):
        if rest not in NAMED:
            raise NotACalendar(f"unrecognized descriptor: {rest}")
        rest = NAMED[rest]
    words = rest.split()
    names = ["minute", "hour", "day_of_month", "month", "day_of_week"]
    years: frozenset[int] = frozenset()
    if of_schedule and len(words) in (6, 7):
        years = frozenset() if words[-1] == "*" else _numbers("year", words[-1])
        words = words[:-1]
        names = ["second", *names] if len(words) == 6 else names
    if len(words) != len(names):
        raise NotACalendar(f"expected exactly 5 fields, found {len(rest.split())}: [{text}]")
    fields = {name: _numbers(name, word) for name, word in zip(names, words, strict=True)}
    fields.setdefault("second", frozenset({0}))
    stars = any(word.startswith(("*", "?")) for word in (words[-3], words[-1]))
    return Calendar(fields, zone, years, either=not of_schedule and not stars)


def _numbers(field: str, text: str) -> frozenset[int]:
    low, high = LIMITS.get(field, (2000, 2100))
    found: set[int] = set()
    for part in text.split(","):
        body, _, step = part.partition("/")
        if body in ("*", "?"):
            first, last = low, high
        else:
            begin, dash, end = body.partition("-")
            first = _number(field, begin)
            last = _number(field, end) if dash else high if step else first
        if not (low <= first <= last <= high) or (step and (not step.isdigit() or step == "0")):
            raise NotACalendar(f"{field.replace('_', ' ')}: {part!r} is not in {low} to {high}")
        found.update(range(first, last + 1, int(step or 1)))
    return frozenset(found)


def _number(field: str, text: str) -> int:
    names = {"month": MONTHS, "day_of_week": DAYS}.get(field, [])
    if text.lower()[:3] in names:
        return names.index(text.lower()[:3]) + (field == "month")
    if not text.isdigit():
        raise NotACalendar(f"failed to parse int from {text}")
    return int(text) % 7 if field == "day_of_week" and text == "7" else int(text)
