"""Compiles the programs of recipes for an H100 or for TPUs, on a machine that has neither, and counts what they cost.

    python -m benchmarks.compiled --target cuda --config sasrec_softmax_ml1m --set precision=bfloat16
    python -m benchmarks.compiled --target tpu --topology v5e:2x2 v6e:16x16 --config bert4rec_ml1m

Needs an environment with the compilers: pip install -e '.[gpu,tpu]' -c constraints.txt. Without --config, all recipes
but `default` are compiled. Each is a row of results/compiled.json, which keeps the rows of other recipes and devices.
"""

import argparse
import contextlib
import json
import math
import os
import time
from pathlib import Path
from unittest import mock

os.environ["JAX_PLATFORMS"] = "cpu"  # leaves any accelerator alone

import jax
import numpy as np
from jax.experimental import topologies
from jax.extend.core import jaxprs_in_params

from benchmarks import hlo, record
from jaxrec.config import recipes
from jaxrec.evaluation import ranker
from jaxrec.evaluation.evaluator import Evaluator
from jaxrec.evaluation.protocols import default_protocol
from jaxrec.kernels import ranking
from jaxrec.kernels.hardware import Hardware, assumed
from jaxrec.training import assembly
from jaxrec.training.feed import Feed
from jaxrec.training.setup import shapes

GIB = 1 << 30
PARTS = ("train", "encode", "rank")
#: {chip: its memory, by its vendor's page; for a GPU, the three quarters that JAX takes}
MEMORY = {"v4": 32 * GIB, "v5e": 16 * GIB, "v5p": 95 * GIB, "v6e": 32 * GIB, "cuda": 60 * GIB}
ONE_GPU = "1x1x1"
#: {program: the index of its argument [rounds on all devices, rows or queries of a round]}
ROUNDS = {"encode": 3, "rank": 2}
#: tiles for Triton's products are chosen by timing, which is impossible here; a library's products count the same
OPTIONS = {"cuda": {"xla_gpu_enable_triton_gemm": False}, "tpu": None}


