"""CPU time, for tests that must not fail because the machine is busy."""

from __future__ import annotations

import subprocess
import time

PROCESS = 2  # of Linux's clocks of a process, the one that counts what the scheduler gave it


def cpu_of(process: subprocess.Popen[str]) -> float:
    """The seconds of CPU that a child has used: there, it is `time.process_time()`."""
    return time.clock_gettime(~process.pid << 3 | PROCESS)
