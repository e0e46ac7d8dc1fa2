"""How much memory a device has left."""

from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
#: of the control group of this process: (limit, in use), and the line of `memory.stat` that can be given back
FILES = (
    (CGROUPS / "memory.max", CGROUPS / "memory.current", "inactive_file"),
    (CGROUPS / "memory/memory.limit_in_bytes", CGROUPS / "memory/memory.usage_in_bytes", "total_inactive_file"),
)


def free(device) -> int | None:
    """Bytes that a program may still take on a device; None where that can't be known.

    Of a CPU what the system can give, within the limit of the container, if there is one.
    """
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        return stats["bytes_limit"] - stats["bytes_in_use"] if {"bytes_limit", "bytes_in_use"} <= stats.keys() else None
    known = [amount for amount in (_of_the_system(), _of_the_container()) if amount is not None]
    return min(known) if known else None


def in_words(amount: int) -> str:
    """Bytes for people.

    >>> in_words(3 << 29), in_words(5 << 20)
    ('1.5 GiB', '5 MiB')
    """
    return f"{amount / (1 << 30):.1f} GiB" if amount >= 1 << 30 else f"{amount / (1 << 20):.0f} MiB"


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
    """The lines of a file; none where it is not there."""
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
