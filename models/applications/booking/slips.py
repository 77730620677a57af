"""What goes wrong with such an API: each function reserves a room with one slip."""

from __future__ import annotations

import requests
from urllib3 import Retry

from models.applications.booking.hotel import BASE, FULL, session


def retried_post(booking: str, guest: str, nights: int) -> bool:
    """Have the library repeat what must not be repeated: each POST is another room."""
    retry = Retry(total=4, backoff_factor=1, status_forcelist=[503], allowed_methods=None)
    with session(retry) as http:
        body = {"guest": guest, "nights": nights}
        answer = http.post(f"{BASE}/reservations", json=body, timeout=5)
    if answer.status_code == FULL:
        return False
    answer.raise_for_status()
    return True


def silence_is_no(booking: str, guest: str, nights: int) -> bool:
    """Take no answer for a no: the room may be reserved all the same."""
    try:
        with session(Retry(total=0)) as http:
            body = {"guest": guest, "nights": nights}
            answer = http.put(f"{BASE}/reservations/{booking}", json=body, timeout=5)
            answer.raise_for_status()
    except requests.RequestException:
        return False
    return True


def status_unchecked(booking: str, guest: str, nights: int) -> bool:
    """Ask only whether the room is gone: any other status is taken for a yes."""
    quiet = Retry(total=0, raise_on_status=False)
    with session(quiet) as http:
        body = {"guest": guest, "nights": nights}
        answer = http.put(f"{BASE}/reservations/{booking}", json=body, timeout=5)
    return answer.status_code != FULL
