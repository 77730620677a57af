"""The hotel's API: a reservation has the number that we give it, so asking again is safe."""

from __future__ import annotations

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry

BASE = "https://rooms.example"
FULL = 409

patient = Retry(total=4, backoff_factor=1, status_forcelist=[503])  # never a POST


def session(retry: Retry) -> requests.Session:
    made = requests.Session()
    made.mount("https://", HTTPAdapter(max_retries=retry))
    return made


def reserve(booking: str, guest: str, nights: int) -> bool:
    """Reserve a room; say whether there was one.

    Raises:
        requests.RequestException: Nobody knows whether it is reserved.
    """
    body = {"guest": guest, "nights": nights}
    with session(patient) as http:
        answer = http.put(f"{BASE}/reservations/{booking}", json=body, timeout=5)
    if answer.status_code == FULL:
        return False
    answer.raise_for_status()
    return True
