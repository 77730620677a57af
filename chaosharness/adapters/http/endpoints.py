"""What a web application calls the function that answers a request: the name that sites have.

Asked of the application's own routing, whichever framework that is; none is imported for it.
"""

from __future__ import annotations

import re
import sys
from typing import Any, Final

from chaosharness.adapters.http.routes import split

_FULL: Final = 2  # of starlette's `Match`
_NUMBER: Final = re.compile(r"\d+|[0-9a-fA-F-]{12,}|\w*\d\w*")
_NO_NAME: Final = re.compile(r"\W+")
_WRAPPERS_MAX: Final = 20


def endpoint_of(application: Any, method: str, path: str) -> str:
    """Return the name of the function that answers, or else the method and path as a name.

    Parts of a path that hold digits are folded, so that each order is not an operation of its own.
    """
    try:
        found = _routed(application, method, path)
    except Exception:  # no route, or a framework that we know too little of
        found = None
    if found is not None:
        return found
    parts = ("id" if _NUMBER.fullmatch(one) else _NO_NAME.sub("_", one) for one in split(path))
    return "_".join((method.lower(), *parts))


def _routed(application: Any, method: str, path: str) -> str | None:
    for _ in range(_WRAPPERS_MAX):
        if hasattr(application, "routes"):
            return _in_starlette(application, method, path)
        if hasattr(application, "router"):
            return _in_aiohttp(application, method, path)
        if hasattr(application, "url_map"):
            return _in_flask(application, method, path)
        if type(application).__module__.startswith("django."):
            return _in_django(path)
        inner = getattr(application, "app", None) or getattr(application, "wsgi_app", None)
        if inner is None:
            return None
        application = inner
    return None


def _in_starlette(application: Any, method: str, path: str) -> str | None:
    scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": []}
    for route in application.routes:
        match, inner = route.matches(scope)
        if match.value != _FULL:
            continue
        endpoint = inner.get("endpoint")
        if endpoint is None:  # FastAPI 0.165: a router that was included
            endpoint = getattr(route, "original_router", None)
            path = path.removeprefix(getattr(route.include_context, "prefix", ""))
        below = inner.get("root_path", "")
        if hasattr(endpoint, "routes"):
            return _in_starlette(endpoint, method, path.removeprefix(below))
        return _name(endpoint)
    return None


def _in_aiohttp(application: Any, method: str, path: str) -> str | None:
    for route in application.router.routes():
        told = {} if route.resource is None else route.resource.get_info()
        pattern = told.get("pattern")
        is_here = path == told.get("path") if pattern is None else pattern.fullmatch(path)
        if is_here and route.method in (method, "*"):
            return _name(route.handler)
    return None


def _in_flask(application: Any, method: str, path: str) -> str | None:
    endpoint, _ = application.url_map.bind("").match(path, method=method)
    return _name(application.view_functions[endpoint])


def _in_django(path: str) -> str | None:
    function = sys.modules["django.urls"].resolve(path).func
    return _name(getattr(function, "view_class", function))


def _name(function: Any) -> str | None:
    name = getattr(function, "__name__", None)
    return None if name is None or not name.isidentifier() else str(name)
