"""GRU4Rec against the authors' own implementation: tests/parity/README.md says what the arrays are.

In float32, to 1e-5 of max(1, |value|). The reference counts items from 0, and marks a closed lane by -1.
"""

from pathlib import Path

import entries
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from some import some

from jaxrec.batches.objectives import next_item
from jaxrec.batches.stream import Stream
from jaxrec.config.parsing import OptimConfig
from jaxrec.training import launch as dev
from jaxrec.training.losses import entry as losses
from jaxrec.training.steps import step
from jaxrec.training.steps.negatives import Negatives
from jaxrec.training.steps.optim import optimiser
from jaxrec.training.steps.sparse import on_touched_rows

ITEMS = 20


def load(name):
    with np.load(Path(__file__).parents[1] / "parity" / f"gru4rec_official_{name}.npz") as file:
        return dict(file)


def model(layers=1):
    return entries.model("gru4rec", ITEMS, 8, dim=8, layers=layers)


def converted(of, layers=1):
    """Converts the reference's weights, or arrays of their shapes, to ours: transposed kernels, the same two biases."""
    tree = {"items": of["Wy.weight"], "bias": of["By.weight"][..., 0]}
    for i in range(layers):
        tree[f"gru_{i}"] = {
            ours: {"kernel": np.swapaxes(of[f"G.{i}.weight_{side}"], -1, -2), "bias": of[f"G.{i}.bias_{side}"]}
            for ours, side in {"input": "ih", "hidden": "hh"}.items()
        }
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


def starting(arrays, prefix):
    return {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}


def agree(got, wanted, tolerance=1e-5):
    for (path, one), (_, other) in zip(*(jax.tree.leaves_with_path(tree) for tree in (got, wanted)), strict=True):
        error = np.abs(np.asarray(one, float) - other) / np.maximum(1, np.abs(other))
        assert error.max() < tolerance, (jax.tree_util.keystr(path), error.max())


def lanes_of(items, reset):
    """Returns a Stream of [lanes, steps]; positions count from each reset."""
    steps = np.arange(len(items))[:, None]
    positions = steps - np.maximum.accumulate(np.where(reset == 1, steps, 0))
    real = items >= 0
    stream = items + 1, np.zeros_like(items), real, np.where(real, positions, 0), np.zeros_like(items)
    return Stream(*(jnp.asarray(values.T, jnp.int32) for values in stream))


@pytest.mark.parametrize("whole", [True, False], ids=["by rows", "step by step"])
@pytest.mark.parametrize(("name", "layers"), [("one", 1), ("two", 2)])
def test_forward_with_resets(name, layers, whole):
    wanted = starting(load("forward"), f"{name}.")
    made, params = model(layers), converted(starting(wanted, "param."), layers)
    stream = lanes_of(wanted["input_items"], wanted["reset"])
    carry, hidden = made.initial_carry(params, 3), []
    if whole:
        hidden = made.encode(params, stream, carry)[0]
    else:
        for step in range(7):
            here = jax.tree.map(lambda values, at=step: values[:, at : at + 1], stream)
            out, carry = made.encode(params, here, carry)
            hidden.append(out)
            for layer, state in enumerate(carry):
                agree(state * wanted["alive"][step][:, None], wanted[f"hidden{layer}"][step])
        hidden = jnp.concatenate(hidden, axis=1)
    table, bias = made.output_embedding(params)
    scores = jnp.swapaxes(hidden @ table.T + bias, 0, 1)
    agree(scores * wanted["alive"][..., None], wanted["scores"])


# --- whole steps of training


def training(wanted, sparse):
    """Returns (first State, step function: State, number -> State, loss) on the fixture's own batches."""
    made = model()
    lanes, rate, momentum, eps = (float(wanted[name]) for name in ("lanes", "rate", "momentum", "eps"))
    inputs = lanes_of(wanted["input_items"], wanted["reset"])
    inputs = inputs._replace(targets=jnp.asarray(wanted["targets"].T + 1, jnp.int32))
    drawn, counts = jnp.asarray(wanted["negatives"] + 1, jnp.int32), jnp.asarray(wanted["counts"], jnp.float32)
    log_weight = float(wanted["logq"]) * jnp.log(counts)
    name = "bpr-max" if wanted["bpreg"] else "sampled-softmax"
    own = {key: float(wanted[of]) for key, of in {"elu": "elu_param", "bpreg": "bpreg"}.items() if name == "bpr-max"}
    how = {"sampling": "mixed", "share": "batch", "remove_accidental_hits": False}
    loss = entries.loss(name, negatives=5, **how, **own)

    def draw(key, keys, targets, index):
        own = targets.items[:, 0]
        of_own, of_drawn = log_weight[own - 1], float(wanted["sample_alpha"]) * log_weight[drawn[index] - 1]
        return Negatives(
            jnp.append(own, drawn[index]),
            shared_by="batch",
            shift=jnp.append(of_own, of_drawn),
            own_shift=of_own,
            own_column=jnp.arange(4),
        )

    adagrad = optimiser(OptimConfig("adagrad", rate, eps=eps, momentum=momentum), 8)
    parts = step.Parts(
        batch=lambda data, index, rows: jax.tree.map(lambda values: values[rows][:, index, None], inputs),
        make_targets=lambda stream, keys: next_item().make_targets(stream, keys, 1),
        sample=draw,
        loss_and_grad=step.loss_and_grad(made, losses.build(loss, ITEMS), jnp.dtype("float32")),
        optimiser=adagrad,
        **({"wrap_update": on_touched_rows(made, adagrad)} if sparse else {}),
        rows=4,
        loss_divisor=lanes,
    )
    params = jax.tree.map(lambda x: x[0], converted(starting(wanted, "param.")))
    state = step.State(jnp.int32(0), params, parts.optimiser.init(params), made.initial_carry(params, 4))
    run = dev.launch_shard_map(step.call(parts, 1), jax.devices()[:1])
    return state, lambda state, at: run(state, (), np.int32(at), np.int32(0), np.int32(at + 1))


@pytest.mark.parametrize(
    ("name", "sparse"),
    some([("xe", True), ("bprmax", True), ("xe_nomomentum", True), ("xe_nomomentum", False)], ("bprmax", True)),
)
def test_whole_steps_of_training(name, sparse):
    """Compares loss, hidden states, params and optimiser state after each step. Ours has both biases of a gate too.

    With logQ, the reference takes drawn items for targets in the last two steps, as the page says.
    """
    wanted = load(f"train_{name}")
    state, run = training(wanted, sparse)
    for at in range(6 if wanted["logq"] else 8):
        state, report = run(state, at)
        agree(report.loss[0] * report.count[0], wanted["loss_sum"][at])
        agree(state.carry[0] * wanted["alive"][at][:, None], wanted["hidden_after"][at])
        after = lambda prefix, at=at: jax.tree.map(lambda x: x[at + 1], converted(starting(wanted, prefix)))
        agree(state.params, after("param."))
        agree(optax.tree_utils.tree_get(state.opt, "sum_of_squares"), after("acc."))
        if float(wanted["momentum"]):
            agree(optax.tree_utils.tree_get(state.opt, "trace"), after("mom."))
