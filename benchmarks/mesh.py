"""What a step needs on a device and sends to others, with item tables split over devices, by the compiler's count.

python -m benchmarks.mesh
python -m benchmarks.mesh --dense

Nothing runs: programs for 8 simulated devices are compiled. For each collective, the size of its result counts, times
the iterations of its loop. On a ring of n devices, each sends 2 (n - 1) / n of that size in an all-reduce, (n - 1) / n
of it in an all-gather, and n - 1 times it in a reduce-scatter. With --dense, the model is wide, and its other params
are split over `data` or not (mesh.dense). It is compiled for eight H100s, which need not be present, as by
benchmarks.compiled, since on a CPU XLA keeps an additional copy of what is gathered.
"""

import argparse
import collections
import os
import re

os.environ |= {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}

import jax
import numpy as np

from benchmarks import hlo, plots, record
from benchmarks.compiled import OPTIONS, devices_of, placing_nothing
from jaxrec.config import parsing
from jaxrec.data import interactions, splits
from jaxrec.kernels import placement
from jaxrec.kernels.hardware import assumed
from jaxrec.training import assembly, preflight, setup as setups
from jaxrec.training.feed import Feed

LENGTH, TARGETS, DIM, ITEMS = 64, 8192, 64, (100_000, 300_000, 1_000_000)
CHIPS = "1x1x8"
MESHES = (8, 1), (4, 2), (2, 4), (1, 8)
ALONE = 1, 1  # one device
WIDE, WIDE_ITEMS = {"dim": 1024, "layers": 8}, 10_000
LOSSES = {
    "softmax": {"name": "softmax"},
    "sampled-softmax, 512 a batch": {
        "name": "sampled-softmax",
        "negatives": 512,
        "sampling": "uniform",
        "share": "batch",
        "logq": 1.0,
    },
    "sampled-softmax, in-batch": {"name": "sampled-softmax", "negatives": 0, "sampling": "in-batch", "share": "batch"},
    "sampled-softmax, mixed, 512": {
        "name": "sampled-softmax",
        "negatives": 512,
        "sampling": "mixed",
        "share": "batch",
        "logq": 1.0,
    },
    "gbce, 64 a row": {"name": "gbce", "negatives": 64, "sampling": "uniform", "share": "row"},
    "gbce, 64 a slot": {"name": "gbce", "negatives": 64, "sampling": "uniform"},
}
BYTES = {"f32": 4, "s32": 4, "u32": 4, "pred": 1, "bf16": 2, "f16": 2, "s64": 8}
COLLECTIVE = re.compile(r"= (.*?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\(")


