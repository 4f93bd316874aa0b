"""The reference service: customers send the address of a stream, and get its highlights as clips.

Business words only. Libraries do the work, and `telemetry.py` is all that there is of observability beside the
decorators, metrics and events in the code that they are about.
"""
