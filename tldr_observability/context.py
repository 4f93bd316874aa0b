"""Who a piece of work is done for: set once, stamped on every later span, log record and child.

Two kinds of facts, with two reaches:

* **Identity** (correlation id, organization, user, API key) belongs to the request or task as a whole. It is known to
  everything that runs on its behalf, threads included: a synchronous FastAPI dependency that authenticates the caller
  runs in a copy of the context, and what it learns must still reach the endpoint and the server span. The last word
  counts, wherever in the request it was said.
* **Processing facts** (stream, batch, platform, stage) belong to the asyncio task or thread that set them and to its
  children: two streams processed side by side must not mix.

`begin_unit` opens a request or task and `end_unit` closes it; afterwards nothing of it is left in the caller's context.
None of this ever comes in or goes out by W3C baggage.
"""

from __future__ import annotations

import os
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, NamedTuple

from tldr_observability import semconv

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextvars import Token

__all__ = [
    "add_processing_context",
    "add_user_context",
    "attributes",
    "begin_unit",
    "clean_correlation_id",
    "end_unit",
    "get_correlation_id",
    "hand_over",
    "resume_unit",
    "set_correlation_id",
    "snapshot",
]

MAX_VALUE_LENGTH = 256
MAX_CORRELATION_ID_LENGTH = 128

_IDENTITY: Final = (semconv.TLDR_CORRELATION_ID, semconv.TLDR_ORGANIZATION_ID, semconv.USER_ID, semconv.TLDR_API_KEY_ID)
_PROCESSING: Final = (semconv.TLDR_STREAM_ID, semconv.TLDR_BATCH_ID, semconv.TLDR_PLATFORM, semconv.TLDR_STAGE)


class _Frame(NamedTuple):
    own: Mapping[str, str]
    """What this task and its children set; replaced, never changed, so that siblings don't see each other's."""
    unit: dict[str, str] | None
    """Identity of the whole request or task, shared by everything that works on it."""


_EMPTY = _Frame({}, None)
_frame: ContextVar[_Frame] = ContextVar("tldr_observability_context", default=_EMPTY)


def begin_unit(correlation_id: str | None = None) -> Token[_Frame]:
    """Open a request or task with a context of its own that inherits nothing; hand the token to `end_unit`."""
    return _frame.set(_Frame({}, {} if correlation_id is None else {semconv.TLDR_CORRELATION_ID: correlation_id}))


def resume_unit(facts: Mapping[str, object]) -> Token[_Frame]:
    """Open a task with the context of whoever asked for it, and nothing else; hand the token to `end_unit`.

    Args:
        facts: what `snapshot` gave there. It came over a wire: what is no fact or no text is left out.
    """
    known = {key: value[:MAX_VALUE_LENGTH] for key, value in facts.items() if isinstance(value, str)}
    correlation_id = clean_correlation_id(known.pop(semconv.TLDR_CORRELATION_ID, ""))
    if correlation_id is not None:
        known[semconv.TLDR_CORRELATION_ID] = correlation_id
    return _frame.set(_Frame(_only(_PROCESSING, known), _only(_IDENTITY, known)))


def end_unit(token: Token[_Frame]) -> None:
    """Close what `begin_unit` opened and restore the context from before."""
    token.var.reset(token)


def hand_over() -> Callable[[], Token[_Frame]]:
    """Let another thread work in the current context: it calls the answer when it begins, `end_unit` when it ends.

    What it learns about the caller is known to the whole request, and nothing of it stays in the thread.
    """
    frame = _frame.get()
    return lambda: _frame.set(frame)


def attributes() -> Mapping[str, str]:
    """The current context as attributes; empty when nothing was set."""
    own, unit = _frame.get()
    if not unit:
        return own
    return {**unit, **own}  # a copy, too: other threads of the request may add to it


def snapshot() -> dict[str, str]:
    """The current context as it can be sent to another process, for `resume_unit` there."""
    return dict(attributes())


def set_correlation_id(correlation_id: str | None = None) -> str:
    """Give the current request or task a correlation id; without an argument a new one is made.

    Characters other than visible ASCII are dropped and the rest is cut at 128 characters, for the id travels in headers
    and logs. Returns the id in force.
    """
    given = clean_correlation_id(correlation_id) if correlation_id is not None else None
    correlation_id = given or os.urandom(16).hex()
    _set_identity({semconv.TLDR_CORRELATION_ID: correlation_id})
    return correlation_id


def get_correlation_id() -> str | None:
    """The correlation id of the current request or task, or None outside of any."""
    return attributes().get(semconv.TLDR_CORRELATION_ID)


def add_user_context(organization_id: object = None, user_id: object = None, api_key_id: object = None) -> None:
    """Say on whose behalf the current request or task works; None leaves a fact as it was.

    The values reach every later span and log record of the request (from its threads and tasks as well) and the server
    span itself. Pass the id of an API key, never the key.
    """
    _set_identity(
        _texts(
            (semconv.TLDR_ORGANIZATION_ID, organization_id),
            (semconv.USER_ID, user_id),
            (semconv.TLDR_API_KEY_ID, api_key_id),
        )
    )


def add_processing_context(
    stream_id: object = None, batch_id: object = None, platform: object = None, processing_stage: object = None
) -> None:
    """Say what the current asyncio task or thread is working on; None leaves a fact as it was.

    The values reach every later span and log record of this task and of the tasks that it starts.
    """
    _set_own(
        _texts(
            (semconv.TLDR_STREAM_ID, stream_id),
            (semconv.TLDR_BATCH_ID, batch_id),
            (semconv.TLDR_PLATFORM, platform),
            (semconv.TLDR_STAGE, processing_stage),
        )
    )


def clean_correlation_id(value: str) -> str | None:
    """Reduce a value from outside to what may be echoed and logged; None when nothing of it is left."""
    # The slice comes first: a header of megabytes is cut before anything walks it.
    return (
        "".join(c for c in value[: 4 * MAX_CORRELATION_ID_LENGTH] if "!" <= c <= "~")[:MAX_CORRELATION_ID_LENGTH]
        or None
    )


def _only(keys: tuple[str, ...], facts: Mapping[str, str]) -> dict[str, str]:
    return {key: facts[key] for key in keys if key in facts}


def _texts(*facts: tuple[str, object]) -> dict[str, str]:
    return {key: text for key, value in facts if value is not None and (text := _text(value))}


def _text(value: object) -> str:
    if isinstance(value, str):
        return value[:MAX_VALUE_LENGTH]
    try:
        return str(value)[:MAX_VALUE_LENGTH]
    except Exception:  # noqa: BLE001 - an id whose __str__ fails must not fail the host
        return f"<{type(value).__name__}>"


def _set_identity(facts: dict[str, str]) -> None:
    unit = _frame.get().unit
    if unit is None:  # outside of any request or task there is only what this task and its children know
        _set_own(facts)
    else:
        unit.update(facts)


def _set_own(facts: dict[str, str]) -> None:
    if facts:
        own, unit = _frame.get()
        _frame.set(_Frame({**own, **facts}, unit))
