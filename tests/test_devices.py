"""What jaxrec.devices does beside launching, whose laws are test_step's: programs, memory, and rows taken at once."""

import os
import platform
import subprocess
import sys

import jax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrec import config as configs
from jaxrec import devices
from jaxrec.models import build

CONFIG = {
    "dataset": "histories",
    "seed": 1,
    "epochs": 1,
    "eval_every": 1,
    "save_every": 1,
    "patience": 0,
    "steps_per_call": 1,
    "batch": 16,
    "length": 8,
    "model": {"name": "sasrec", "dim": 8, "layers": 1, "dropout": 0.0},
    "loss": {"name": "bce", "negatives": 1},
    "optim": {"name": "adam", "rate": 1e-3},
}
MANY = 4 * 8192 + 1  # items, for whose table a CPU takes all rows at once
PROGRAM = """
import sys
from pathlib import Path
import jax
from jaxrec.devices import keep_programs
keep_programs(Path(sys.argv[1]))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.jit(lambda x: x + 1)(1)
"""
TRIM = """
import ctypes, os
import jax
from jaxrec.devices import trim_after_compiling
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
    assert devices.COMPILED in heard


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what others keep is theirs")
def test_what_the_compiler_freed_is_given_back():
    size = 2**16  # bytes, which glibc takes from its heap
    resident = []
    for seconds in (0.1, 1.0):
        code = TRIM.format(blocks=2**27 // size, size=size, event=devices.COMPILED, seconds=seconds)
        done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
        resident.append(int(done.stdout))
    assert resident[0] - resident[1] > 0.9 * 2**27


@given(share=st.integers(1, 500), most=st.integers(1, 600), items=st.sampled_from([100, MANY]))
@settings(deadline=None)
def test_rows_at_once_are_as_many_as_are_asked_for(share, most, items):
    config = configs.from_dict(CONFIG | {"rows_at_once": most})
    for kind in ("cpu", "gpu"):
        size = devices.rows_at_once(config, build(config, 10, 0), items, share, kind)
        assert share % size == 0 and size <= most
        assert not any(share % more == 0 for more in range(size + 1, min(most, share) + 1))


@pytest.mark.parametrize("name", ["sasrec", "bert4rec", "gru4rec", "caser", "two-tower"])
@given(share=st.integers(1, 500), row=st.sampled_from([8, 200, 20_000]))
@settings(deadline=None)
def test_of_itself_a_cpu_takes_about_8192_slots_at_once_where_there_is_attention(name, share, row):
    objective = {"objective": "cloze"} if name == "bert4rec" else {}
    norm = {"norm": "post"} if name == "bert4rec" else {}
    config = configs.from_dict(CONFIG | objective | {"row": row, "model": CONFIG["model"] | {"name": name} | norm})
    model = build(config, 10, 0)
    assert devices.rows_at_once(config, model, 100, share, "gpu") == share
    assert devices.rows_at_once(config, model, MANY, share, "cpu") == share
    size = devices.rows_at_once(config, model, MANY - 1, share, "cpu")
    assert share % size == 0
    if name not in ("sasrec", "bert4rec"):
        assert size == share
    elif size < share:
        assert 4096 <= size * row <= 16384
    else:
        assert share * row <= 16384 or not any(
            share % other == 0 and 4096 <= other * row <= 16384 for other in range(1, share)
        )
