"""One set of rules for everything that leaves: secrets are found by name and by shape, in linear time.

redactor = Redactor(patterns=("acme-[0-9]{6}",))
redactor.attribute("http.request.header.authorization", "Bearer abc")  # "[redacted]"
"""

from __future__ import annotations

from typing import Final

from tldr_observability.redaction.match import REDACTED, RedactionMatch
from tldr_observability.redaction.redactor import Redactor

__all__ = ["REDACTED", "RedactionMatch", "Redactor", "rules"]

rules: Final = Redactor()
"""The rules without any settings, for what is made before `setup()`."""
