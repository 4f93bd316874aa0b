"""What an app says of itself, made fit for one line of a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["counted", "listed", "shown"]

_MOST_CHARACTERS = 120
_MOST_LISTED = 5


def shown(text: object) -> str:
    """A name as it is, cut to a length; escaped where it could do something to the terminal."""
    line = str(text)
    line = line if line.isprintable() else ascii(line)
    return line if len(line) <= _MOST_CHARACTERS else f"{line[: _MOST_CHARACTERS - 3]}..."


def listed(names: Iterable[object]) -> str:
    """The different ones among some names: the first few, and how many more there are."""
    different = list(dict.fromkeys(map(shown, names)))
    more = f" and {len(different) - _MOST_LISTED} more" if len(different) > _MOST_LISTED else ""
    return ", ".join(different[:_MOST_LISTED]) + more


def counted(number: int, noun: str) -> str:
    """A number with its noun, in the plural where there are several or none."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
