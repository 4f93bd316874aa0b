"""A report as lines of text and as a document for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tldr_observability.cli.verification.evidence import State
from tldr_observability.cli.verification.words import listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tldr_observability.cli.verification import Report
    from tldr_observability.cli.verification.evidence import Verdict

__all__ = ["document", "render"]

_COLOURS = {State.HOLDS: "32", State.FAILS: "31", State.UNSEEN: "33"}


def render(report: Report, *, colour: bool) -> str:
    """One line a check, and what was left out."""
    return "\n".join(_lines(report, colour=colour))


def document(report: Report | None, problem: str | None = None) -> dict[str, Any]:
    """The report as JSON has it; the keys are always the same.

    Args:
        report: None where it couldn't be run.
        problem: why not.
    """
    exercised = report.exercised if report else None
    return {
        "ok": report is not None and report.ok,
        "problem": problem,
        "endpoint": report.endpoint if report else None,
        "url": exercised.url if exercised else None,
        "requests": [
            {
                "request": str(sent.request),
                "status": sent.status,
                "problem": sent.problem or None,
                "trace_id": sent.trace_id,
            }
            for sent in (exercised.sent if exercised else ())
        ],
        "skipped": list(exercised.skipped) if exercised else [],
        "checks": [
            {
                "check": verdict.check,
                "claim": verdict.claim,
                "verdict": verdict.state.value.lower(),
                "detail": verdict.detail,
                "fix": verdict.fix or None,
                **verdict.facts,
            }
            for verdict in (report.verdicts if report else ())
        ],
    }


def _lines(report: Report, *, colour: bool) -> Iterator[str]:
    for verdict in report.verdicts:
        state = f"{verdict.state:<4}"
        if colour:
            state = f"\x1b[{_COLOURS[verdict.state]}m{state}\x1b[0m"
        yield f"{state}  {_sentence(verdict)}"
    if report.exercised.skipped:
        yield f"      (not asked, for they leave no trace by default: {listed(report.exercised.skipped)})"


def _sentence(verdict: Verdict) -> str:
    return f"{verdict.claim}: {'; '.join(filter(None, (verdict.detail, verdict.fix)))}"
