"""People with names, so that a report says whose order was lost.

Faker is imported when the first persona is drawn, and makes 200 of them at once for a
locale, always the same: drawing one is drawing a number, and costs no more than that.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Any, Final

import attrs
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from chaosharness.errors import InvalidDefinition
from chaosharness.kernel.allowed import refused

POOL: Final = 200
SEED: Final = 2026
_TRIES_MAX: Final = 20_000


@attrs.frozen
class Persona:
    """A customer who does not exist.

    Attributes:
        name: First and last name; no two personas of a locale share one.
        email: At `example.com`, `example.net` or `example.org`, which belong to nobody.
        phone: As written in their country.
        street: Street and number.
        city: City.
        postcode: As written in their country.
        country: Two letters: `DE`.
        card: Number of a credit card that passes the check digit and belongs to nobody.
    """

    name: str
    email: str
    phone: str
    street: str
    city: str
    postcode: str
    country: str
    card: str


def personas(locale: str = "en_US") -> SearchStrategy[Persona]:
    """Return a strategy for customers: one of 200, which shrinks to the plainest.

    Args:
        locale: As Faker names them: `de_DE`, `ja_JP`.

    Raises:
        InvalidDefinition: It is no text; or, when the test starts, Faker knows no such locale.
    """
    if not isinstance(locale, str):
        raise refused("personas", "locale", "a text such as 'de_DE'", locale)
    return st.deferred(lambda: st.sampled_from(pool(locale)))


@lru_cache(maxsize=32)
def pool(locale: str = "en_US") -> tuple[Persona, ...]:
    """Return the 200 personas of a locale, the plainest first: ASCII, and the shortest name."""
    from faker import Faker

    try:
        faker = Faker(locale)
    except AttributeError as error:
        raise InvalidDefinition(
            f"Faker knows no locale {locale!r}: {error}. Write it as 'en_US' or 'de_DE'."
        ) from None
    faker.seed_instance(SEED)
    found: dict[str, Persona] = {}
    for _ in range(_TRIES_MAX):
        if len(found) == POOL:
            break
        persona = _persona(faker, locale)
        found.setdefault(persona.name, persona)
    return tuple(sorted(found.values(), key=lambda one: _plainness(one.name)))


def _persona(faker: Any, locale: str) -> Persona:
    first, last = faker.first_name(), faker.last_name()
    spelled = unicodedata.normalize("NFKD", f"{first}.{last}").encode("ascii", "ignore").decode()
    mailbox = "".join(c for c in spelled.lower() if c.isalnum() or c == ".").strip(".")
    return Persona(
        name=f"{first} {last}",
        email=f"{mailbox}@example.com" if mailbox else faker.ascii_safe_email(),
        phone=faker.phone_number(),
        street=faker.street_address(),
        city=faker.city(),
        postcode=faker.postcode(),
        country=locale.rpartition("_")[2],
        card=faker.credit_card_number(),
    )


def _plainness(name: str) -> tuple[bool, int, int, str]:
    letters = sum(not (c.isascii() and c.isalpha()) for c in name)
    return (not name.isascii(), letters, len(name), name)
