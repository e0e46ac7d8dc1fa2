"""What XLA's compiler is told, what is kept of its work, and what is given back of its memory."""

import ctypes
import functools
import hashlib
import platform
from pathlib import Path

import jax


@functools.cache
def cpu_options():
    """Compiler options for programs of many small products: off with the CPU's fusion that slows them by half.

    None on accelerators, and where this version of XLA doesn't know the option (an unknown one is an error).
    """
    options = {"xla_cpu_experimental_ynn_fusion_type": ""}
    if jax.default_backend() != "cpu":
        return None
    try:
        jax.jit(lambda x: x + 1, compiler_options=options)(0)
    except jax.errors.JaxRuntimeError:
        return None
    return options


def keep_programs(folder):
    """Keep compiled programs in this folder, so that a second start does not compile again; it may be deleted.

    Those of another processor lie apart from this one's: they might not run on it. Where a person has set
    JAX_COMPILATION_CACHE_DIR, that holds.
    """
    if jax.config.jax_compilation_cache_dir is not None:  # pyright: ignore[reportAttributeAccessIssue]
        return
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    able = [platform.machine(), *sorted({line for line in lines if line.startswith(("flags", "Features"))})]
    name = hashlib.sha256("\n".join(able).encode()).hexdigest()[:12]
    jax.config.update("jax_compilation_cache_dir", str(folder / "programs" / name))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


COMPILED = "/jax/core/compile/backend_compile_duration"  # what jax says, with the seconds, once a program is compiled


@functools.cache
def trim_after_compiling():
    """From now on, give what the compiler has freed back to the system, before the program runs.

    Of itself glibc keeps it, some 200 MiB of a train step's, and the program's own memory comes on top.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    trim = ctypes.CDLL(None).malloc_trim

    def compiled(event, duration_secs, **_):
        if event == COMPILED and duration_secs > 0.5:  # it takes tens of milliseconds itself
            trim(0)

    jax.monitoring.register_event_duration_secs_listener(compiled)
