"""`python -m highlights.api`: the API on uvicorn, whose options and `UVICORN_*` variables hold."""

from __future__ import annotations

import sys

import uvicorn

from highlights.settings import settings

# Every request is a span already, with more to it than a line of an access log.
uvicorn.main(["highlights.api:app", "--port", str(settings().port), "--no-access-log", *sys.argv[1:]])
