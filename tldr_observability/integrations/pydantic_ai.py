"""pydantic-ai's own spans and metrics of agents, models and tools, without what was said unless that is asked for."""

from __future__ import annotations

from typing import Any, Final

from tldr_observability.catalogue.ai import TOKEN_USAGE
from tldr_observability.errors import MissingExtraError
from tldr_observability.instruments import automatic, release

__all__ = ["instrument", "uninstrument"]

_FORMAT: Final = 5
"""pydantic-ai's number for the form of its spans. 6 renames roles in messages, for who asks for it."""
_KINDS: Final = ("Agent", "Embedder", "ImageGenerator")

_before: dict[Any, Any] = {}


def instrument(*, content: bool) -> str:
    """Observe every agent that has no instrumentation of its own; a second call replaces the first.

    So are embedders and image generators, where pydantic-ai has them.

    Args:
        content: export what is said as well: prompts, answers, arguments and results of tools, images, and what an
            exception says about them.

    Returns:
        A sentence for the report.

    Raises:
        MissingExtraError: pydantic-ai is not installed.
    """
    try:
        import pydantic_ai
    except ImportError:
        raise MissingExtraError("LOGFIRE_PYDANTIC_AI_ENABLED=true", "pydantic-ai") from None
    settings = pydantic_ai.InstrumentationSettings(
        version=_FORMAT,
        include_content=content,
        include_binary_content=content,
        # The schemas of all tools, once more and with their defaults, on each span of a model: tool definitions are
        # there anyway.
        include_model_request_parameters=content,
    )
    for kind in filter(None, (getattr(pydantic_ai, name, None) for name in _KINDS)):
        _before.setdefault(kind, kind._instrument_default)  # noqa: SLF001 - there is no public way to ask
        kind.instrument_all(settings)
    automatic(TOKEN_USAGE)  # pydantic-ai records it: what the service adds by hand must not double it
    return f"agents, models and tools, {'with' if content else 'without'} prompts and answers"


def uninstrument() -> None:
    """Give agents back what they had before, and the service the metric."""
    for kind, before in _before.items():
        kind.instrument_all(before)
    _before.clear()
    release(TOKEN_USAGE)
