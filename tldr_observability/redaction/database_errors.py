"""What databases and their drivers quote in error messages: statements, parameters, the values of a row."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tldr_observability.redaction.match import REDACTED
from tldr_observability.redaction.sql import without_literals
from tldr_observability.redaction.values import is_placeholder

if TYPE_CHECKING:
    from tldr_observability.redaction.match import Withhold

__all__ = ["SIGNS", "redact_database_errors"]

SIGNS: Final = (
    r"\[SQL: |\[parameters: |Key \(|ailing row contains|uplicate entry|invalid input|ncorrect \w+ value"
    r"|query argument \$|portal parameter|near \"|LINE \d|input_value=|[\"']loc[\"']"
)
_BACKGROUND: Final = "(Background on this error"
_SQL: Final = "[SQL: "
_PARAMETERS: Final = "[parameters: "
_END_OF_SQL: Final = re.compile(r"\](?=\s*(?:\\n)?\s*(?:\[parameters: |\[SQL parameters|\(Background)|[\"']?\s*$)")
_QUOTED: Final = (
    # PostgreSQL
    re.compile(
        r"(?P<before>Key \([^\n=]{0,300}\)=\()(?P<value>[^\n]*?)(?P<after>\) (?:already|is |conflicts|in table)|$)",
        re.MULTILINE,
    ),
    re.compile(r"(?P<before>[Ff]ailing row contains \()(?P<value>[^\n]*?)(?P<after>\)\.|$)", re.MULTILINE),
    re.compile(
        r"(?P<before>invalid input (?:syntax|value) for [\w ]{1,60}+: \\?[\"'])(?P<value>[^\n]*?)(?P<after>\\?[\"']?$)",
        re.MULTILINE,
    ),
    re.compile(r"(?P<before>query argument \$\d{1,5}: )(?P<value>[^\n]*?)(?P<after> \([^()\n]*\)$|$)", re.MULTILINE),
    re.compile(r"(?P<before>portal parameter \$\d{1,5} = )(?P<value>[^\n]*)(?P<after>)"),
    # MySQL
    re.compile(r"(?P<before>[Dd]uplicate entry \\?')(?P<value>[^\n]*?)(?P<after>\\?' for key|$)", re.MULTILINE),
    re.compile(r"(?P<before>[Ii]ncorrect \w{1,20}+ value: \\?')(?P<value>[^\n]*?)(?P<after>\\?' for |$)", re.MULTILINE),
    # SQLite
    re.compile(r"(?P<before>near \\?\")(?P<value>[^\n]*?)(?P<after>\\?\": syntax error|$)", re.MULTILINE),
)
_LINE: Final = re.compile(r"(?<=LINE )(\d{1,6}: )([^\n]*+)")


def redact_database_errors(text: str, withhold: Withhold) -> str:
    """The text of an error without what the database quoted of its data."""
    text = _without_statements(text, withhold)
    for pattern in _QUOTED:
        text = pattern.sub(lambda found: _quoted(found, withhold), text)
    return _LINE.sub(lambda found: found[1] + _excerpt(found[2]), text)


def _excerpt(statement: str) -> str:
    """A line of a statement; where its beginning is left out, nobody can tell what is inside of quotes."""
    return "?" if statement.startswith("...") else without_literals(statement)


def _quoted(found: re.Match[str], withhold: Withhold) -> str:
    value = found["value"]
    return found[0] if is_placeholder(value) else found["before"] + withhold(value, "database_error") + found["after"]


def _without_statements(text: str, withhold: Withhold) -> str:
    """Literals out of SQLAlchemy's `[SQL: ...]`, and everything out of its `[parameters: ...]`."""
    pieces: list[str] = []
    done = 0
    last_background = text.rfind(_BACKGROUND)
    while (found := _first(text, done)) is not None:
        begin, sign = found
        start = begin + len(sign)
        if sign is _SQL:
            closing = _END_OF_SQL.search(text, start)
            end = closing.start() if closing else len(text)
            shown = without_literals(text[start:end])
        else:
            end = _end_of_parameters(text, start, last_background)
            value = text[start:end]
            shown = value if is_placeholder(value) else withhold(value, "parameters")
        pieces += text[done:start], shown
        done = end
    return "".join((*pieces, text[done:])) if pieces else text


def _first(text: str, start: int) -> tuple[int, str] | None:
    found = [(at, sign) for sign in (_SQL, _PARAMETERS) if (at := text.find(sign, start)) >= 0]
    return min(found) if found else None


def _end_of_parameters(text: str, start: int, last_background: int) -> int:
    if text.startswith(REDACTED, start):
        return start + len(REDACTED)
    limit = text.find(_BACKGROUND, start) if start <= last_background else len(text)
    closing = text.rfind("]", start, limit)
    return closing if closing >= 0 else limit
