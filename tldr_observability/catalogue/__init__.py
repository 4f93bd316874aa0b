"""The metrics of this package as data: a module for each group, and all of them together.

Importable without OpenTelemetry; the facade records by it, and the reference page is generated from it.
"""

from __future__ import annotations
