"""Laws of sparse: relabelled rows get the dense optimiser's steps where these are defined; other rows are frozen."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, strategies as st
from some import some

from jaxrec.config.parsing import OptimConfig
from jaxrec.kernels import sizes
from jaxrec.kernels.hardware import Hardware, assumed
from jaxrec.training.steps import sparse
from jaxrec.training.steps.optim import optimiser

ITEMS, WIDTH, SHOWN, ASKED, DRAWN = 30, 3, 5, 4, 6
PLACES = SHOWN + ASKED + DRAWN
MODEL = SimpleNamespace(item_tables={"items": ("inputs", "targets"), "bias": ("targets",)})
RANDOM = np.random.default_rng(0)
PARAMS = {
    "items": jnp.asarray(RANDOM.normal(size=(ITEMS, WIDTH)), jnp.float32),
    "bias": jnp.asarray(RANDOM.normal(size=ITEMS), jnp.float32),
    "dense": {"kernel": jnp.asarray(RANDOM.normal(size=(WIDTH, WIDTH)), jnp.float32)},
}
batches = st.integers(0, 2**32 - 1).map(lambda seed: draw(np.random.default_rng(seed)))


def draw(random):
    """Inputs, targets and negatives: items with repeats, and 0 for none."""
    return tuple(jnp.asarray(random.integers(0, 12, size), jnp.int32) for size in (SHOWN, ASKED, DRAWN))


def loss(params, shown, asked, drawn):
    """A loss that depends on the rows of all items and on the dense kernel; 0, no item, contributes nothing."""
    at = lambda table, ids: jnp.where((ids > 0).reshape(-1, *[1] * (table.ndim - 1)), table[jnp.maximum(ids - 1, 0)], 0)
    hidden = jnp.tanh(at(params["items"], shown) @ params["dense"]["kernel"]).sum(0)
    every = jnp.append(asked, drawn)
    return ((at(params["items"], every) @ hidden + at(params["bias"], every)) ** 2).sum()


def steps(made, drawn, sparsely):
    """(params, optimiser's state) after a step on each batch, and the rows that were touched."""

    def one(params, opt, shown, asked, drawn):
        if not sparsely:
            updates, opt = made.update(jax.grad(loss)(params, shown, asked, drawn), opt, params)
            return optax.apply_updates(params, updates), opt
        tables = sparse.tables_of(MODEL, made, params, opt)
        rows, *items = sparse.relabel(shown, asked, drawn, ITEMS, "devices", negatives_shared=True)
        near, near_opt = (sparse.gather(rows, *each) for each in zip((params, opt), tables, strict=True))
        grads = jax.grad(loss)(near, *items)
        used = sparse.mask_of(rows, near, tables[0])
        updates, near_opt = made.update(grads, near_opt, near, used=used)
        new = optax.apply_updates(near, updates), near_opt
        return tuple(sparse.scatter(rows, *each) for each in zip((params, opt), new, tables, strict=True))

    run = jax.jit(
        lambda *args: jax.tree.map(lambda x: x[0], jax.vmap(one, axis_name="devices", axis_size=1, in_axes=None)(*args))
    )
    params, opt = PARAMS, made.init(PARAMS)
    for batch in drawn:
        params, opt = run(params, opt, *batch)
    return params, opt


def close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-5, atol=1e-6), a, b)


ADAGRAD = optimiser(OptimConfig("adagrad", 0.1, eps=1e-6), 10)
EXACT = {
    "adagrad": ADAGRAD,
    "gradient descent": optax.with_extra_args_support(optax.sgd(0.01)),
    "clipped": optax.chain(optax.clip_by_global_norm(0.5), ADAGRAD),
    "scheduled": optimiser(OptimConfig("adagrad", 0.1, eps=1e-6, schedule="linear", warmup=1), 4),
}


