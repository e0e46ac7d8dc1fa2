"""The working memory of a step with the full softmax, besides params and optimiser, by the number of items.

    python -m benchmarks.softmax

SASRec, d 64, with 8,192 targets per step, by the compiler's own count: on this CPU, and for an H100 and a TPU v5e,
which need not be present, as by benchmarks.compiled, which says what that needs. On the GPU also with `loss.fused`,
which keeps no scores.
"""

import argparse
import os

os.environ["JAX_PLATFORMS"] = "cpu"  # leaves any accelerator alone

import jax

from benchmarks import plots, record
from benchmarks.compiled import devices_of
from benchmarks.largest import needed
from benchmarks.mesh import ALONE, DIM, ITEMS, LOSSES, TARGETS, compiled, setup_of, split_of
from jaxrec.training import preflight, setup as setups

PLAIN = LOSSES["softmax"]
FUSED = PLAIN | {"fused": True}
#: {label: (target, topology, loss)}
CHIPS = {
    "H100": ("cuda", "1x1x1", PLAIN),
    "H100, loss.fused": ("cuda", "1x1x1", FUSED),
    "v5e": ("tpu", "v5e:2x2", PLAIN),
}


def on_this_cpu(items):
    """Returns a row for this machine's CPU."""
    setup = setup_of(split_of(items), ALONE, PLAIN, devices=jax.devices("cpu")[:1])
    state = preflight.bytes_on_a_device(setups.shapes(setup))
    return {"items": items, "state_bytes": state, "work_bytes": compiled(setup).memory_analysis().temp_size_in_bytes}


def plot(result, path):
    """Draws the working memory in GiB over the number of items."""
    figure, (axes,) = plots.panels(width=4.8)
    for label, of in result["rows"].items():
        plots.line(axes, [row["items"] for row in of], [row["work_bytes"] / 2**30 for row in of], label)
    plots.bar(axes, 1)
    plots.over(axes, [row["items"] for row in of], "items")
    axes.set(ylabel="GiB beside params and optimiser", ylim=(0, None))
    plots.save(figure, path)


def main():
    rows = {"CPU": [on_this_cpu(items) for items in ITEMS]}
    for label, (target, topology, loss) in CHIPS.items():
        devices, hardware = devices_of(target, topology)
        rows[label] = [needed(devices[:1], hardware, target, loss, {}, items) for items in ITEMS]
    result = {"kind": "softmax", "dim": DIM, "targets_a_step": TARGETS, "rows": rows}
    record.write("softmax", result)
    plot(result, record.place("softmax", "png"))


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    main()
