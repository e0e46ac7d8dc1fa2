"""Does this machine compute what a CPU does in float32? The first steps of six recipes, with dropout and negatives.

    python -m benchmarks.agree [--steps 8]

For each model and precision, the result is the relative distance of the hidden vectors from those that the CPU computes
with the same parameters, and of the losses of the first steps. On a CPU, this shows what bfloat16 changes. The exit
status says whether all of them are rounding.
"""

import argparse
import contextlib
import functools
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import record
from jaxrec.config import recipes
from jaxrec.data.sources import cache
from jaxrec.kernels import compiler
from jaxrec.kernels.hardware import Hardware, assumed
from jaxrec.training import assembly, fit

CONFIGS = ("sasrec_ml1m", "sasrec_softmax_ml1m", "gsasrec_ml1m", "gru4rec_ml1m", "bert4rec_ml1m", "caser_ml1m")
DATA = {"dataset": "synthetic:users=2000", "length": "50", "row": "50", "batch": "64"}
MOST = {"float32": 0.01, "bfloat16": 0.05}  #: distances that rounding explains; accelerators round float32 to tf32 too


def computed(name, precision, device, steps):
    """Returns (hidden vectors of 8 rows, losses of the first steps), computed on a device, as NumPy arrays.

    On a CPU the programs are those for a CPU, whichever other devices there are.
    """
    config, _ = recipes.load(name, DATA | {"precision": precision})
    traced = assumed(Hardware("cpu")) if device.platform == "cpu" else contextlib.nullcontext()
    with jax.default_device(device), traced:
        setup = assembly.assemble(config, devices=[device])
        state, feed = assembly.first_state(setup), fit.Feed(setup)
        data, _ = feed(0, steps)
        stream = setup.batches.gather(*data, np.arange(8), with_targets=setup.objective.stream_targets)
        hidden = np.asarray(jax.jit(setup.model.encode)(state.params, stream)[0].astype(jnp.float32))
        _, report = assembly.call(setup, feed, state, 0, steps)
    return hidden, np.asarray(report.loss)[:steps]


def apart(found, wanted):
    """The norm of the difference divided by the norm of `wanted`."""
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def compared(name, steps):
    """Returns the distances of a recipe's hidden vectors and losses from a CPU's, {precision: {what: distance}}."""
    wanted = computed(name, "float32", jax.local_devices(backend="cpu")[0], steps)
    rows = {}
    for precision in MOST:
        found = computed(name, precision, jax.local_devices()[0], steps)
        rows[precision] = dict(zip(("hidden", "losses"), map(apart, found, wanted), strict=True))
        print(f"{name:24} {precision:9}", rows[precision], flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8)
    flags = parser.parse_args()
    if jax.default_backend() != "cpu":
        compiler.keep_programs(cache())
    with ThreadPoolExecutor(max((os.cpu_count() or 1) // 2, 1)) as pool:  # compiling takes most of the time
        each = dict(zip(CONFIGS, pool.map(functools.partial(compared, steps=flags.steps), CONFIGS), strict=True))
    rows = {f"{name} {precision}": row for name, found in each.items() for precision, row in found.items()}
    record.write("agree", {"kind": "agree", "steps": flags.steps, "rows": rows})
    far = [label for label, row in rows.items() if not max(row.values()) <= MOST[label.split()[1]]]
    sys.exit(f"further from a CPU than rounding explains: {', '.join(far)}" if far else None)


if __name__ == "__main__":
    main()
