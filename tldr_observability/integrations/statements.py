"""What a SQL statement does and to which table, in one pass over its text.

The text is what every statement has, whether the ORM, Core or `text()` made it. This is a reader of words and
parentheses and no parser: what it doesn't understand has no table. It takes time linear in the length, of which it
looks at the beginning only, and stops at the table.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

__all__ = ["OTHER", "Statement", "read"]

OTHER = "OTHER"

_LONGEST_TEXT = 16_384
_LONGEST_NAME = 128
_KEPT = 512

_QUOTED = r'"[^"]*+(?:""[^"]*+)*(?:"|\Z)|`[^`]*+(?:`|\Z)|\[[^\]]*+(?:\]|\Z)'
_PART = rf"(?:[^\W\d][\w$]*+|{_QUOTED})"
_TOKEN = re.compile(
    r"--[^\n]*+|/\*.*?(?:\*/|\Z)"
    r"|(?P<literal>'[^']*+(?:'|\Z))"
    rf"|(?P<name>{_PART})(?:\s*+\.\s*+(?P<last>{_PART}))*(?P<called>(?=\s*+\())?"
    r"|(?P<mark>[();])",
    re.DOTALL,
)

_VERBS = frozenset(
    """
    ALTER ANALYZE ATTACH BEGIN CALL COMMENT COMMIT COPY CREATE DECLARE DELETE DETACH DO DROP EXEC EXECUTE EXPLAIN FETCH
    GRANT INSERT LISTEN LOCK MERGE NOTIFY PRAGMA REFRESH REINDEX RELEASE REPLACE RESET REVOKE ROLLBACK SAVEPOINT SELECT
    SET SHOW TABLE TRUNCATE UNLISTEN UPDATE USE VACUUM VALUES
    """.split()  # noqa: SIM905 - a paragraph reads better than forty lines
)
_VERBS_AFTER_WITH = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "VALUES", "TABLE"})
_WORDS_OF_WITH = frozenset({"RECURSIVE", "AS", "NOT", "MATERIALIZED"})
_TABLE_FOLLOWS_VERB = frozenset({"INSERT", "REPLACE", "MERGE", "UPDATE", "TRUNCATE", "COPY", "LOCK", "TABLE"})
_TABLE_FOLLOWS = frozenset({"FROM", "INTO", "JOIN", "UPDATE", "TABLE"})
_FUNCTION_MAY_FOLLOW = frozenset({"FROM", "JOIN"})
_BEFORE_TABLE = frozenset(
    {"INTO", "TABLE", "ONLY", "LATERAL", "IF", "NOT", "EXISTS"}
    | {"OR", "IGNORE", "REPLACE", "ROLLBACK", "ABORT", "FAIL", "LOW_PRIORITY", "DELAYED"}
)
_QUERIES = frozenset({"SELECT", "WITH", "VALUES"})


class Statement(NamedTuple):
    """What a statement does; both words are bounded by the code base, not by its data."""

    operation: str
    """Its verb in capitals, `OTHER` for what is no verb of SQL."""
    table: str
    """The first table that it works on, without schema; empty where there is none or it was not found."""

    @property
    def summary(self) -> str:
        """Both in one line."""
        return f"{self.operation} {self.table}" if self.table else self.operation


def read(text: str) -> Statement:
    """What the statement does; the latest texts are remembered, for a program has few and repeats them."""
    return _read(text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT])


@lru_cache(_KEPT)
def _read(text: str) -> Statement:
    reader = _Reader()
    for token in _TOKEN.finditer(text):
        if reader.take(token):
            break
    return Statement(reader.operation or OTHER, reader.table)


class _Reader:
    """Takes a statement's words and parentheses one by one until it knows what it is after.

    A word like FROM counts at one depth of parentheses: that of the statement, or that of the subquery which stands
    where a table would. So `EXTRACT(year FROM day)` and subqueries among the columns are passed over.
    """

    __slots__ = ("_depth", "_expected_by", "_level", "_named", "_previous", "_with", "_within", "operation", "table")

    def __init__(self) -> None:
        self.operation = ""
        self.table = ""
        self._depth = 0
        self._level = 0
        self._expected_by = ""  # the word after which a table is about to be named
        self._previous = ""
        self._with: int | None = None  # the depth of a WITH whose statement hasn't begun
        self._within = ""  # the WITH query that is being read
        self._named: dict[str, str] = {}  # each WITH query's own first table

    def take(self, token: re.Match[str]) -> bool:
        """Whether nothing more is needed."""
        if name := token["last"]:
            return self._take_name(name, "", called=token["called"] is not None)
        if name := token["name"]:
            return self._take_name(name, name.upper(), called=token["called"] is not None)
        if token["literal"]:
            self._expected_by = ""
        match token["mark"]:
            case "(":
                self._depth += 1
                if self._expected_by or (self._with is not None and self._depth == self._with + 1):
                    self._level = self._depth
            case ")":
                self._depth -= 1
                if self._depth < self._level:
                    self._level, self._expected_by = self._depth, ""
            case ";":
                return bool(self.operation)
        return False

    def _take_name(self, name: str, word: str, *, called: bool) -> bool:
        previous, self._previous = self._previous, word
        if not self.operation and (self._with is None or self._depth == self._with):
            return self._take_verb(name, word)
        if self._expected_by:
            return self._take_table(name, word, called=called)
        if self._depth == self._level and word in _TABLE_FOLLOWS and previous != "DISTINCT":  # IS DISTINCT FROM
            self._expected_by = word
        return False

    def _take_verb(self, name: str, word: str) -> bool:
        if word == "WITH":
            self._with = self._depth
        elif self._with is not None and word not in _VERBS_AFTER_WITH:
            if word not in _WORDS_OF_WITH:
                self._within = _plain(name).casefold()
                self._named[self._within] = ""
        else:
            self.operation = word if word in _VERBS else OTHER
            self._with = None
            self._level = self._depth
            self._expected_by = word if word in _TABLE_FOLLOWS_VERB else ""
        return self.operation == OTHER

    def _take_table(self, name: str, word: str, *, called: bool) -> bool:
        if word in _BEFORE_TABLE:
            return False
        function = called and self._expected_by in _FUNCTION_MAY_FOLLOW
        self._expected_by = ""
        if function or word in _QUERIES:
            return False
        table = _plain(name)[:_LONGEST_NAME]
        table = self._named.get(table.casefold(), table)
        if self._with is None:
            self.table = table
        elif not self._named[self._within]:
            self._named[self._within] = table
        return bool(self.table)


def _plain(name: str) -> str:
    """An identifier without its quotes."""
    match name[0]:
        case '"' | "`" as quote:
            return name.strip(quote).replace(quote * 2, quote)
        case "[":
            return name.strip("[]")
    return name
