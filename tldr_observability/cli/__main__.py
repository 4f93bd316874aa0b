"""`python -m tldr_observability.cli` is `tldr-obs`."""

from __future__ import annotations

import sys

from tldr_observability.cli import main

if __name__ == "__main__":
    sys.exit(main())