@pytest.fixture(params=["sorted rows", "compared rows", "whole tables"])
def form(request, monkeypatch):
    """Touched rows are moved out of the tables and back, or the optimiser skips the other rows of whole tables."""
    monkeypatch.setattr(sizes, "MASKED_ROWS_PER_TOUCHED", ITEMS if request.param == "whole tables" else 0)
    monkeypatch.setattr(sizes, "compares_pairs", lambda *numbers: request.param == "compared rows")


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("name", some(EXACT, "adagrad", "scheduled"))
def test_it_is_the_dense_optimiser_where_a_zero_gradient_changes_nothing(name):
    drawn = [draw(np.random.default_rng(seed)) for seed in range(3)]
    close(steps(EXACT[name], drawn, True), steps(EXACT[name], drawn, False))


LAZY = {
    "adam": optimiser(OptimConfig("adam", 0.01), 10),
    "momentum": optimiser(OptimConfig("adagrad", 0.1, eps=1e-6, momentum=0.5), 10),
}


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("name", some(LAZY, "adam"))
def test_untouched_rows_are_frozen_and_touched_ones_step_as_the_dense(name):
    """After two batches: rows of the second one step as with the dense optimiser, and no others move."""
    made, (first, second) = LAZY[name], (draw(np.random.default_rng(seed)) for seed in (3, 4))
    params, opt = steps(made, [first], True)
    after, opt_after = steps(made, [first, second], True)
    updates, opt_dense = jax.jit(made.update)(jax.jit(jax.grad(loss))(params, *second), opt, params)
    dense = optax.apply_updates(params, updates)
    shown, asked = set(second[0].tolist()) - {0}, set(np.append(*second[1:]).tolist()) - {0}
    assert shown - asked and (set(first[0].tolist()) | set(first[1].tolist())) - shown - asked - {0}
    touched = {"items": shown | asked, "bias": asked}
    before = [params, *moments(opt)]
    for old, new, wanted in zip(before, [after, *moments(opt_after)], [dense, *moments(opt_dense)], strict=True):
        for table, items in touched.items():
            rows = np.isin(np.arange(1, ITEMS + 1), list(items))
            close(new[table][rows], wanted[table][rows])
            np.testing.assert_array_equal(new[table][~rows], old[table][~rows])
        close(new["dense"], wanted["dense"])


def moments(opt):
    """The trees of the optimiser's state that have the shape of the params."""
    is_params = lambda x: isinstance(x, dict) and set(x) == set(PARAMS)
    return [tree for tree in jax.tree.leaves(opt, is_leaf=is_params) if is_params(tree)]


MOST_WHOLE = sizes.MASKED_ROWS_PER_TOUCHED * PLACES  # items of a catalogue whose tables stand for themselves


@pytest.mark.slow
@given(batches, st.sampled_from([12, MOST_WHOLE, MOST_WHOLE + 1]), st.sampled_from(["cpu", "gpu"]))
def test_relabelled_items_are_those_of_their_rows(batch, items, platform):
    """Also with few items, when the rows are the whole catalogue."""
    relabelled = jax.vmap(
        lambda *ids: sparse.relabel(*ids, items, "devices", negatives_shared=True), axis_name="devices"
    )
    with assumed(Hardware(platform, 16 << 30)):
        rows, *numbers = jax.tree.map(lambda x: x[0], relabelled(*(ids[None] for ids in batch)))
    assert (rows.at is None) == (items <= MOST_WHOLE)
    at = np.arange(items) if rows.at is None else rows.at
    assert len(at) == (items if rows.at is None else PLACES)
    for ids, again in zip(batch, numbers, strict=True):
        real = ids > 0
        np.testing.assert_array_equal(at[again[real] - 1], ids[real] - 1)
        np.testing.assert_array_equal(again[~real], ids[~real])
    for name, wanted in {"inputs": batch[0], "targets": np.append(batch[1], batch[2])}.items():
        marked = at[rows.used[name]]
        assert np.unique(marked[marked < items]).tolist() == (np.unique(wanted[wanted > 0]) - 1).tolist()
        assert len(np.unique(marked)) == len(marked)
