"""How a run of a task ended."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from billiard.process import current_process  # type: ignore[import-untyped]
from celery.exceptions import Ignore, Reject, Retry

from tldr_observability.tracing import failures

__all__ = ["CANCELLED", "FAILED", "RETRIED", "SUCCESS", "UNKNOWN", "Ending", "ending", "in_pool_process"]

SUCCESS: Final = failures.SUCCESS
FAILED: Final = failures.FAILED
CANCELLED: Final = failures.CANCELLED
RETRIED: Final = "retried"
"""Not over: the task will run again."""
UNKNOWN: Final = "unknown"
"""The process is about to die with it; the worker's main process, which sees that, has the last word."""


class Ending(NamedTuple):
    """A run's outcome, and the exception that caused it."""

    outcome: str
    error: BaseException | None = None


def ending(state: str | None, result: Any, escaping: BaseException | None) -> Ending:
    """Tell from what Celery says after a run.

    `Ignore` is a task's way of saying that it has seen to its state itself (`replace` raises it), and a success;
    `Reject` is one if the message comes again, and a failure if it doesn't: Celery stores it as one.

    Args:
        state: Celery's, None if it did not get that far.
        result: what was returned, or the exception that Celery took for a result.
        escaping: the exception that leaves Celery's own code with the run.
    """
    error = escaping
    if error is None and state != "SUCCESS" and isinstance(result, BaseException):
        error = result
    if error is None or isinstance(error, Ignore):
        return Ending(SUCCESS)
    return Ending(_outcome(error), None if _was_told_to_end(error) else error)


def _outcome(error: BaseException) -> str:
    match error:
        case Retry():
            return RETRIED
        case Reject():
            return RETRIED if error.requeue else FAILED
        case SystemExit() | KeyboardInterrupt() if in_pool_process():
            return UNKNOWN
        case _:
            return failures.outcome(error)


def _was_told_to_end(error: BaseException) -> bool:
    """Whether it is the pool's answer to a signal rather than the task's own `sys.exit`."""
    return isinstance(error, SystemExit) and isinstance(error.code, int) and error.code < 0 and in_pool_process()


def in_pool_process() -> bool:
    """Whether this is one of the processes that a Celery worker has started, rather than its main one."""
    return bool(current_process().name != "MainProcess")
