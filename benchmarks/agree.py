"""Does this machine compute what a CPU does in float32? The first steps of six recipes, with dropout and negatives.

    python -m benchmarks.agree [--steps 8]

For each model and precision, the result is the relative distance of the hidden vectors from those that the CPU computes
with the same parameters, and of the losses of the first steps. On a CPU, this shows what bfloat16 changes.
"""

import argparse
import contextlib

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import record
from jaxrec.config import recipes
from jaxrec.kernels.hardware import Hardware, assumed
from jaxrec.training import assembly, fit

CONFIGS = ("sasrec_ml1m", "sasrec_softmax_ml1m", "gsasrec_ml1m", "gru4rec_ml1m", "bert4rec_ml1m", "caser_ml1m")
DATA = {"dataset": "synthetic:users=2000", "length": "50", "row": "50", "batch": "64"}


def computed(name, precision, device, steps):
    """Returns (hidden vectors of 8 rows, losses of the first steps), computed on a device, as NumPy arrays."""
    config, _ = recipes.load(name, DATA | {"precision": precision})
    of = assumed(Hardware("cpu")) if device.platform == "cpu" else contextlib.nullcontext()  # in a CPU's own form
    with jax.default_device(device), of:
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8)
    flags = parser.parse_args()
    rows = {}
    for name in CONFIGS:
        wanted = computed(name, "float32", jax.local_devices(backend="cpu")[0], flags.steps)
        for precision in ("float32", "bfloat16"):
            found = computed(name, precision, jax.local_devices()[0], flags.steps)
            rows[f"{name} {precision}"] = dict(zip(("hidden", "losses"), map(apart, found, wanted), strict=True))
            print(f"{name:24} {precision:9}", rows[f"{name} {precision}"], flush=True)
    record.write("agree", {"kind": "agree", "steps": flags.steps, "rows": rows})
