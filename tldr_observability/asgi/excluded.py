"""The paths that leave no telemetry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tldr_observability.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["DEFAULT", "ExcludedPaths"]

DEFAULT = ("/health", "/healthz", "/livez", "/ready", "/readyz", "/metrics")


class ExcludedPaths:
    """Tells whether a path is excluded.

    Args:
        patterns: `"/health"` means `/health` and everything below it, `"/internal*"` everything that starts so, `"/"`
            only the root itself.
    """

    __slots__ = ("_exact", "_prefixes", "patterns")

    def __init__(self, patterns: Iterable[str]) -> None:
        if isinstance(patterns, str):
            raise ConfigurationError(f"excluded_paths: expected several paths such as ('/health',), got {patterns!r}")
        self.patterns = tuple(patterns)
        for pattern in self.patterns:
            if not isinstance(pattern, str) or not pattern.startswith("/"):
                raise ConfigurationError(f"excluded_paths: expected paths that start with '/', got {pattern!r}")
        trees = [pattern.rstrip("/") for pattern in self.patterns if not pattern.endswith("*")]
        self._exact = frozenset(tree or "/" for tree in trees)
        self._prefixes = (
            *(f"{tree}/" for tree in trees if tree),
            *(pattern[:-1] for pattern in self.patterns if pattern.endswith("*")),
        )

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and (path in self._exact or path.startswith(self._prefixes))
