"""Imports that may be under way in this or another thread: whether one is, and one that gives way."""

from __future__ import annotations

import sys
from importlib import import_module

__all__ = ["import_unless_deadlocked", "is_being_imported"]


def is_being_imported(name: str) -> bool:
    """Whether a module is there and not yet complete."""
    return bool(getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False))


def import_unless_deadlocked(name: str) -> None:
    """Import a module; where threads collide in their imports, leave it to whoever comes next."""
    try:
        import_module(name)
    except RuntimeError as error:
        if type(error).__name__ != "_DeadlockError":
            raise