def devices_of(target: str, topology: str) -> tuple[list, Hardware]:
    """Returns devices to compile for, which are only described and need not exist, and the Hardware to assume."""
    jax.config.update("jax_enable_compilation_cache", False)
    if target == "cuda":
        about = (Path(__file__).parent / "h100.txtpb").read_text()
        found = topologies.get_topology_desc("", "cuda", target_config=about, topology=topology)
        return found.devices, Hardware("gpu", MEMORY["cuda"])
    os.environ |= {"TPU_WORKER_HOSTNAMES": "localhost", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")  # type of the absent host; only the topology matters
    kind = topology.partition(":")[0]
    options = {"chip_config_name": "megacore"} if kind == "v4" else {}  # two cores are one device, as in JAX
    return topologies.get_topology_desc(topology, "tpu", **options).devices, Hardware("tpu", MEMORY[kind])


def described(tree, where):
    """Replaces `jax.device_put` for devices that are only described: returns shapes, since they hold no arrays."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), jax.dtypes.result_type(x), sharding=where), tree)


@contextlib.contextmanager
def placing_nothing():
    """A context in which arrays that are placed on devices, of one host or several, become shapes only."""
    parts = lambda shape, where, part: described(np.broadcast_to(part((slice(1),) * len(shape)), shape), where)
    with mock.patch.multiple(jax, device_put=described, make_array_from_callback=parts):
        yield


def traced(config, devices, parts=PARTS):
    """Returns the programs of a training and its evaluation, {name: jax.stages.Traced}.

    Ranking is traced for the bucket with the most questions.
    """
    with placing_nothing():
        setup = assembly.assemble(config, devices=devices)
        state, found = shapes(setup), {}
        if "train" in parts:
            data, begins = Feed(setup)(0, 1)
            found["train"] = setup.run.trace(state, data, setup.sampler_tables, np.int32(begins), np.int32(begins + 1))
        if {"encode", "rank"} & set(parts):
            protocol = default_protocol(config.split)
            evaluator = Evaluator(setup.model, config, setup.split, setup.split.test, devices, protocol)
            found["encode"] = evaluator.encode.trace(state.params, evaluator.histories)
            layout = evaluator.layouts[protocol]
            layout = layout._replace(buckets=(max(layout.buckets, key=lambda bucket: bucket.rows.size),))
            hidden = jax.ShapeDtypeStruct((layout.total, config.model.dim), np.float32)
            table = jax.eval_shape(setup.model.output_embedding, state.params)
            (found["rank"],) = ranker.traces(layout, ranking.dot, table, hidden)
    return {name: found[name] for name in parts}


def products(jaxpr, in_loop=False) -> int:
    """Counts the floating-point operations of a round's matrix products on one device, by their definition.

    The body of the outermost loop counts once, as does that of an inner loop of unknown length. Of the branches of a
    condition, the most expensive one counts. Hand-written kernels count by their own cost estimates.
    """
    total = 0
    for each in jaxpr.eqns:
        kind = each.primitive.name
        if kind == "dot_general":
            (contracted, _), _ = each.params["dimension_numbers"]
            depth = math.prod(each.invars[0].aval.shape[axis] for axis in contracted)
            total += 2 * depth * math.prod(each.outvars[0].aval.shape)
        if kind == "pallas_call":  # its jaxpr is that of a single program of its grid
            total += each.params["cost_estimate"].flops
            continue
        deeper = in_loop or kind in ("scan", "while")
        inner = [products(getattr(part, "jaxpr", part), deeper) for part in jaxprs_in_params(each.params)]
        times = each.params["length"] if kind == "scan" and in_loop else 1
        total += times * (max(inner) if kind == "cond" else sum(inner))
    return total


def cost(program, options=None, only_round=False) -> dict:
    """Compiles a traced program, and returns what a round of it costs one device; see `hlo.Program.round`.

    only_round: whether the program has one round, whose loop the compiler removes.
    """
    begun = time.monotonic()
    compiled = program.lower().compile(options)
    seconds, memory = time.monotonic() - begun, compiled.memory_analysis()
    text = hlo.Program(compiled.as_text())
    counted = text.cost(text.entry if only_round else text.round())
    kinds = {key[1]: number for key, number in counted.items() if key[0] == "collective"}
    return {
        "kernels": hlo.kernels(counted),
        "flops": products(program.jaxpr.jaxpr),
        "bytes": counted["bytes"],
        "temporaries": memory.temp_size_in_bytes,
        "arguments": memory.argument_size_in_bytes,
        "collectives": kinds,
        "collective_bytes": counted["collective bytes"],
        "callbacks": counted["callbacks"],
        "compile_seconds": round(seconds, 1),
        "by_name": {key[1]: number for key, number in counted.most_common() if key[0] == "kernel"},
    }


def costs(name: str, changes: dict, target: str, topology: str, parts=PARTS) -> dict:
    """Returns what each program of a recipe costs on a target, {name: result of `cost`}."""
    devices, hardware = devices_of(target, topology)
    if len({device.process_index for device in devices}) > 1:  # pmap takes the devices of one process
        changes = {"launcher": "shard_map"} | changes
    config, _ = recipes.load(name, changes)
    with assumed(hardware):
        found = {}
        for part, program in traced(config, devices, parts).items():
            rounds, at_once = program.args_info[0][ROUNDS[part]].shape if part in ROUNDS else (0, 0)
            found[part] = cost(program, OPTIONS[target], only_round=rounds == len(devices))
            found[part] |= {"at_once": at_once} if at_once else {}
        return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=list(OPTIONS), required=True)
    parser.add_argument("--topology", nargs="+", help="for TPUs, such as v5e:2x2; for GPUs, such as 1x1x4")
    parser.add_argument("--config", nargs="+", help="names of recipes (default: all but `default`)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for every configuration")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS, help="programs to compile")
    parser.add_argument("--top", type=int, default=0, help="number of kinds of kernels to print")
    flags = parser.parse_args()
    changes = dict(each.split("=", 1) for each in flags.set)
    names = [path.stem for path in recipes.shipped() if path.stem != "default"]
    path = record.place("compiled", "json")
    rows = json.loads(path.read_text())["rows"] if path.exists() else {}
    for topology in flags.topology or [ONE_GPU if flags.target == "cuda" else "v5e:2x2"]:
        for name in flags.config or names:
            label = " ".join([name, *flags.set])
            where = f"cuda:{topology}" if flags.target == "cuda" else topology
            found = costs(name, changes, flags.target, topology, flags.part)
            for part, row in found.items():
                by_name = row.pop("by_name")
                row["commit"] = record.commit()
                print(where, label, part, row, flush=True)
                for kernel, number in list(by_name.items())[: flags.top]:
                    print(f"{number:8} {kernel}")
            rows.setdefault(where, {}).setdefault(label, {}).update(found)
    record.write("compiled", {"kind": "compiled", "rows": rows})


if __name__ == "__main__":
    main()
