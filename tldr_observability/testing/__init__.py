"""What a program exported, as plain values: an OTLP receiver inside the test process and pytest fixtures on top of it.

    def test_checkout(telemetry):
        checkout()
        assert telemetry.span("checkout").attributes["order.items"] == 3

The fixtures come with the package as a pytest plugin (`testing.plugin`); nothing here is loaded before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tldr_observability.testing.receiver import Exchange, OTLPReceiver
    from tldr_observability.testing.telemetry import Event, Link, Log, Metric, Point, Span, Telemetry, total, tree

__all__ = [
    "Event",
    "Exchange",
    "Link",
    "Log",
    "Metric",
    "OTLPReceiver",
    "Point",
    "Span",
    "Telemetry",
    "total",
    "tree",
]

_RECEIVER_NAMES = frozenset({"Exchange", "OTLPReceiver"})


def __getattr__(name: str) -> object:
    """Load the module that holds a public name when the name is first asked for (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "receiver" if name in _RECEIVER_NAMES else "telemetry"
    value: object = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
