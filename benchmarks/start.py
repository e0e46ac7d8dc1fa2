"""How long does a training take to its first step, from the start of the interpreter? Without kept programs and with.

python -m benchmarks.start [--config sasrec_ml1m] [--rounds 5]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks import record

CHILD = """
import sys, time
import jax, numpy as np
from jaxrec.config import recipes
from jaxrec.data import sources
from jaxrec.kernels import compiler
from jaxrec.training import assembly, fit
compiler.keep_programs(sources.cache())
compiler.trim_after_compiling()
imported = time.time()
config, _ = recipes.load(sys.argv[2], {})
setup = assembly.assemble(config)
_, report = assembly.call(setup, fit.Feed(setup), assembly.first_state(setup), 0, 1)
assert np.isfinite(report.loss[0])
print(imported - float(sys.argv[1]), time.time() - float(sys.argv[1]))
"""


def started(config, folder):
    """Seconds to the end of the imports, and of the first step, of a new process. folder: where programs are kept."""
    begun = str(time.time())
    command, env = [sys.executable, "-c", CHILD, begun, config], os.environ | {"JAXREC_CACHE": folder}
    found = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True).stdout
    return tuple(map(float, found.split()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="sasrec_ml1m")
    parser.add_argument("--rounds", type=int, default=5)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        first = started(flags.config, folder)
        again = [started(flags.config, folder) for _ in range(flags.rounds)]
    imports, steps = (statistics.median(each) for each in zip(*again, strict=True))
    result = {"compiled": first[1], "kept": steps, "imports": imports, "rounds": flags.rounds}
    print(result)
    record.write("start", {"kind": "start", "config": flags.config} | result)
