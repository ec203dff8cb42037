"""How busy the machine is, or the container where that has limits of its own (cgroup 2)."""

import os
import time
from pathlib import Path
from typing import NamedTuple

import psutil

_MIB = 1024 * 1024
_CGROUP = Path("/sys/fs/cgroup")
# A shorter time would measure the asking.
_SHORTEST = 0.5


class HostUse(NamedTuple):
    """Per cent of the processors and of the disk; memory in MiB."""

    cpu_usage: float
    memory_usage: float
    memory_total: float
    disk_usage: float


class _CpuTime(NamedTuple):
    at: float
    busy: float


class Host:
    """Measures the processors between two calls, so that none has to wait."""

    def __init__(self, *, data_dir: Path, cgroup: Path = _CGROUP) -> None:
        """`data_dir` is on the disk that matters; `cgroup` is where the process's own is shown."""
        self._data_dir = data_dir
        self._cgroup = cgroup
        self._last = self._cpu_time()
        self._usage = psutil.cpu_percent(None)

    def read(self) -> HostUse:
        """Blocks for as long as the disk takes to say how full it is."""
        now = self._cpu_time()
        passed = now.at - self._last.at
        if passed >= _SHORTEST:
            share = (now.busy - self._last.busy) / (passed * self._processors())
            self._usage = round(100 * max(0.0, min(1.0, share)), 1)
            self._last = now
        used, total = self._memory()
        return HostUse(
            cpu_usage=self._usage,
            memory_usage=round(used / _MIB, 1),
            memory_total=round(total / _MIB, 1),
            disk_usage=round(psutil.disk_usage(str(self._data_dir)).percent, 1),
        )

    def _limit(self) -> float | None:
        """How many processors the container may use; None without a limit."""
        said = self._read("cpu.max").split()
        if len(said) != 2 or said[0] == "max" or not said[1].isdigit():
            return None
        return int(said[0]) / int(said[1]) or None

    def _processors(self) -> float:
        return self._limit() or os.cpu_count() or 1

    def _cpu_time(self) -> _CpuTime:
        """Seconds of processor time so far, of the container if it is limited."""
        if self._limit() is not None:
            for line in self._read("cpu.stat").splitlines():
                name, _, value = line.partition(" ")
                if name == "usage_usec":
                    return _CpuTime(time.monotonic(), int(value) / 1e6)
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        # A guest's time is in the user's already.
        guest = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
        return _CpuTime(time.monotonic(), sum(times) - idle - guest)

    def _memory(self) -> tuple[float, float]:
        """Bytes in use, and bytes there are."""
        machine = psutil.virtual_memory()
        limit, current = self._read("memory.max"), self._read("memory.current")
        if not limit.isdigit() or not current.isdigit() or int(limit) >= machine.total:
            return machine.total - machine.available, machine.total
        cached = 0
        for line in self._read("memory.stat").splitlines():
            name, _, value = line.partition(" ")
            if name == "inactive_file":  # given back when it is needed
                cached = int(value)
        return max(0, int(current) - cached), int(limit)

    def _read(self, name: str) -> str:
        try:
            return (self._cgroup / name).read_text().strip()
        except (OSError, UnicodeDecodeError):
            return ""
