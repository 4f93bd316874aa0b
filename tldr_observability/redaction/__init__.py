"""One set of rules for everything that leaves: secrets are found by name and by shape, in linear time.

    redactor = Redactor(patterns=("acme-[0-9]{6}",))
    redactor.attribute("http.request.header.authorization", "Bearer abc")  # "[redacted]"
"""

from __future__ import annotations
