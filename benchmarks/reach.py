"""How far back does a model look? Measured by what it is shown, and by what moves its answer.

    python -m benchmarks.reach --name reach_ml-1m --workdirs runs/sasrec_softmax_ml1m runs/gru4rec_ml1m

Accuracy: the test metrics if only the newest 1, 3, 5, ... items of every history are shown. Influence: for histories as
long as the model sees, the norm of the gradient of the target's score with respect to the embedding of each item, as a
share of the sum over all items.
"""

import argparse
import dataclasses
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import plots, record
from jaxrec.batches import objectives
from jaxrec.batches.stream import Stream
from jaxrec.data import sources, splits
from jaxrec.evaluation.evaluator import Evaluator
from jaxrec.evaluation.metrics import metrics
from jaxrec.models.entry import build
from jaxrec.training.workdirs import workdir
from jaxrec.training.workdirs.restore import restore_params

KEPT = (1, 3, 5, 15, 50)  # newest items
ROWS, MOST = 32, 1024  # histories differentiated at once, and in all


def accuracy(model, params, config, split, kept):
    """The test metrics if only the newest `kept` items are shown; the whole history is left out of the ranking."""
    length = min(kept + objectives.build(config).num_mask_slots, config.length)
    judge = Evaluator(model, dataclasses.replace(config, length=length), split, split.test, jax.local_devices())
    found = metrics(judge.ranks(params))
    return {name: found[name] for name in ("hr@10", "ndcg@10")}


def influence(model, params, config, split):
    """The mean share of the gradient's norm by distance, newest item first; None if no history is long enough."""
    objective, test, items = objectives.build(config), split.test, split.interactions.items
    seen = config.length - objective.num_mask_slots
    long = np.flatnonzero(test.stop - test.start >= seen)[:MOST]
    if not len(long):
        return None
    histories = np.stack([items[end - seen : end] for end in test.stop[long]]).astype(np.int32)
    program = jax.jit(partial(norms, model, objective))
    batches = [np.arange(i, i + ROWS) % len(long) for i in range(0, len(long), ROWS)]  # the last one is filled up
    found = [np.asarray(program(params, histories[batch], test.target[long[batch]])) for batch in batches]
    shares = np.concatenate(found)[: len(long)]
    shares /= shares.sum(axis=1, keepdims=True)
    return {"histories": len(long), "shares": shares.mean(axis=0)[::-1].tolist()}


def norms(model, objective, params, histories_RN, targets_R):
    """Norms of the gradients of the targets' scores with respect to their histories' item embeddings. -> [R, N]

    Every slot gets a row of its own in the tables, so that an item that occurs twice has two gradients.
    """
    rows, number = histories_RN.shape
    at = histories_RN.reshape(-1) - 1
    own = {name: params[name][at] for name, uses in model.item_tables.items() if "inputs" in uses}
    slots = number + objective.num_mask_slots
    fresh_RN = 1 + jnp.arange(rows * number, dtype=jnp.int32).reshape(rows, number)
    ones = jnp.ones((rows, slots), jnp.int32)
    stream = Stream(
        jnp.pad(fresh_RN, ((0, 0), (0, objective.num_mask_slots))),
        targets=0 * ones,
        segments=ones,
        positions=jnp.broadcast_to(jnp.arange(slots, dtype=jnp.int32), ones.shape),
        user_index=-ones,
    )
    answer_RD = model.output_embedding(params)[0][targets_R - 1]

    def scores(own):
        hidden_RTD, _ = model.encode(params | own, objective.mask_inputs(stream))
        return (model.head(params, hidden_RTD[:, -1]) * answer_RD).sum()

    grads = jax.grad(scores)(own)
    return sum(jnp.square(each).sum(-1) for each in grads.values()).reshape(rows, number) ** 0.5


def reach(path):
    """Measures accuracy and influence with a workdir's best checkpoint."""
    config = workdir.read(path).config
    split = splits.last_item(sources.load(config.dataset))
    model = build(config, len(split.interactions.catalogue.ids), len(split.interactions.users))
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    params, step = restore_params(path, model, "best", sharding)
    kept = [n for n in KEPT if n < config.length] + [config.length]
    return {
        "model": config.model.name,
        "objective": config.objective,
        "length": config.length,
        "step": step,
        "kept": {str(n): accuracy(model, params, config, split, n) for n in kept},
        "influence": influence(model, params, config, split),
    }


def plot(result, path):
    """Draws NDCG@10 by the number of newest items that are shown, and the influence within a distance."""
    figure, (left, right) = plots.panels(2)
    for name, row in result["rows"].items():
        plots.line(left, map(int, row["kept"]), [each["ndcg@10"] for each in row["kept"].values()], name)
        if row["influence"]:
            shares = row["influence"]["shares"]
            right.plot(1 + np.arange(len(shares)), np.cumsum(shares))
    left.set(xscale="log", xlabel="newest items shown", ylabel="NDCG@10, test", title=result["data"])
    right.set(xscale="log", xlabel="distance (1: the newest item)", ylabel="influence up to there", ylim=(0, 1))
    plots.save(figure, path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="name of the result")
    parser.add_argument("--workdirs", nargs="+", type=Path, required=True)
    flags = parser.parse_args()
    rows = {path.name: reach(path) for path in flags.workdirs}
    data = Path(workdir.read(flags.workdirs[0]).config.dataset).name
    result = {"kind": "reach", "data": data, "rows": rows}
    for name, row in rows.items():
        print(name, {n: round(each["ndcg@10"], 4) for n, each in row["kept"].items()})
    plot(result, record.place(flags.name, "png"))
    record.write(flags.name, result)
