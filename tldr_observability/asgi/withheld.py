"""What a request says of itself, without secrets, where nobody further on takes them out."""

from __future__ import annotations

from tldr_observability._record import record

__all__ = ["header", "path", "query"]


def path(value: str) -> str:
    """A path; the tokens in it are withheld."""
    if record.redacts:
        return value
    from tldr_observability.redaction import rules  # its expressions take a while to compile

    return rules.path(value)


def query(value: str) -> str:
    """A query string; the values of parameters that are secret are withheld."""
    if record.redacts:
        return value
    from tldr_observability.redaction import rules

    return rules.query(value)


def header(name: str, value: str) -> str:
    """A header's value; that of a secret one is withheld."""
    if record.redacts:
        return value
    from tldr_observability.redaction import rules

    return rules.header(name, value)
