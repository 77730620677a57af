"""The world around the bookings: a hotel, a database, and guests who ask again.

chaosharness run models.applications.booking.system:booking
"""

from __future__ import annotations

import time
from typing import Any

import requests

from chaosharness import Env, External, SQLite, System, Web
from models.applications.booking import hotel, slips
from models.applications.booking.app import Reserve, create_app

BOOKINGS = [{"id": "b1", "guest": "ann", "nights": 2}, {"id": "b2", "guest": "bob", "nights": 3}]

SCHEMA = "CREATE TABLE bookings (id TEXT PRIMARY KEY, guest TEXT, nights INTEGER, status TEXT)"

ROUTES = {"POST /reservations": "add", "PUT /reservations/{booking}": "reserve"}


class Hotel:
    """Rooms: a PUT names its reservation, a POST is another one each time."""

    def __init__(self) -> None:
        self.reserved: dict[str, str] = {}

    def reserve(self, booking: str, guest: str, nights: int) -> Any:
        if booking in self.reserved:
            return External.unchanged({"reservation": booking})
        self.reserved[booking] = guest
        return {"reservation": booking}

    def add(self, guest: str, nights: int) -> Any:
        return self.reserve(f"r{len(self.reserved) + 1}", guest, nights)


def booking() -> System:
    """The right one."""
    return _system("booking", hotel.reserve)


def retried_post() -> System:
    """Has urllib3 repeat a POST."""
    return _system("retried-post", slips.retried_post)


def silence_is_no() -> System:
    """Takes no answer for a no."""
    return _system("silence-is-no", slips.silence_is_no)


def status_unchecked() -> System:
    """Takes a 503 for a yes."""
    return _system("status-unchecked", slips.status_unchecked)


def _system(name: str, reserve: Reserve) -> System:
    system = System(name)
    db = system.add(SQLite("db", SCHEMA))
    rooms = system.add(External("hotel", Hotel))
    system.add(Web("rooms.example", rooms, routes=ROUTES))
    site = system.add(Web("booking.example"))

    @system.service("booking", replicas=2)
    def bookings(env: Env) -> None:
        env.app(site, create_app(lambda: env.connect(db), reserve))

    @system.entry(examples=BOOKINGS)
    def guest(env: Env, booking: dict[str, Any]) -> None:
        wait_s = 1
        while True:
            try:
                answer = requests.post("https://booking.example/bookings", json=booking, timeout=60)
                answer.raise_for_status()
                return
            except requests.RequestException:
                time.sleep(wait_s)
                wait_s = min(wait_s * 4, 600)

    return system
