"""When this process began: to start Python takes time, too, and on a busy machine a lot."""

import os
import time
from pathlib import Path


def process_start() -> float:
    """The moment, on the monotonic clock."""
    fields = Path("/proc/self/stat").read_text("ascii").rpartition(")")[2].split()
    since_boot = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - (time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot)
