"""Writes results, each with the command, the machine, the versions, the commit and the date."""

import datetime
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def machine():
    """The processor and the number of its cores, or the accelerators; no host names."""
    import jax

    devices = jax.local_devices()
    if devices[0].platform != "cpu":
        return f"{len(devices)} x {devices[0].device_kind}"
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{os.cpu_count()} cores of {model}"


def commit():
    """The commit of the code, with "+" if files other than results differ from it."""
    git = lambda *args: subprocess.run(["git", *args], capture_output=True, text=True, cwd=Path(__file__).parent).stdout
    changed = git("status", "--porcelain", "--", "..", ":!../README.md", ":!../docs/*.png", ":!results").strip()
    return git("rev-parse", "--short=12", "HEAD").strip() + ("+" if changed else "")


def slug(kind):
    """A kind of device as a part of a file's name.

    >>> slug("NVIDIA H100 80GB HBM3")
    'nvidia-h100-80gb-hbm3'
    """
    return re.sub(r"[^a-z0-9]+", "-", kind.lower()).strip("-")


def place(name, ending):
    """The path of a result or its plot; on an accelerator, its name contains the kind of device."""
    import jax

    device = jax.local_devices()[0]
    return RESULTS / f"{name}{'' if device.platform == 'cpu' else f'_{slug(device.device_kind)}'}.{ending}"


def command_of(argv):
    """The command as it was typed, with PATH in place of absolute paths.

    >>> command_of(["/home/ann/jaxrec/benchmarks/bulk.py", "--peer", "/opt/env/bin/python", "--runs=/tmp/runs"])
    'python -m benchmarks.bulk --peer PATH --runs=PATH'
    """
    typed = [re.sub(r"(?<![^=])[/~].*", "PATH", word) for word in argv[1:]]
    return shlex.join(["python", "-m", "benchmarks." + Path(argv[0]).stem, *typed])


def write(name, result, command=None):
    """Writes the result as JSON, with where it comes from."""
    import jax

    stamp = {
        "command": command or command_of(sys.argv),
        "machine": machine(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "commit": commit(),
        "date": datetime.date.today().isoformat(),
    }
    path = place(name, "json")
    path.write_text(json.dumps(stamp | result, indent=2) + "\n")
    print(f"wrote {path}")
