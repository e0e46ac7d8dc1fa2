"""The largest catalogue whose training fits on a number of chips, by the compiler's own count of memory.

    python -m benchmarks.largest [--devices h100x1 h100x8 h100x64 v5e-8 v5e-64 v5e-256]

Nothing runs: a step is compiled for chips that are only described, as by benchmarks.compiled, which says what that
needs. The memory of a step grows almost linearly with the catalogue: two sizes give the line. The largest size that
should fit by this line is compiled too, then larger ones as long as they fit, or smaller ones until one does. Tables
are split over all chips (mesh.item). The model is SASRec with two blocks, trained with Adam on 8,192 targets per step.
"""

import argparse
import json
import math
import os
from dataclasses import replace

os.environ["JAX_PLATFORMS"] = "cpu"  # leaves any accelerator alone

import jax

from benchmarks import record
from benchmarks.compiled import MEMORY, OPTIONS, devices_of, placing_nothing
from benchmarks.mesh import DIM, LOSSES, TARGETS, compiled, setup_of, split_of
from jaxrec.kernels.hardware import assumed
from jaxrec.training import preflight, setup as setups

#: {label: (target, topology)}
DEVICES = {
    "h100x1": ("cuda", "1x1x1"),
    "h100x8": ("cuda", "1x1x8"),
    "h100x64": ("cuda", "1x8x8"),
    "v5e-8": ("tpu", "v5e:2x4"),
    "v5e-64": ("tpu", "v5e:8x8"),
    "v5e-256": ("tpu", "v5e:16x16"),
}
#: {label: (loss, changes of `optim`)}
TRAINED = {
    "softmax": (LOSSES["softmax"], {}),
    "sampled-softmax, 512 a batch, optim.sparse": (LOSSES["sampled-softmax, 512 a batch"], {"sparse": True}),
}
MOST = 2**31 - 2  # items: their numbers are int32


def needed(devices, hardware, target, loss, optim, items):
    """The bytes that a step needs on each chip, arguments and working memory; infinite if the compiler refuses."""
    split = split_of(1000)
    catalogue = split.interactions.catalogue._replace(ids=range(1, items + 1))  # only its length matters
    split = split._replace(interactions=replace(split.interactions, catalogue=catalogue))
    with assumed(hardware), placing_nothing():
        setup = setup_of(split, (1, len(devices)), loss, devices=devices, optim=optim)
        try:
            counted = compiled(setup, OPTIONS[target]).memory_analysis()
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            print(f"{items}: too many for the compiler", flush=True)
            return {"items": items, "bytes": math.inf}
    work = counted.temp_size_in_bytes + max(counted.output_size_in_bytes - counted.alias_size_in_bytes, 0)
    row = {
        "items": items,
        "bytes": counted.argument_size_in_bytes + work,
        "state_bytes": preflight.bytes_on_a_device(setups.shapes(setup)),
        "work_bytes": work,
    }
    print(row, flush=True)
    return row


def rounded(items):
    """Rounds down to two digits."""
    unit = 10 ** (len(str(int(items))) - 2)
    return int(items) // unit * unit


def largest(label, loss, optim):
    """Returns the row of the largest catalogue that fits on these chips."""
    target, topology = DEVICES[label]
    devices, hardware = devices_of(target, topology)
    room = MEMORY["cuda" if target == "cuda" else topology.partition(":")[0]]
    of = lambda items: needed(devices, hardware, target, loss, optim, items)
    base = room // (4 * DIM * 4) * len(devices)  # if only a table, its moments and its gradient took memory
    near = [min(rounded(share * base), MOST) for share in (0.1, 0.2)]
    first, best = map(of, near)
    slope = max((best["bytes"] - first["bytes"]) / (best["items"] - first["items"]), 1e-9)
    items, too_many = rounded(min(best["items"] + (room - best["bytes"]) / slope, MOST)), math.inf
    while best["items"] < items < too_many:
        row = of(items)
        if row["bytes"] <= room:
            best, items = row, rounded(min(items * room / row["bytes"], MOST))
        else:
            too_many, items = items, rounded(items - 1)
    return best | {"room": room, "bounded_by": "int32" if best["items"] >= rounded(MOST) else "memory"}


def main(labels):
    """Writes a row for each loss on each kind and number of chips; rows of earlier runs are kept."""
    path = record.place("largest", "json")
    kept = json.loads(path.read_text())["rows"] if path.exists() else {}
    for label in labels:
        for name, (loss, optim) in TRAINED.items():
            if name in kept.get(label, {}):
                continue  # of an earlier run
            kept.setdefault(label, {})[name] = largest(label, loss, optim)
            record.write("largest", {"kind": "largest", "dim": DIM, "targets_a_step": TARGETS, "rows": kept})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", nargs="+", choices=list(DEVICES), default=list(DEVICES))
    main(parser.parse_args().devices)
