"""Compile the programs of recipes for an H100 or for TPUs, on a machine that has neither, and count what they cost.

    python -m benchmarks.compiled --target cuda --config sasrec_softmax_ml1m --set precision=bfloat16
    python -m benchmarks.compiled --target tpu --topology v5e:2x2 v6e:16x16 --config bert4rec_ml1m

Needs an environment with the compilers: pip install -e '.[gpu,tpu]' -c constraints.txt. Of the recipes that are not
named all are compiled. Each is a row of results/compiled.json, where rows of other recipes and devices stay.
"""

import argparse
import contextlib
import json
import math
import os
import time
from pathlib import Path
from unittest import mock

os.environ["JAX_PLATFORMS"] = "cpu"  # no accelerator is touched, if there is one

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
#: of a chip, by its vendor's page; JAX takes three quarters of a GPU's
MEMORY = {"v4": 32 * GIB, "v5e": 16 * GIB, "v5p": 95 * GIB, "v6e": 32 * GIB, "cuda": 60 * GIB}
ONE_GPU = "1x1x1"
#: nothing is timed here, so that no tiles can be chosen for Triton's products: a library's are counted alike
OPTIONS = {"cuda": {"xla_gpu_enable_triton_gemm": False}, "tpu": None}


def devices_of(target: str, topology: str) -> tuple[list, Hardware]:
    """Devices that are only described, to compile for, and what programs are to know of them."""
    jax.config.update("jax_enable_compilation_cache", False)
    if target == "cuda":
        about = (Path(__file__).parent / "h100.txtpb").read_text()
        found = topologies.get_topology_desc("", "cuda", target_config=about, topology=topology)
        return found.devices, Hardware("gpu", MEMORY["cuda"])
    os.environ |= {"TPU_WORKER_HOSTNAMES": "localhost", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")  # of the host that isn't there; the topology counts
    kind = topology.partition(":")[0]
    options = {"chip_config_name": "megacore"} if kind == "v4" else {}  # its two cores as one device, as JAX has them
    return topologies.get_topology_desc(topology, "tpu", **options).devices, Hardware("tpu", MEMORY[kind])


def described(tree, where):
    """What `jax.device_put` gives for devices that are only described: shapes, since they hold no arrays."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), jax.dtypes.result_type(x), sharding=where), tree)


@contextlib.contextmanager
def placing_nothing():
    """Within it arrays on devices, of one host or of several, are only described."""
    parts = lambda shape, where, part: described(np.broadcast_to(part((slice(1),) * len(shape)), shape), where)
    with mock.patch.multiple(jax, device_put=described, make_array_from_callback=parts):
        yield


def traced(config, devices, parts=PARTS):
    """The programs of a training and its evaluation, {name: jax.stages.Traced}.

    Of ranking it is the bucket with the most questions.
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
    """The floating-point operations of the matrix products of a round on one device, by their definition.

    The outermost loop counts once, as does an inner one of unknown length; of branches the most expensive one counts,
    and of hand-written kernels what they say of themselves.
    """
    total = 0
    for each in jaxpr.eqns:
        kind = each.primitive.name
        if kind == "dot_general":
            (contracted, _), _ = each.params["dimension_numbers"]
            depth = math.prod(each.invars[0].aval.shape[axis] for axis in contracted)
            total += 2 * depth * math.prod(each.outvars[0].aval.shape)
        if kind == "pallas_call":  # its jaxpr is that of one of many programs
            total += each.params["cost_estimate"].flops
            continue
        deeper = in_loop or kind in ("scan", "while")
        inner = [products(getattr(part, "jaxpr", part), deeper) for part in jaxprs_in_params(each.params)]
        times = each.params["length"] if kind == "scan" and in_loop else 1
        total += times * (max(inner) if kind == "cond" else sum(inner))
    return total


def cost(program, options=None) -> dict:
    """What a round of a traced program costs one device once it is compiled; see `hlo.Program.round`."""
    begun = time.monotonic()
    compiled = program.lower().compile(options)
    seconds, memory = time.monotonic() - begun, compiled.memory_analysis()
    text = hlo.Program(compiled.as_text())
    counted = text.cost(text.round())
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
    """What each program of a recipe costs on a target, {name: as from `cost`}."""
    devices, hardware = devices_of(target, topology)
    if len({device.process_index for device in devices}) > 1:  # pmap takes the devices of one process
        changes = {"launcher": "shard_map"} | changes
    config, _ = recipes.load(name, changes)
    with assumed(hardware):
        return {part: cost(program, OPTIONS[target]) for part, program in traced(config, devices, parts).items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=list(OPTIONS), required=True)
    parser.add_argument("--topology", nargs="+", help="of TPUs, such as v5e:2x2; of GPUs, such as 1x1x4")
    parser.add_argument("--config", nargs="+", help="names of recipes; by default all")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the configuration")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS, help="which programs")
    parser.add_argument("--top", type=int, default=0, help="print so many kinds of kernels")
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
                print(where, label, part, row, flush=True)
                for kernel, number in list(by_name.items())[: flags.top]:
                    print(f"{number:8} {kernel}")
            rows.setdefault(where, {}).setdefault(label, {}).update(found | {"commit": record.commit()})
    record.write("compiled", {"kind": "compiled", "rows": rows})


if __name__ == "__main__":
    main()
