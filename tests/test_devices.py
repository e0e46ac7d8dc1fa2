"""What jaxrec.devices does beside launching, whose laws are test_step's: compiled programs are kept."""

import os
import subprocess
import sys

PROGRAM = """
import sys
from pathlib import Path
import jax
from jaxrec.devices import keep_programs
keep_programs(Path(sys.argv[1]))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.jit(lambda x: x + 1)(1)
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
