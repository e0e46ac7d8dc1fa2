"""The losses of jaxrec against those of the reference implementations, in float32; see tests/parity/README.md."""

from functools import cache
from pathlib import Path

import entries
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from some import some

from jaxrec.batches.objectives import Targets
from jaxrec.config import registry
from jaxrec.data import interactions, splits
from jaxrec.training.losses.bpr import bpr
from jaxrec.training.losses.gbce import gbce
from jaxrec.training.steps import negatives


@cache
def load(name):
    with np.load(Path(__file__).parents[1] / "parity" / f"{name}.npz") as arrays:
        return dict(arrays)


def agree(got, wanted):
    assert (np.abs(np.asarray(got, float) - wanted) / np.maximum(1, np.abs(wanted))).max() < 1e-5


# --- gBCE


@pytest.mark.parametrize("t", [0, 0.75, 1])
@pytest.mark.parametrize("logits", ["usual", "extreme"])
@pytest.mark.parametrize("size", ["small", "large"])
def test_gbce_is_the_exact_one(size, logits, t):
    """Exact to 50 digits, also at logits of +-30, where the reference clamps."""
    arrays = load("gbce")
    at, weight = arrays[f"{size}.{logits}.logits"].astype(np.float32), arrays[f"{size}.weight"].astype(np.float32)
    slot = gbce(int(arrays[f"{size}.sizes"][0]), t)

    @jax.value_and_grad
    def mean(logits):
        of = lambda logits: slot(logits[0], logits[1:], jnp.ones(len(logits) - 1, bool))
        return (weight * jax.vmap(jax.vmap(of))(logits)).sum() / weight.sum()

    value, grad = mean(at)
    wanted = arrays[f"{size}.{logits}.t{t}.exact_loss"], arrays[f"{size}.{logits}.t{t}.exact_grad"]
    agree(value, wanted[0])
    np.testing.assert_allclose(grad, wanted[1], rtol=1e-4, atol=1e-12)  # small gradients must be right too


# --- GRU4Rec

OFFICIAL = ["xe", "xe_logq1", "xe_logq05", "xe_inbatch_logq1", "bprmax", "bprmax_reg", "bprmax_elu05", "bprmax_elu1"]


def official(name, monkeypatch):
    """The loss's config, the Negatives for the fixture's draws (its items are 0 to 19), and the scores."""
    arrays = load("gru4rec_official_losses")
    logq, alpha, elu, bpreg = arrays[f"{name}.settings"].tolist()
    kind = "sampled-softmax" if name.startswith("xe") else "bpr-max"
    own = {"logq": logq, "logq_counts": "events"} if kind == "sampled-softmax" else {"elu": elu, "bpreg": bpreg}
    loss = entries.loss(
        kind,
        negatives=0 if "inbatch" in name else len(arrays["negatives"]),
        sampling="in-batch" if "inbatch" in name else "mixed",
        share="batch",
        remove_accidental_hits=False,
        alpha=alpha,
        **own,
    )
    monkeypatch.setattr(splits, "training_counts", lambda split: arrays["counts"])
    monkeypatch.setattr(negatives, "draw_popular", lambda *_: jnp.asarray(1 + arrays["negatives"], jnp.int32))
    split = splits.last_item(interactions.from_sequences([list(range(1, 21))]))
    draw, tables = negatives.sampler(loss, split, "data", None)
    tables = jax.tree.map(jnp.asarray, tables)
    targets = Targets(jnp.asarray(1 + arrays["targets"], jnp.int32)[:, None], None, None)
    of_device = jax.vmap(lambda targets: draw(None, None, targets, tables), axis_name="data")
    drawn = jax.tree.map(lambda x: x[0], of_device(jax.tree.map(lambda x: x[None], targets)))
    return loss, drawn, arrays["scores"][:, : len(drawn.items)].astype(np.float32)


@pytest.mark.parametrize("name", some(OFFICIAL, "xe_inbatch_logq1", "bprmax_elu05"))
def test_the_official_gru4rec_losses(name, monkeypatch):
    """The losses are sums over lanes; the scores of the lanes' targets come first, and nothing is masked."""
    loss, drawn, scores = official(name, monkeypatch)
    slot = registry.find("loss", loss.name).slot(loss, 20)
    assert drawn.own_column.tolist() == [0, 1, 2, 3]

    @jax.value_and_grad
    def lanes(scores):
        shifted = scores if drawn.shift is None else scores - drawn.shift
        positive = jnp.diagonal(scores)
        positive = positive if drawn.own_shift is None else positive - drawn.own_shift
        others = jnp.arange(scores.shape[1]) != drawn.own_column[:, None]
        return jax.vmap(slot)(positive, shifted, others).sum()

    value, grad = lanes(scores)
    agree(value, load("gru4rec_official_losses")[f"{name}.loss"])
    agree(grad, load("gru4rec_official_losses")[f"{name}.grad"])


# --- BPR


def test_recboles_bpr():
    """On the scores of RecBole's Caser, without its regulariser; it adds 1e-10 inside the logarithm."""
    arrays = load("caser_recbole")
    rows = np.arange(3)
    positive, negative = (arrays["scores"][rows, arrays[name]] for name in ("targets", "negatives"))
    names = [f"conv_h.{i}.weight" for i in range(6)]
    names += ["user_embedding.weight", "item_embedding.weight", "conv_v.weight", "fc1.weight", "fc2.weight"]
    penalty = arrays["reg_weight"] * sum(np.linalg.norm(arrays[f"param.{name}"]) for name in names)
    of = lambda positive, negative: bpr(positive, negative[None], jnp.ones(1, bool))
    mean = jax.vmap(of)(positive.astype(np.float32), negative.astype(np.float32)).mean()
    agree(mean, arrays["bpr.loss"] - penalty)
