"""The exceptions of this package; each is also the built-in that a caller would expect."""

from __future__ import annotations

__all__ = ["ConfigurationError", "MissingExtraError", "ObservabilityError"]


class ObservabilityError(Exception):
    """Base of everything that this package raises on purpose. Raised at set-up, never at run time."""


class ConfigurationError(ObservabilityError, ValueError):
    """The set-up can't be carried out as asked; the message lists every problem found, one a line.

    Attributes:
        problems: the same, one sentence each.
    """

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems) if len(problems) == 1 else "\n  - ".join(("several problems:", *problems)))


class MissingExtraError(ObservabilityError, ImportError):
    """Something was asked for by name whose library is not installed; the message names the extra to install."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an extra that is not installed: pip install 'tldr-observability[{extra}]'")
