"""Why the processing of a stream fails: a code for programs, and a reason for the customer."""

from __future__ import annotations

__all__ = ["StreamFailure"]


class StreamFailure(Exception):  # noqa: N818 - what happens to a stream
    """The stream can't be processed, and trying again would not help.

    Args:
        code: bounded: `source_not_found`, `source_unreachable`, `source_interrupted`, `source_forbidden` (the service
            must not go there), `not_a_video`, `no_video`, `picture_too_large`,
            `platform_unavailable`, `minutes_exceeded`,
            `processing_interrupted`, `storage_unavailable`, `database_unavailable`, `internal_error`.
        reason: a sentence that the customer understands. It holds no secret and no address of ours.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.code}: {self.reason}"
