"""The template of the route that served a request: `/tenants/{tenant}/orders/{id}`, whatever was in the path.

Routers of the Starlette family leave the route, or at least its endpoint, in the scope. Where it hangs (mounts,
included routers) only the tree of routes knows, so that tree is flattened once into a table: full template by route.
Nothing of a request's own path becomes part of a template.
"""

from __future__ import annotations

import re
import sys
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["Entry", "RouteTable"]

MAX_DEPTH = 16
MAX_ROUTES = 20_000
MAX_ROOTS = 64
MAX_TEMPLATE_LENGTH = 256
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 300.0
_BELOW = "/{path}"
_PARAMETER = re.compile(r"\{[^{}]*\}")


class Entry(NamedTuple):
    """What the scope said of its place when the request came in."""

    root_path: str
    mounted_at: str | None
    """The template of the mount that we are in; None outside of any."""

    @classmethod
    def of(cls, scope: Mapping[str, Any]) -> Entry:
        """Note the place of a request that has not been routed yet."""
        root_path = str(scope.get("root_path") or "")
        app_root_path = scope.get("app_root_path")
        if app_root_path is None:
            return cls(root_path, None)
        return cls(root_path, _with_names(root_path, scope.get("path_params") or {}))


def _with_names(prefix: str, path_params: Mapping[str, Any]) -> str:
    names = {str(value): name for name, value in path_params.items()}
    return "/".join(f"{{{names[part]}}}" if part in names else part for part in prefix.split("/"))


class _Place(NamedTuple):
    route: object
    """Held so that its id stays its own for as long as the table stands."""
    template: str


class RouteTable:
    """Finds the template of a routed request for one wrapped app.

    Args:
        app: what the middleware wraps, or the app that it was added to.
    """

    def __init__(self, app: object) -> None:
        self._app = app
        self._places: dict[int, list[_Place]] = {}
        self._roots: set[str] = set()
        self._pause = _SHORTEST_PAUSE
        self._next_build = float("-inf")

    def template(self, scope: Mapping[str, Any], entry: Entry) -> str | None:
        """The full template, the root path and mounts included; None where nothing was routed."""
        if entry.mounted_at is not None:
            root, shown = entry.root_path, entry.mounted_at
        else:
            root = shown = str(scope.get("app_root_path", scope.get("root_path")) or "")
        local = self._find(scope, root)
        return None if local is None else ((self._bounded_root(shown) + local) or "/")[:MAX_TEMPLATE_LENGTH]

    def _find(self, scope: Mapping[str, Any], root: str) -> str | None:
        route, endpoint = scope.get("route"), scope.get("endpoint")
        if route is None and endpoint is None:
            return None
        places = self._places.get(id(route)) or self._places.get(id(endpoint))
        if places is None and time.monotonic() >= self._next_build:
            self._build(scope.get("app"))
            places = self._places.get(id(route)) or self._places.get(id(endpoint))
            # A route may be added at any time; one that is in no tree must not make us look again and again.
            self._pause = _SHORTEST_PAUSE if places is not None else min(2 * self._pause, _LONGEST_PAUSE)
            self._next_build = time.monotonic() + self._pause
        if places is None:
            own = getattr(route, "path_format", None)
            return own if isinstance(own, str) else None
        if len(places) > 1:
            path = str(scope.get("path") or "").removeprefix(root)
            for place in places:
                if _pattern(place.template).fullmatch(path):
                    return place.template
        return places[0].template

    def _build(self, app_of_scope: object) -> None:
        places: dict[int, list[_Place]] = {}
        for count, (keys, template) in enumerate(_walk(_routes(self._app) or _routes(app_of_scope), "", 0)):
            if count >= MAX_ROUTES:
                break
            for key in keys:
                places.setdefault(id(key), []).append(_Place(key, template))
        self._places = places

    def _bounded_root(self, root: str) -> str:
        """The root path as long as it is one of a few; some proxies let callers choose it."""
        root = root.rstrip("/")
        if root in self._roots or not root:
            return root
        if len(self._roots) >= MAX_ROOTS or len(root) > MAX_TEMPLATE_LENGTH:
            return ""
        self._roots.add(root)
        return root


def _routes(app: object) -> list[Any]:
    """The routes of an app under any number of middlewares; empty when it has none."""
    for _ in range(MAX_DEPTH):
        if app is None:
            break
        routes = getattr(app, "routes", None)
        if isinstance(routes, (list, tuple)):
            return list(routes)
        app = getattr(app, "app", None)
    return []


def _walk(routes: Iterable[Any], prefix: str, depth: int) -> Iterator[tuple[list[object], str]]:
    """The full template of every route, with the objects by which a scope may name it."""
    if depth > MAX_DEPTH:
        return
    # FastAPI's included routers share their routes; a context shows each as it hangs in this place.
    in_place = getattr(sys.modules.get("fastapi.routing"), "iter_route_contexts", iter)
    for route in in_place(routes):
        own = getattr(route, "path_format", None)
        keys = [getattr(route, "original_route", route)]
        if hasattr(route, "endpoint") and route.endpoint is not None:
            keys.append(route.endpoint)
            if isinstance(own, str):
                yield keys, prefix + own
        elif hasattr(route, "app"):
            inner = prefix + (own.removesuffix(_BELOW) if isinstance(own, str) else "")
            yield from _walk(_routes(route.app) or _routes(route), inner, depth + 1)
            if isinstance(own, str):
                yield [*keys, route.app], inner + _BELOW


@lru_cache(1024)
def _pattern(template: str) -> re.Pattern[str]:
    pieces = _PARAMETER.split(template.removesuffix(_BELOW))
    return re.compile("[^/]*".join(map(re.escape, pieces)) + ("/.*" if template.endswith(_BELOW) else ""))
