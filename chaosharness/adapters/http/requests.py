"""requests, above urllib3, which is met for it: here it is only kept from looking around.

Source:
    requests 2.31 to 2.34, `sessions.py` (`Session.merge_environment_settings`), `utils.py`.

Not modelled:
    Proxies that variables of the environment name: they are this machine's, and of no system.
"""

from __future__ import annotations

from typing import Any, Final

from chaosharness.adapters.dispatch import Library, Seam


def _no_proxies(real: Any, url: str, no_proxy: str | None = None) -> dict[str, str]:
    """Return no proxy: hosts of a run are asked as they are, whatever this machine's variables say.

    Each request looks through all of them twice.
    """
    return {}


LIBRARY: Final = Library(
    "requests",
    tested=">=2.31",
    seams=(Seam("requests.sessions:get_environ_proxies", ("url", "no_proxy"), _no_proxies),),
)
