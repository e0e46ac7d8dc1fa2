"""Laws of item features: they fold into params of the model without features."""

import entries
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recommenders import params as noisy
from some import some

from jaxrec.batches.stream import Stream
from jaxrec.models.features import FEATURES, folded, with_features

ITEMS, NUMBER, WIDTH, SLOTS = 12, 5, 8, 6
RANDOM = np.random.default_rng(0)
VALUES = np.array([[1, 3], [1, 3], [2, 0], [0, 0], *RANDOM.integers(1, NUMBER + 1, (ITEMS - 4, 2))], np.int32)
VECTORS = RANDOM.normal(size=(ITEMS, 3)).astype(np.float32)
VECTORS[1] = VECTORS[0]
TRAINED = np.arange(ITEMS) != 4
STREAM = Stream(
    jnp.asarray(RANDOM.integers(1, ITEMS + 1, (2, SLOTS)), jnp.int32),
    *(jnp.zeros((2, SLOTS), jnp.int32) + each for each in (0, 1)),
    jnp.tile(jnp.arange(SLOTS, dtype=jnp.int32), (2, 1)),
    jnp.zeros((2, SLOTS), jnp.int32),
)
MODELS = {
    "sasrec": {},
    "sasrec separate": {"embedding": "separate", "score": "cosine"},
    "gru4rec": {},  # with a bias of each item
    "examples.own_model:MODEL": {},
}


def plain(name):
    return entries.model(name.partition(" ")[0], ITEMS, SLOTS, dim=WIDTH, **MODELS[name])


def featured(model, **keys):
    model = with_features(model, VALUES, VECTORS, TRAINED, NUMBER, **keys)
    return model, noisy(model)


def by_hand(model, params, own=TRAINED):
    """Params of the model without features, item by item."""
    made = {name: value for name, value in params.items() if name != FEATURES}
    for name in model.item_tables:
        learned, rows = params[FEATURES][name], []
        for item in range(ITEMS):
            row = params[name][item] * own[item]
            for number in VALUES[item][VALUES[item] > 0]:
                row += learned["values"][number - 1]
            rows.append(row + np.tensordot(VECTORS[item], learned["projection"], 1))
        made[name] = jnp.stack(rows)
    return made


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("ids", [True, False])
def test_the_fold_is_the_sum_of_what_an_item_has(name, ids):
    model, params = featured(plain(name), ids=ids)
    _, found = folded(model, params)
    wanted = by_hand(plain(name), params, TRAINED & ids)
    assert found.keys() == wanted.keys()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("name", some(MODELS, "sasrec separate"))
def test_it_answers_as_the_model_without_features_on_folded_params(name):
    """For encoding, encoding at some slots, the output table, and gradients through all of these."""
    model, params = featured(plain(name))
    bare, few = folded(model, params)
    slots = jnp.asarray([[0, 5], [3, 1]])
    for made in (
        lambda model, params: model.encode(params, STREAM)[0],
        lambda model, params: model.encode_at(params, STREAM, slots),
        lambda model, params: model.head(params, model.encode(params, STREAM)[0]),
        lambda model, params: model.output_embedding(params),
    ):
        for one, other in zip(*map(jax.tree.leaves, (made(model, params), made(bare, few))), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)

    def total(model, params):
        table, _ = model.output_embedding(params)
        return ((model.encode(params, STREAM)[0] @ table.T) ** 2).mean()

    whole = jax.jit(jax.grad(lambda params: total(model, params)))(params)
    by_fold = jax.grad(lambda params: total(bare, model.folding.fold(params, model.folding.items)))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), whole, by_fold)
    assert not np.asarray(whole[next(iter(model.item_tables))])[~TRAINED].any()


@pytest.mark.parametrize("name", ["sasrec", "gru4rec"])
def test_a_bonus_is_of_the_scores_of_what_never_trains(name):
    model, params = featured(plain(name), bonus=0.5)
    without, few = folded(featured(plain(name))[0], params)
    favoured, same = folded(model, params)
    (table, bias), (wanted, base) = favoured.output_embedding(same), without.output_embedding(few)
    np.testing.assert_array_equal(table, wanted)
    np.testing.assert_allclose(bias - (0 if base is None else base), np.where(TRAINED, 0, 0.5), atol=1e-6)
    np.testing.assert_array_equal(favoured.encode(same, STREAM)[0], without.encode(few, STREAM)[0])


def test_items_of_the_same_features_are_the_same_by_features_alone():
    model, params = featured(plain("sasrec"), ids=False)
    table, _ = model.output_embedding(params)
    np.testing.assert_array_equal(table[0], table[1])
    assert len(np.unique(np.asarray(table), axis=0)) == ITEMS - 1


@pytest.mark.parametrize("name", MODELS)
def test_features_of_zero_are_none(name):
    model, params = featured(plain(name))
    params |= {FEATURES: jax.tree.map(jnp.zeros_like, params[FEATURES])}
    few = folded(model, params)[1]
    for table in model.item_tables:
        np.testing.assert_array_equal(few[table][TRAINED], params[table][TRAINED])
        assert not few[table][~TRAINED].any()


def test_the_first_params_are_those_without_features_and_as_far_from_zero():
    model, key = featured(plain("sasrec"))[0], jax.random.key(3)
    params, without = model.init(key), plain("sasrec").init(key)
    for name in without:
        jax.tree.map(np.testing.assert_array_equal, params[name], without[name])
    spread = [float(jnp.std(each)) for each in (params["items"], *jax.tree.leaves(params[FEATURES]))]
    assert max(spread) < 1.5 * min(spread)


def test_the_order_of_the_items_is_of_no_account():
    order = np.random.default_rng(1).permutation(ITEMS)
    model, params = featured(plain("sasrec"))
    other = with_features(plain("sasrec"), VALUES[order], VECTORS[order], TRAINED[order], NUMBER)
    place = np.append(0, np.argsort(order) + 1)
    shown = STREAM._replace(items=jnp.asarray(place, jnp.int32)[STREAM.items])
    hidden = other.encode(params | {"items": params["items"][order]}, shown)[0]
    np.testing.assert_allclose(hidden, model.encode(params, STREAM)[0], atol=1e-5)


def test_a_kind_that_no_item_has_has_no_params():
    """An array of no rows can't be saved."""
    bare = plain("sasrec")
    kinds = lambda model: set(jax.eval_shape(model.init, jax.random.key(0))[FEATURES]["items"])
    assert kinds(with_features(bare, VALUES, VECTORS[:, :0], TRAINED, NUMBER)) == {"values"}
    assert kinds(with_features(bare, VALUES[:, :0], VECTORS, TRAINED, 0)) == {"projection"}
