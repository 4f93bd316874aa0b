"""What an app's OpenAPI document says can be asked of it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

from tldr_observability.asgi.excluded import DEFAULT, ExcludedPaths

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Routes", "read"]

_PARAMETER = re.compile(r"\{[^{}]*\}")
_UNKNOWN = "no-such-thing"


class Routes(NamedTuple):
    """The routes that matter here."""

    plain: Sequence[str] = ()
    """Answer a GET, have no parameters in their path, and are traced by default."""
    untraced: Sequence[str] = ()
    """The same, but left out of the traces by default: health checks."""
    suggestions: Mapping[str, str] = {}
    """By what it may cause, `task` or `error`, a request worth trying."""


def read(document: bytes) -> Routes:
    """The routes of an OpenAPI document; none where it isn't one."""
    try:
        paths = json.loads(document)["paths"]
        methods = {path: set(each) for path, each in paths.items() if _is_path(path) and isinstance(each, dict)}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return Routes()
    gets = [path for path, known in methods.items() if "get" in known]
    plain = [path for path in gets if not _PARAMETER.search(path)]
    excluded = ExcludedPaths(DEFAULT)
    return Routes(
        [path for path in plain if path not in excluded],
        [path for path in plain if path in excluded],
        _suggestions(methods, [path for path in gets if _PARAMETER.search(path)]),
    )


def _suggestions(methods: Mapping[str, set[str]], lookups: Sequence[str]) -> dict[str, str]:
    found = {}
    posts = [path for path, known in methods.items() if "post" in known and not _PARAMETER.search(path)]
    if posts:
        found["task"] = f"POST {posts[0]} {{...}}"
    if lookups:
        found["error"] = f"GET {_PARAMETER.sub(_UNKNOWN, lookups[0])}"
    return found


def _is_path(path: str) -> bool:
    return path.startswith("/") and path.isprintable() and " " not in path and "'" not in path
