"""What `tracing` needs of `capture`, loaded at the first value that is captured.

Most programs import the decorators and capture nothing before their first request: they shouldn't pay for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tldr_observability.capture import attributes, exception_attributes, is_tame, text

__all__ = ["attributes", "exception_attributes", "is_tame", "text"]


def __getattr__(name: str) -> object:
    """Take a function of `capture` over, once; from then on it is found without detour (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module("tldr_observability.capture"), name)
    globals()[name] = value
    return value
