"""How one request to a backend fared: in words, and what there is to look at."""

from __future__ import annotations

from enum import Enum
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from requests.exceptions import InvalidHeader

from tldr_observability.export.deliver import Answer, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SECONDS", "Finding", "Trouble", "listed", "read", "rejected", "summary"]

SECONDS = 3.0
"""What a backend has for its answers."""


class Trouble(Enum):
    """What there is to look at when a request was not taken."""

    TOKEN = "token"  # noqa: S105 - a kind of trouble
    ADDRESS = "address"
    BACKEND = "backend"
    NOT_SERVED = "not served"
    """The backend answers, but has nothing at this path."""


class Finding(NamedTuple):
    """How one request fared."""

    said: str
    trouble: Trouble | None = None


_SILENCE = Finding(f"no answer in {SECONDS:g} s", Trouble.ADDRESS)
_KNOWN_REASONS = {
    "no answer in time": _SILENCE,
    InvalidHeader.__name__: Finding("the token holds characters that can't be sent", Trouble.TOKEN),
}


def read(outcome: Outcome | None) -> Finding:
    """Read what `Delivery` has to say; None is no answer at the deadline."""
    if outcome is None:
        return _SILENCE
    if outcome.answer is Answer.DELIVERED:
        return Finding("taken")
    reason = outcome.reason if outcome.reason.isprintable() else repr(outcome.reason)
    status = int(reason[:3]) if reason[:3].isdigit() else 0
    if outcome.answer is Answer.DENIED:
        return rejected(status)
    if not status:
        return _KNOWN_REASONS.get(reason) or Finding(f"does not answer: {reason}", Trouble.ADDRESS)
    return Finding(f"answers {reason}", _trouble(status, outcome.answer))


def rejected(status: int) -> Finding:
    """The backend does not accept the token."""
    return Finding(f"token rejected ({status})", Trouble.TOKEN)


def summary(findings: Mapping[str, Finding]) -> str:
    """One sentence for the findings by signal."""
    by_answer: dict[str, list[str]] = {}
    for signal, finding in findings.items():
        by_answer.setdefault(finding.said, []).append(signal)
    if len(by_answer) == 1:
        return next(iter(by_answer))
    return "; ".join(f"{listed(signals)}: {said}" for said, signals in by_answer.items())


def listed(names: list[str]) -> str:
    """`a, b and c`."""
    return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]


def _trouble(status: int, answer: Answer) -> Trouble:
    if status == HTTPStatus.NOT_FOUND:
        return Trouble.NOT_SERVED
    return Trouble.BACKEND if answer is Answer.RETRY else Trouble.ADDRESS
