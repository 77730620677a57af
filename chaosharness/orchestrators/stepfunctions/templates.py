"""Payload templates: `{"order.$": "$.id"}` in JSONPath, `{"order": "{% $states.input.id %}"}`."""

import json
from collections.abc import Mapping
from typing import Any

from chaosharness.orchestrators.stepfunctions.errors import RUNTIME, StateError
from chaosharness.orchestrators.stepfunctions.intrinsics import Chance, compile_call, is_call
from chaosharness.orchestrators.stepfunctions.paths import NoSuchPath, Scope, compile_path
from chaosharness.orchestrators.stepfunctions.queries import Query, is_query

__all__ = ["fill", "fill_queries", "read_field"]


def fill(template: Any, scope: Scope, chance: Chance) -> Any:
    """The value of a JSONPath template: each key that ends in `.$` is a path or a call."""
    if isinstance(template, Mapping):
        filled: dict[str, Any] = {}
        for key, value in template.items():
            if key.endswith(".$"):
                filled[key[:-2]] = read_field(value, key, scope, chance)
            else:
                filled[key] = fill(value, scope, chance)
        return filled
    if isinstance(template, list):
        return [fill(each, scope, chance) for each in template]
    return template


def read_field(text: str, field: str, scope: Scope, chance: Chance) -> Any:
    """A path or a call that stands in a field, with the sentence that AWS prints where it fails."""
    try:
        if is_call(text):
            return compile_call(text).evaluate(scope, chance)
        return compile_path(text).read(scope)
    except NoSuchPath:
        shown = json.dumps(scope.data, separators=(",", ":"), ensure_ascii=False)
        raise StateError(
            RUNTIME,
            f"The JSONPath '{text}' specified for the field '{field}' could not be found in the "
            f"input '{shown}'",
        ) from None


def fill_queries(template: Any, query: Query, field: str) -> Any:
    """The value of a JSONata template: each text `{% ... %}` is an expression."""
    if isinstance(template, Mapping):
        return {
            key: fill_queries(value, query, f"{field}/{key}") for key, value in template.items()
        }
    if isinstance(template, list):
        return [fill_queries(each, query, f"{field}[{n}]") for n, each in enumerate(template)]
    return query.evaluate(template, field) if is_query(template) else template
