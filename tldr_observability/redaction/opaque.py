"""Whether a string looks as if drawn at random from letters of both cases and digits."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["is_opaque"]

_RUN: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_LEAST_LETTERS_PER_RUN: Final = 3.5
_FEWEST_DIGITS: Final = 2


def is_opaque(value: str) -> bool:
    """Tell a token from a slug, a file name, a hash and a UUID: its kind of character changes all the time."""
    runs = _RUN.findall(value)
    digits = sum(map(len, (run for run in runs if run[0].isdigit())))
    return (
        len(runs) * _LEAST_LETTERS_PER_RUN >= len(value)
        and digits >= _FEWEST_DIGITS
        and any(run[0].isupper() for run in runs)
        and any(run[-1].islower() for run in runs)
    )
