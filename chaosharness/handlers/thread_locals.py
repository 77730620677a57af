"""What `threading.local` keeps, for each thread of a run: there is one real thread for all of them.

The interpreter keeps these values in a dict of the real thread. They are exchanged there when a
thread of a run goes on, and when it stops.

Source:
    CPython 3.11 and 3.12, `Modules/_threadmodule.c`: the keys of `threading.local`.

Not modelled:
    Python 3.13 keeps them where no code gets at them: the threads of a run share them there.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

_KEY: Final = "thread.local."

_dict: Final = ctypes.pythonapi.PyThreadState_GetDict
_dict.restype = ctypes.c_void_p  # a borrowed reference: `py_object` would take it for ours
_dict.argtypes = ()


def kept_for_thread() -> dict[Any, Any]:
    """Return the dict that the interpreter keeps for the real thread."""
    address = _dict()
    found = ctypes.cast(address, ctypes.py_object).value if address else {}
    return found if isinstance(found, dict) else {}


def exchange(other: dict[Any, Any]) -> dict[Any, Any]:
    """Put other values in place of those that are there, and return these."""
    here = kept_for_thread()
    found = {  # asked at each switch of threads: no call for each key
        key: here.pop(key) for key in list(here) if isinstance(key, str) and key.startswith(_KEY)
    }
    here.update(other)
    return found
