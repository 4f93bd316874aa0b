"""Lines for a person: headings, one line that changes while something goes on, and plain lines in a file."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time
from pathlib import Path

__all__ = ["WIDTH", "Progress", "heading", "say", "short", "wrapped"]

WIDTH = 110


def say(text: str = "") -> None:
    """Print a line, now."""
    print(text, flush=True)


def heading(text: str) -> None:
    """Begin a part of the report."""
    say(f"\n{text}\n{'-' * len(text)}")


def wrapped(text: str, indent: int, first: int) -> str:
    """Text in lines that begin at a column, the first of which has `first` columns before it already."""
    return textwrap.fill(text, WIDTH, initial_indent=" " * first, subsequent_indent=" " * indent)[first:]


def short(path: Path) -> str:
    """A path as one would type it here."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


class Progress:
    """What goes on, in one line that changes on a terminal, in a line for each change elsewhere."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._last = ""
        self._on_terminal = sys.stdout.isatty()

    def show(self, text: str) -> None:
        """Say what goes on now."""
        if self._on_terminal:
            line = f"  {time.monotonic() - self._began:5.1f} s  {text}"
            room = min(WIDTH, shutil.get_terminal_size().columns) - 1
            print(f"\r{line[:room]:<{room}}", end="", flush=True)
        elif text != self._last:
            say(f"  {time.monotonic() - self._began:5.1f} s  {text}")
        self._last = text

    def end(self) -> None:
        """Leave the line as it is."""
        if self._on_terminal and self._last:
            say()
