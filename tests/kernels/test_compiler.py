"""Laws of jaxrec.kernels.compiler: cached programs and freed memory. (Compiler options change only times.)"""

import os
import platform
import subprocess
import sys

import jax
import pytest

from jaxrec.kernels import compiler
from jaxrec.kernels.hardware import Hardware, assumed

PROGRAM = """
import sys
from pathlib import Path
import jax
from jaxrec.kernels.compiler import keep_programs
keep_programs(Path(sys.argv[1]))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.jit(lambda x: x + 1)(1)
"""
TRIM = """
import ctypes, os
import jax
from jaxrec.kernels.compiler import trim_after_compiling
trim_after_compiling()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
blocks = [libc.malloc({size}) for _ in range({blocks})]
for block in blocks:
    ctypes.memset(ctypes.c_void_p(block), 1, {size})
for block in blocks[:-1]:  # the last one holds the heap's end where it is
    libc.free(block)
jax.monitoring.record_event_duration_secs("{event}", {seconds})
print(int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE"))
"""


def run(folder, **more):
    env = {key: value for key, value in os.environ.items() if not key.startswith("JAX_COMPILATION")} | more
    subprocess.run([sys.executable, "-c", PROGRAM, str(folder)], env=env, check=True)
    return sorted(path.name for path in folder.rglob("*-cache"))


def test_exchanges_are_joined_by_the_size_of_whole_arrays_on_gpus_alone():
    assert compiler.unjoined_options(8) is None
    with assumed(Hardware("gpu", 1 << 30)):
        gathered, summed = compiler.unjoined_options(8).values()
    assert gathered == 8 * summed


@pytest.mark.slow
def test_programs_are_kept_where_nobody_said_where(tmp_path):
    first = run(tmp_path / "a")
    assert first and run(tmp_path / "a") == first  # what was kept was found again
    assert not run(tmp_path / "b", JAX_COMPILATION_CACHE_DIR=str(tmp_path / "c"))
    assert list((tmp_path / "c").iterdir())


def test_jax_says_when_a_program_is_compiled():
    heard = []
    listen = lambda event, seconds, **_: heard.append(event)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        jax.jit(lambda x: x + 1)(1)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert compiler.COMPILED in heard


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what others keep is theirs")
def test_what_the_compiler_freed_is_given_back():
    size = 2**16  # bytes, which glibc takes from its heap
    resident = []
    for seconds in (0.1, 1.0):
        code = TRIM.format(blocks=2**27 // size, size=size, event=compiler.COMPILED, seconds=seconds)
        done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
        resident.append(int(done.stdout))
    assert resident[0] - resident[1] > 0.9 * 2**27