def split_of(items):
    """A split over a catalogue of `items` items, with training histories that fill rows."""
    rows = np.random.default_rng(0).integers(1, items + 1, (TARGETS // LENGTH, LENGTH + 3))
    return splits.last_item(interactions.from_sequences([list(range(1, items + 1)), *rows.tolist()]))


def setup_of(split, mesh, loss, model=None, dense="replicated", devices=None, optim=None):
    """The Setup of a SASRec with 8,192 targets per step on a mesh of devices, by default the 8 simulated ones."""
    values = {
        "dataset": "histories",
        "seed": 0,
        "epochs": 1,
        "batch": TARGETS // LENGTH,
        "length": LENGTH,
        "eval_every": 1,
        "patience": 0,
        "steps_per_call": 8,
        "model": {"name": "sasrec", "dim": DIM, "layers": 2, "dropout": 0.1} | (model or {}),
        "loss": loss,
        "optim": {"name": "adam", "learning_rate": 1e-3} | (optim or {}),
        "mesh": dict(zip(("data", "item"), mesh, strict=True)) | {"dense": dense},
    }
    return assembly.assemble(parsing.from_dict(values), split, devices or jax.devices())


def compiled(setup, options=None):
    """The program of a call, compiled for the shapes of its arguments."""
    data, begins = Feed(setup)(0, 1)
    args = setups.shapes(setup), data, setup.sampler_tables, np.int32(begins), np.int32(1)
    return setup.run.lower(*args).compile(options)


def collectives(text):
    """Returns {group size: bytes} of the results of a step's collectives, from the HLO of a compiled call."""
    bodies, name = {}, None
    for line in text.splitlines():
        if head := re.match(r"^(?:ENTRY )?%?([\w.\-]+) .*\{$", line):
            name = head[1]
            bodies[name] = []
        elif name:
            bodies[name].append(line)

    def count(body, times):
        found = collections.Counter()
        for line in bodies.get(body, ()):
            if " while(" in line:
                trips = re.search(r'"?known_trip_count"?:\{"?n"?:"?(\d+)', line)
                found += count(re.search(r"body=%?([\w.\-]+)", line)[1], times * (int(trips[1]) if trips else 1))
            elif " call(" in line:
                found += count(re.search(r"to_apply=%?([\w.\-]+)", line)[1], times)
            elif made := COLLECTIVE.search(line):
                shapes = re.findall(r"(\w+)\[([\d,]*)\]", made[1])
                size = sum(BYTES[kind] * int(np.prod([int(n) for n in dims.split(",") if n])) for kind, dims in shapes)
                found[group_of(line)] += times * size
        return found

    entry = re.search(r"^ENTRY %?([\w.\-]+)", text, re.M)
    return {str(size): int(number) for size, number in sorted(count(entry[1], 1).items())}


def group_of(line):
    """How many devices take part in a collective."""
    if listed := re.search(r"replica_groups=\{\{([\d,]*)\}", line):
        return listed[1].count(",") + 1
    return int(re.search(r"replica_groups=\[\d+,(\d+)\]", line)[1])


def formula(setup, loss, mesh, items):
    """The bytes that a step sums over each axis of the mesh, {"data", "item"}, by the formulas of docs/scale.md."""
    data, item = mesh
    slots, negatives, dim = TARGETS // data, loss.get("negatives", 0), setup.config.model.dim
    tables = -(-items // item) * dim
    rest = sum(x.size for name, x in setups.shapes(setup).params.items() if name != "items" for x in jax.tree.leaves(x))
    if loss["name"] == "softmax":
        numbers = 2 * slots * dim + 3 * slots
    elif loss.get("share") == "batch":
        negatives += TARGETS * (loss["sampling"] in ("in-batch", "mixed"))
        numbers = 2 * slots * dim + slots + negatives * (dim + 1)
    else:
        numbers = 3 * slots * dim + slots * (1 + negatives)
    gathered = TARGETS * (loss.get("sampling") in ("in-batch", "mixed"))
    return {"data": 4 * (tables + rest + gathered) if data > 1 else 0, "item": 4 * numbers if item > 1 else 0}


def counted(split, items, name, mesh):
    """Returns a row of the result: a loss on a mesh, with a catalogue of a size."""
    setup = setup_of(split, mesh, LOSSES[name], devices=jax.devices()[: mesh[0] * mesh[1]])
    program = compiled(setup)
    row = {
        "items": items,
        "loss": name,
        "mesh": list(mesh),
        "targets_a_step": TARGETS,
        "state_bytes": preflight.bytes_on_a_device(setups.shapes(setup)),
        "temporary_bytes": program.memory_analysis().temp_size_in_bytes,
        "collective_bytes_by_group": collectives(program.as_text()),
        "formula_bytes": formula(setup, LOSSES[name], mesh, items),
    }
    print(row, flush=True)
    return row


def main():
    rows = []
    for items in ITEMS:
        split = split_of(items)
        for name in LOSSES if items == max(ITEMS) else ["softmax"]:
            rows += [counted(split, items, name, mesh) for mesh in (ALONE, *MESHES)]
    return {"kind": "mesh", "dim": DIM, "axes": [placement.AXIS, placement.ITEM], "rows": rows}


def wide():
    devices, hardware = devices_of("cuda", CHIPS)
    split, rows = split_of(WIDE_ITEMS), []
    for mesh in MESHES:
        for dense in ("replicated", "split") if mesh[0] > 1 else ():
            with assumed(hardware), placing_nothing():
                setup = setup_of(split, mesh, LOSSES["softmax"], WIDE, dense, devices)
                program = compiled(setup, OPTIONS["cuda"])
            text = hlo.Program(program.as_text())
            cost = text.cost(text.round())
            rows.append(
                {
                    "mesh": list(mesh),
                    "dense": dense,
                    "state_bytes": preflight.bytes_on_a_device(setups.shapes(setup)),
                    "temporary_bytes": program.memory_analysis().temp_size_in_bytes,
                    "collectives": {key[1]: number for key, number in cost.items() if key[0] == "collective"},
                    "collective_bytes": cost["collective bytes"],
                    "formula_bytes": given_over_data(setup, mesh),
                }
            )
            print(rows[-1], flush=True)
    about = {"items": WIDE_ITEMS, "targets_a_step": TARGETS, "compiled_for": "8 H100, which were not there"}
    return {"kind": "mesh", **WIDE, **about, "axes": [placement.AXIS, placement.ITEM], "rows": rows}


def given_over_data(setup, mesh):
    """The bytes that a device contributes to a step's collectives over `data`, {how: bytes}, as in docs/scale.md."""
    data, item = mesh
    sizes = {name: sum(x.size for x in jax.tree.leaves(part)) for name, part in setups.shapes(setup).params.items()}
    tables, rest = -(-WIDE_ITEMS // item) * setup.config.model.dim, sum(sizes.values()) - sizes["items"]
    if not setup.fsdp:
        return {"summed": 4 * (tables + rest)}
    return {"summed": 4 * tables, "put together": 2 * 4 * rest // data, "summed to parts": 4 * rest}


def plot(result, path):
    """Draws state and temporary memory per device over the size of the catalogue, a line per mesh."""
    figure, panels = plots.panels(2)
    for axes, key in zip(panels, ("state_bytes", "temporary_bytes"), strict=True):
        for data, item in MESHES:
            rows = [row for row in result["rows"] if row["mesh"] == [data, item] and row["loss"] == "softmax"]
            sizes = [row["items"] for row in rows]
            plots.line(axes, sizes, [row[key] / 2**20 for row in rows], f"{data} x {item}, data x item")
        plots.over(axes, sizes, "items")
        axes.set(yscale="log", ylabel=f"{key.split('_')[0]}, MiB a device")
    plots.save(figure, path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dense", action="store_true", help="use a wide model, with its other params split or not")
    if parser.parse_args().dense:
        record.write("mesh_dense", wide())
    else:
        found = main()
        plot(found, record.place("mesh", "png"))
        record.write("mesh", found)
