"""XLA compiler options, the persistent compilation cache, and the memory the compiler holds."""

import ctypes
import functools
import hashlib
import platform
from pathlib import Path
from typing import Any

import jax

from jaxrec.kernels import hardware

JOINED = 1 << 24  #: bytes of whole arrays whose exchanges may be combined into one with `unjoined_options`


def cpu_options() -> dict[str, Any] | None:
    """Compiler options for programs with many small matrix products on a CPU.

    They turn off YNN fusion, which makes such programs half as fast.

    Returns:
        A dict for `jax.jit(..., compiler_options=...)`. None on accelerators, and where this version of XLA doesn't
        know the option (it raises an error on unknown ones).
    """
    return _without_ynn_fusion() if hardware.is_cpu() else None


def unjoined_options(devices: int) -> dict[str, int] | None:
    """Compiler options for programs that gather arrays one at a time, to hold few of them at once.

    XLA for GPUs combines exchanges into a few large ones as long as it expects memory to suffice, and so holds all
    arrays at once.

    Args:
        devices: the number that an array is split over. For a reduce-scatter, XLA counts the bytes of one part.

    Returns:
        A dict for `jax.jit(..., compiler_options=...)`; None on devices other than GPUs.
    """
    most = {"all_gather": JOINED, "reduce_scatter": JOINED // devices}
    return (
        {f"xla_gpu_{kind}_combine_threshold_bytes": size for kind, size in most.items()} if hardware.is_gpu() else None
    )


@functools.cache
def _without_ynn_fusion():
    options = {"xla_cpu_experimental_ynn_fusion_type": ""}
    try:
        jax.jit(lambda x: x + 1, compiler_options=options)(0)
    except jax.errors.JaxRuntimeError:
        return None
    return options


def keep_programs(folder: Path) -> None:
    """Turns on JAX's persistent compilation cache, so that the next process doesn't compile again.

    Programs go to a subfolder that is specific to this CPU's instruction set, since they might not run on another.
    Nothing changes if a cache folder is already configured, such as by JAX_COMPILATION_CACHE_DIR.

    Args:
        folder: Path of the cache; can be deleted at any time.
    """
    if jax.config.jax_compilation_cache_dir is not None:  # pyright: ignore[reportAttributeAccessIssue]
        return
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    features = [platform.machine(), *sorted({line for line in lines if line.startswith(("flags", "Features"))})]
    name = hashlib.sha256("\n".join(features).encode()).hexdigest()[:12]
    jax.config.update("jax_compilation_cache_dir", str(folder / "programs" / name))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


COMPILED = "/jax/core/compile/backend_compile_duration"  # the monitoring event that JAX records for each compilation


@functools.cache
def trim_after_compiling() -> None:
    """Returns the compiler's freed memory to the operating system after each compilation from now on.

    glibc would keep it, about 200 MiB after a train step is compiled, on top of what the program itself needs.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    trim = ctypes.CDLL(None).malloc_trim

    def compiled(event, duration_secs, **_):
        if event == COMPILED and duration_secs > 0.5:  # trimming takes tens of milliseconds
            trim(0)

    jax.monitoring.register_event_duration_secs_listener(compiled)
