"""Free memory of devices."""

from pathlib import Path
from typing import Any

CGROUPS = Path("/sys/fs/cgroup")
#: for control groups v2 and v1: the files of the limit and the usage, and the key of reclaimable bytes in `memory.stat`
FILES = (
    (CGROUPS / "memory.max", CGROUPS / "memory.current", "inactive_file"),
    (CGROUPS / "memory/memory.limit_in_bytes", CGROUPS / "memory/memory.usage_in_bytes", "total_inactive_file"),
)


def free(device: Any) -> int | None:
    """The bytes a program can still allocate on a device; None if unknown.

    For a CPU that is the system's available memory, or what the container's limit leaves if that is less.
    """
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        return stats["bytes_limit"] - stats["bytes_in_use"] if {"bytes_limit", "bytes_in_use"} <= stats.keys() else None
    known = [amount for amount in (_of_the_system(), _of_the_container()) if amount is not None]
    return min(known) if known else None


def _of_the_system():
    lines = _read(Path("/proc/meminfo"))
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return found[0] if found else None


def _of_the_container():
    for limit, used, reclaimable in FILES:
        most, now = _read(limit), _read(used)
        if most and now and most[0].isdigit():
            stats = dict(line.split() for line in _read(limit.with_name("memory.stat")))
            return max(int(most[0]) - int(now[0]) + int(stats.get(reclaimable, 0)), 0)
    return None


def _read(path):
    """The lines of a file; empty if it can't be read."""
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
