"""The checklist of a deployment, run against an app at work: exercise it, wait for its telemetry, judge that."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tldr_observability.cli.verification.checks import CHECKS
from tldr_observability.cli.verification.evidence import Evidence, Received, State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tldr_observability.cli.verification.checks import Check
    from tldr_observability.cli.verification.evidence import Verdict
    from tldr_observability.cli.verification.exercise import Exercised
    from tldr_observability.cli.verification.sources import Source

__all__ = ["Report", "judge"]

_LOOK_AGAIN_SECONDS = 0.2


@dataclass(frozen=True)
class Report:
    """What was asked of the app, and what its telemetry says."""

    endpoint: str
    exercised: Exercised
    verdicts: Sequence[Verdict]

    @property
    def ok(self) -> bool:
        """Whether every check holds."""
        return all(verdict.state is State.HOLDS for verdict in self.verdicts)


def judge(
    source: Source,
    exercised: Exercised,
    *,
    seconds: float,
    progress: Callable[[str], None],
    checks: Sequence[Check] = CHECKS,
) -> Report:
    """Ask every check of what arrives, until all hold or the time is over.

    Args:
        source: where the app's telemetry can be read.
        exercised: the requests that the app was sent; none where others cause the telemetry.
        seconds: how long to wait for telemetry.
        progress: told how far it is.
        checks: the checklist.
    """
    deadline = time.monotonic() + seconds
    seen: Received | None = None
    while True:
        received = source.received()
        if seen is None or received.size != seen.size:
            seen = received
            evidence = Evidence(source.endpoint, exercised, received)
            report = Report(source.endpoint, exercised, [check(evidence) for check in checks])
        left = deadline - time.monotonic()
        if report.ok or left <= 0:
            return report
        holding = sum(verdict.state is State.HOLDS for verdict in report.verdicts)
        progress(f"{holding} of {len(checks)} hold, {len(received.spans)} spans so far, {left:.0f} s left")
        time.sleep(min(_LOOK_AGAIN_SECONDS, left))
