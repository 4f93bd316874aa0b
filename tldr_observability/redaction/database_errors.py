"""What databases and their drivers quote in error messages: statements, parameters, the values of a row."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tldr_observability.redaction.match import REDACTED
from tldr_observability.redaction.nesting import end_of_json_string, is_json
from tldr_observability.redaction.sql import without_literals
from tldr_observability.redaction.values import is_placeholder

if TYPE_CHECKING:
    from tldr_observability.redaction.match import Withhold

__all__ = ["SIGNS", "redact_database_errors"]

SIGNS: Final = (
    r"\[SQL: |\[parameters: |Key \(|ailing row contains|uplicate entry|invalid input|ncorrect \w+ value"
    r"|query argument \$|out of range|malformed \w+ literal|invalid literal|could not convert|COPY \w+, line"
    r"|Command # |args beginning with|portal parameter|near \"|LINE \d|input_value=|[\"']loc[\"']"
)
_BACKGROUND: Final = "(Background on this error"
_SQL: Final = "[SQL: "
_END_OF_SQL: Final = re.compile(r"\](?=\s*(?:\\n)?\s*(?:\[parameters: |\[SQL parameters|\(Background)|[\"']?\s*$)")
_FORMS: Final = (
    # PostgreSQL
    r"(?P<before>Key \([^\n=]{0,300}\)=\()VALUE(?P<after>\) (?:already|is |conflicts|in table)|END)",
    r"(?P<before>[Ff]ailing row contains \()VALUE(?P<after>\)\.|END)",
    r"(?P<before>invalid input (?:syntax|value) for [\w ]{1,60}+: \\?[\"'])VALUE(?P<after>\\?[\"']?END)",
    r"(?P<before>query argument \$\d{1,5}: )VALUE(?P<after> \([^()\n]*\)END|END)",
    r"(?P<before>portal parameter \$\d{1,5} = )VALUE(?P<after>END)",
    r"(?P<before>COPY \w{1,64}+, line \d{1,9}+(?:, column \w{1,64}+)?: \\?\")VALUE(?P<after>\\?\"?END)",
    r"(?P<before>(?:out of range|malformed \w{1,20}+ literal): \\?\")VALUE(?P<after>\\?\"?END)",
    r"(?P<before>value \\?\")(?P<value>[^\n\"]{0,1024}+)(?P<after>\" is out of range)",
    # Python
    r"(?P<before>(?:literal for \w{1,20}+\(\) with base \d+|string to \w{1,20}): \\?[\"'])VALUE(?P<after>\\?[\"']?END)",
    # Redis
    r"(?P<before>Command # \d{1,9}+ \([\w.]{1,64}+ )VALUE(?P<after>\) of pipeline|END)",
    r"(?P<before>args beginning with: \\?[`'])VALUE(?P<after>\\?[`'],? ?END|END)",
    # MySQL
    r"(?P<before>[Dd]uplicate entry \\?')VALUE(?P<after>\\?' for key|END)",
    r"(?P<before>[Ii]ncorrect \w{1,20}+ value: \\?')VALUE(?P<after>\\?' for |END)",
    # SQLite
    r"(?P<before>near \\?\")VALUE(?P<after>\\?\": syntax error|END)",
)
_QUOTED: Final = tuple(
    re.compile(form.replace("VALUE", r"(?P<value>[^\n]*?)").replace("END", "$"), re.MULTILINE) for form in _FORMS
)
_QUOTED_IN_JSON: Final = tuple(
    re.compile(
        form.replace("VALUE", r"(?P<value>(?:[^\n\"\\]|\\[^\n])*?)").replace("END", r"(?:(?=\")|$)"), re.MULTILINE
    )
    for form in _FORMS
)
_LINE: Final = re.compile(r"(?<=LINE )(\d{1,6}: )([^\n]*+)")
_LINE_IN_JSON: Final = re.compile(r"(?<=LINE )(\d{1,6}: )((?:[^\n\"\\]|\\[^\n])*)")
_STATEMENT: Final = re.compile(r"\[(?:SQL|parameters): ")


def redact_database_errors(text: str, withhold: Withhold) -> str:
    """The text of an error without what the database quoted of its data."""
    text = _without_statements(text, withhold)
    in_json = is_json(text)
    for pattern in _QUOTED_IN_JSON if in_json else _QUOTED:
        text = pattern.sub(lambda found: _quoted(found, withhold), text)
    return (_LINE_IN_JSON if in_json else _LINE).sub(lambda found: found[1] + _excerpt(found[2]), text)


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
    in_json, limit, background = is_json(text), 0, -1
    while (found := _STATEMENT.search(text, done)) is not None:
        start = found.end()
        if start >= limit:
            limit = end_of_json_string(text, start) if in_json else len(text)
        if found[0] == _SQL:
            closing = _END_OF_SQL.search(text, start, limit)
            end = closing.start() if closing else limit
            shown = without_literals(text[start:end])
        else:
            if background < start <= last_background:
                background = text.find(_BACKGROUND, start)
            end = _end_of_parameters(text, start, min(background, limit) if start <= last_background else limit)
            value = text[start:end]
            shown = value if is_placeholder(value) else withhold(value, "parameters")
        pieces += text[done:start], shown
        done = end
    return "".join((*pieces, text[done:])) if pieces else text


def _end_of_parameters(text: str, start: int, limit: int) -> int:
    if text.startswith(REDACTED, start):
        return start + len(REDACTED)
    closing = text.rfind("]", start, limit)
    return closing if closing >= 0 else limit
