"""JSONata expressions `{% ... %}`, through the library jsonata-python, with AWS's own functions.

*Source*: Step Functions developer guide, "Transforming data with JSONata"; the JSONata
expressions among the answers recorded from AWS.
*Not modelled*: `$eval` is refused by AWS and not by the library.
"""

import functools
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from chaosharness.errors import InvalidDefinition
from chaosharness.orchestrators.stepfunctions.errors import QUERY, StateError
from chaosharness.orchestrators.stepfunctions.intrinsics import Chance

__all__ = ["Query", "is_query"]

_HASHES = {"MD5": "md5", "SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384",
           "SHA-512": "sha512"}  # fmt: skip


def is_query(value: Any) -> bool:
    """Whether a value is a JSONata expression: `{%` ... `%}`."""
    return isinstance(value, str) and value.startswith("{%") and value.endswith("%}")


@functools.cache
def _library() -> Any:
    try:
        import jsonata.jsonata
        import jsonata.utils
    except ImportError:
        raise InvalidDefinition(
            "a state machine uses JSONata, and the library jsonata-python is not installed: "
            "pip install 'chaosharness[stepfunctions]'"
        ) from None
    return jsonata


class Query:
    """Evaluates expressions of one execution: `names` are what `$name` may stand for."""

    def __init__(self, names: Mapping[str, Any], chance: Chance, now_ms: int) -> None:
        library = _library()
        null = library.utils.Utils.NULL_VALUE
        self._null = null
        self._bindings: dict[str, Any] = {
            name: _with_null(value, null) for name, value in names.items()
        }
        functions = {
            "partition": _partition,
            "range": self._range,
            "hash": _hash,
            "parse": lambda text: _with_null(json.loads(text), null),
            "random": lambda seed=None: chance.fraction(seed),
            "uuid": chance.uuid,
            "now": lambda *_: _iso(now_ms),
            "millis": lambda: now_ms,
        }
        wrap = library.jsonata.Jsonata.JLambda
        self._bindings.update((name, wrap(function)) for name, function in functions.items())

    def evaluate(self, text: str, field: str) -> Any:
        """The value of `{% ... %}`; raises StateError with the sentence that AWS prints."""
        inner = text[2:-2].strip()
        try:
            found = _compiled(inner).evaluate(None, self._bindings)
        except Exception as error:  # the library raises whatever its functions raise
            code = getattr(error, "error", None)
            words = f"{code}: {error}" if code else str(error)
            raise StateError(
                QUERY,
                f"The JSONata expression '{inner}' specified for the field '{field}' threw an "
                f"error during evaluation. {words}",
                field,
                evaluated=True,
            ) from None
        if found is None:
            raise StateError(
                QUERY,
                f"The JSONata expression '{inner}' specified for the field '{field}' returned "
                "nothing (undefined).",
                field,
                evaluated=True,
            )
        return _plain(found, self._null)

    def _range(self, first: Any, last: Any, step: Any) -> Any:
        numbers = list(range(int(first), int(last) + (1 if step > 0 else -1), int(step)))
        return _library().utils.Utils.create_sequence_from_iter(numbers)


@functools.lru_cache(maxsize=1024)
def _compiled(inner: str) -> Any:
    library = _library()
    expression = library.jsonata.Jsonata(inner)
    expression.set_output_convert_nulls(False)
    return expression


def _with_null(value: Any, null: Any) -> Any:
    """JSON's null as the library's own, so that it is not taken for nothing."""
    if value is None:
        return null
    if isinstance(value, Mapping):
        return {key: _with_null(each, null) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_null(each, null) for each in value]
    return value


def _plain(value: Any, null: Any) -> Any:
    if value is null:
        return None
    if isinstance(value, Mapping):
        return {key: _plain(each, null) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each, null) for each in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _partition(values: list[Any], size: int) -> list[list[Any]]:
    return [values[at : at + int(size)] for at in range(0, len(values), int(size))]


def _hash(text: str, algorithm: str) -> str:
    return hashlib.new(_HASHES[algorithm], text.encode()).hexdigest()


def _iso(now_ms: int) -> str:
    moment = datetime.fromtimestamp(now_ms / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now_ms % 1000:03d}Z"
