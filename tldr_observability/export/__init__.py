"""The export room: everything between a recorded span, log record or metric point and the backend.

A room serves one destination. What it is handed costs the host one append to a bounded queue (`queue`); its own thread
builds what is sent (`build`), encodes it (`encode`) and delivers it (`deliver`), with deadlines that hold. The rest of
the package knows a room by `span_started`, `span_ended`, `log_emitted`, `metric_reader`, `flush`, `shutdown` and
`tallies`: the stages behind may be replaced without anybody noticing.
"""

from __future__ import annotations

from tldr_observability.export.destination import Destination
from tldr_observability.export.room import Room

__all__ = ["Destination", "Room"]
