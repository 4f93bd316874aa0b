"""A command that doesn't outlive the one who started it: `python bound.py SIGNAL PARENT ARGUMENT...`.

Becomes `python ARGUMENT...`, with the same process id. On Linux the kernel sends it SIGNAL when the thread that started
it ends, however that comes about.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    number, parent = int(sys.argv[1]), int(sys.argv[2])
    # A shell without job control starts background commands deaf to SIGINT, which some of ours are ended by.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            sys.exit("whoever started this is gone already")
    os.execv(sys.executable, [sys.executable, *sys.argv[3:]])  # noqa: S606 - the launcher's own commands
