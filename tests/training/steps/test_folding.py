"""Training with item features: devices, microbatches and row-sparse updates make the same steps."""

from dataclasses import replace

import jax
import numpy as np
import polars as pl
import pytest
from some import some
from stepping import ADAM, assert_close, states
from trainings import BASE

from jaxrec.config import parsing as configs
from jaxrec.data import interactions, splits
from jaxrec.kernels import sizes
from jaxrec.models.features import FEATURES, Items
from jaxrec.training import assembly, setup as setups
from jaxrec.training.steps.folding import dropped

ITEMS = 20
SOFTMAX = {"loss": {"name": "softmax", "negatives": 0}}
SAMPLED = {"loss": {"name": "bce", "negatives": 3, "sampling": "uniform"}}
SPARSE = {"optim": {"name": "adagrad", "learning_rate": 0.05, "sparse": True}}
GRU = {"model": {"name": "gru4rec", "dim": 8, "layers": 1, "dropout": 0.2}}


def split():
    """Histories of items of three genres and a given vector; item 20 never trains."""
    random = np.random.default_rng(0)
    histories = [random.integers(1, ITEMS, random.integers(3, 15)).tolist() for _ in range(60)]
    made = interactions.from_sequences([[*range(1, ITEMS), 1, ITEMS], *histories])
    vectors = pl.Series(random.normal(size=(ITEMS, 3)).tolist(), dtype=pl.List(pl.Float32))
    about = pl.DataFrame({"genre": [["A", "B", "A|B"][item % 3] for item in range(ITEMS)], "image": vectors})
    return splits.last_item(replace(made, catalogue=made.catalogue._replace(about=about)))


def made(devices=1, **changes):
    keys = {"optim": ADAM, "features": "genre,image", "id_dropout": 0.3}
    return setups.setup(configs.from_dict(BASE | keys | changes), split(), jax.devices()[:devices])


@pytest.mark.slow
@pytest.mark.parametrize("changes", some([{}, SOFTMAX, SPARSE, GRU | SOFTMAX], SOFTMAX))
def test_devices_and_microbatches_make_the_same_steps(changes, monkeypatch):
    """With dropout of hidden vectors and of the items' own vectors; row-sparse steps too."""
    monkeypatch.setattr(sizes, "MASKED_ROWS_PER_TOUCHED", 0)
    (one,), (eight,) = (
        states(made(devices, **changes | rows), [6]) for devices, rows in ((1, {"microbatch_rows": 2}), (8, {}))
    )
    assert_close(one[0], eight[0])


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, SOFTMAX, SPARSE, GRU | SOFTMAX])
@pytest.mark.parametrize("item", [2, 8])
def test_features_are_split_with_their_items(changes, item, monkeypatch):
    monkeypatch.setattr(sizes, "MASKED_ROWS_PER_TOUCHED", 0)
    setup = made(8, mesh={"item": item}, **changes)
    (split, told), (one, wanted) = states(setup, [6])[0], states(made(**changes), [6])[0]
    assert_close((assembly.to_save(setup, split), told), (one, wanted))


@pytest.mark.slow
@pytest.mark.parametrize("item", [1, 2])
def test_layers_are_split_beside_features(item):
    setup = made(4, mesh={"item": item, "dense": "split"}, **SOFTMAX)
    (split, told), (one, wanted) = states(setup, [6])[0], states(made(**SOFTMAX), [6])[0]
    assert setup.fsdp and setup.model.folding
    assert_close((assembly.to_save(setup, split), told), (one, wanted))


@pytest.mark.slow
def test_rows_that_are_moved_have_their_own_features(monkeypatch):
    monkeypatch.setattr(sizes, "MASKED_ROWS_PER_TOUCHED", 0)
    (moved,) = states(made(**SPARSE), [6])
    (dense,) = states(made(optim=SPARSE["optim"] | {"sparse": False}), [6])
    assert_close(moved[0].params, dense[0].params)


@pytest.mark.slow
@pytest.mark.parametrize("loss", some([SOFTMAX["loss"], SAMPLED["loss"]], SAMPLED["loss"]))
def test_what_never_trains_is_no_wrong_answer(loss):
    """Changing the features of an item that never trains doesn't change the training."""
    setup = made(loss=loss)
    items = setup.model.folding.items
    assert items.values[ITEMS - 1].any() and not items.trained[ITEMS - 1]
    other = items._replace(values=np.where(np.arange(ITEMS)[:, None] == ITEMS - 1, 0, items.values))
    other = replace(setup, sampler_tables=setup.sampler_tables._replace(items=jax.device_put(other)))
    (one,), (two,) = states(setup, [6]), states(other, [6])
    assert_close(one[0], two[0], atol=1e-6)


def test_what_is_left_out_is_of_the_step_and_about_its_share():
    items = Items(np.zeros((4000, 0), np.int32), np.zeros((4000, 0)), np.arange(4000) > 0, np.ones(4000, bool))
    one, again, other = (
        np.asarray(dropped(jax.random.key(key, impl="threefry2x32"), items, 0.3).named) for key in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    assert (one != other).any() and not one[0] and abs(one.mean() - 0.7) < 0.05
    kept = np.asarray(dropped(jax.random.key(1, impl="threefry2x32"), items, 0.0).named)
    np.testing.assert_array_equal(kept, items.named)


@pytest.mark.slow
def test_own_vectors_move_but_of_items_that_never_train_or_by_features_alone():
    setup = made(**SOFTMAX)
    (start, _), (after, _) = states(setup, [0, 8])
    moved = (np.asarray(start.params["items"]) != after.params["items"]).any(1)
    assert moved[: ITEMS - 1].all() and not moved[ITEMS - 1]
    alone = made(**SOFTMAX, features_only=True, id_dropout=0.0)
    (start, _), (after, _) = states(alone, [0, 8])
    np.testing.assert_array_equal(start.params["items"], after.params["items"])
    for before, now in zip(*map(jax.tree.leaves, (start.params[FEATURES], after.params[FEATURES])), strict=True):
        assert (before != now).all()
