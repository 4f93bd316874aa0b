"""The export room: everything between a recorded span, log record or metric point and the backend.

A room serves one destination and has a lane for each signal. What a lane is handed costs the host one append to a
bounded queue (`queue`); its own thread builds what is sent (`build`), encodes it (`encode`) and delivers it
(`deliver`), with deadlines that hold. The rest of the package knows a room by `span_started`, `span_ended`,
`log_emitted`, `metric_reader`, `ask`, `answer`, `close`, `tallies` and `waiting`: the stages behind may be replaced
without anybody noticing.
"""
