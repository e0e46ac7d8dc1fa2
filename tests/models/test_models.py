"""Laws of every model: sequences in a packed row don't interact, a slot sees only what it may, no keys no dropout."""

import dataclasses

import entries
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recommenders
from some import some

from jaxrec.batches.objectives import MASK
from jaxrec.batches.stream import Stream
from jaxrec.data.interactions import Catalogue
from jaxrec.kernels.random import row_keys
from jaxrec.models import layers
from jaxrec.models.features import folded, with_features
from jaxrec.training.building import model_for

ROWS, SLOTS, WIDTH, USERS = 2, 70, 8, 12
ITEMS = ROWS * SLOTS
CONFIGS = {
    "sasrec": {"layers": 2, "heads": 2},
    "sasrec relative": {"layers": 1, "heads": 2},
    "sasrec gated, rotary": {"layers": 2, "heads": 2, "norm": "gated", "ffn": "swiglu", "norm_type": "rms"},
    "sasrec projected": {"layers": 1, "embedding": "projected", "score": "cosine"},
    "sasrec buckets": {"layers": 2, "heads": 2, "norm": "pre"},
    "sasrec cosine": {"layers": 1, "heads": 1, "ffn": "gelu", "embedding": "separate", "score": "cosine"},
    "bert4rec": {"layers": 2, "heads": 2, "norm": "post"},
    "bert4rec pre, relative": {"layers": 1, "heads": 2, "norm": "pre", "transform": False},
    "bert4rec gated": {"layers": 2, "heads": 2, "norm": "gated", "ffn": "swiglu"},
    "bert4rec separate": {"layers": 1, "embedding": "separate"},
    "caser": {"layers": 1, "window": 5, "vertical": 2, "horizontal": 3},
    "caser users": {"layers": 1, "window": 3, "vertical": 2, "horizontal": 3, "users": True},
    "two-tower": {"layers": 2},
    "hstu relative": {"layers": 2, "heads": 2, "score": "cosine"},
    "hstu projected": {"layers": 1, "embedding": "projected"},
    "rg-lru": {"layers": 2},
    "rg-lru projected": {"layers": 1, "embedding": "projected"},
    "rg-lru cosine": {"layers": 1, "ffn": "gelu", "ffn_multiplier": 1, "score": "cosine"},
    "examples.own_model:MODEL": {},
    "sasrec features": {"layers": 1, "heads": 2},
}
FEW = "sasrec", "bert4rec", "examples.own_model:MODEL"
MODELS = (
    "sasrec",
    "sasrec gated, rotary",
    "bert4rec",
    "caser users",
    "two-tower",
    "examples.own_model:MODEL",
    "sasrec features",
)  # one of each
BOTH_WAYS = {name for name in CONFIGS if name.startswith("bert4rec")}
LENGTHS = [[45, 24], [51, 15, 1]]
FRESH = iter(range(1, ITEMS + 1))  # every slot has its own item, and so its own row of the table
SEQUENCES = [[[next(FRESH) for _ in range(length)] for length in row] for row in LENGTHS]


def made(name, dropout=0.0, dtype="float32"):
    kind = name.partition(" ")[0]
    positions = next((kind for kind in ("relative", "rotary", "buckets") if name.endswith(kind)), "from_start")
    model = entries.model(kind, ITEMS, SLOTS, positions, dtype, USERS, dim=WIDTH, dropout=dropout, **CONFIGS[name])
    if name.endswith("features"):
        values = np.random.default_rng(2).integers(0, 8, (ITEMS, 3))
        model = with_features(model, values.astype(np.int32), np.zeros((ITEMS, 0)), np.ones(ITEMS, bool), 7)
    random = np.random.default_rng(1)

    def noisy(path, x):  # gains near 1, decays slow, the rest near 0
        about = ("scale" in jax.tree_util.keystr(path)) + 4 * ("slowness" in jax.tree_util.keystr(path))
        return jnp.asarray(about + 0.3 * random.normal(size=x.shape), jnp.float32)

    params = jax.tree_util.tree_map_with_path(noisy, jax.eval_shape(model.init, jax.random.key(0)))
    return dataclasses.replace(model, encode=jax.jit(model.encode)), params


def packed(rows, user_index=None):
    """Returns the Stream of sequences of items, row by row."""
    stream = Stream(*np.zeros((5, len(rows), SLOTS), np.int32))
    user = 0
    for row, sequences in enumerate(rows):
        begin = 0
        for number, items in enumerate(sequences, 1):
            at = slice(begin, begin := begin + len(items))
            stream.items[row, at], stream.segments[row, at] = items, number
            stream.positions[row, at] = np.arange(len(items))
            stream.user_index[row, at] = user if user_index is None else user_index
            user += 1
    return jax.tree.map(jnp.asarray, stream)


FULL = packed(SEQUENCES)
ALONE = packed([[items] for sequences in SEQUENCES for items in sequences])  # each in a row of its own
PLACES = [  # where FULL has each row of ALONE
    (row, slice(end - length, end))
    for row, lengths in enumerate(LENGTHS)
    for length, end in zip(lengths, np.cumsum(lengths).tolist(), strict=True)
]
REAL = np.asarray(FULL.segments) > 0


def encoded(model, params, stream, **keys):
    """Compiled as a whole: without jit, each operation would be compiled by itself."""
    return jax.jit(model.encode)(params, stream, **keys)[0]


@pytest.mark.parametrize("name", some(CONFIGS, "sasrec", "examples.own_model:MODEL", "caser users", "sasrec features"))
def test_packed_is_alone(name):
    """In the forward pass, and in the gradient of every parameter."""
    model, params = made(name)
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(ROWS, SLOTS, WIDTH)), jnp.float32)

    def together(params):
        hidden = model.head(params, model.encode(params, FULL)[0])
        return jnp.where(jnp.asarray(REAL)[..., None], hidden * weights, 0).sum(), hidden

    def apart(params):
        hidden = model.head(params, model.encode(params, ALONE)[0])
        total, pieces = 0.0, {}
        for alone, (row, at) in zip(hidden, PLACES, strict=True):
            pieces[row, at.start] = alone[: at.stop - at.start]
            total += (pieces[row, at.start] * weights[row, at]).sum()
        return total, pieces

    (_, hidden), grads = jax.jit(jax.value_and_grad(together, has_aux=True))(params)
    (_, pieces), wanted = jax.jit(jax.value_and_grad(apart, has_aux=True))(params)
    for (row, begin), alone in pieces.items():
        np.testing.assert_allclose(hidden[row, begin : begin + len(alone)], alone, atol=2e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3, rtol=1e-4), grads, wanted)


@pytest.mark.parametrize("name", some(CONFIGS, *MODELS, "rg-lru"))
def test_a_slot_sees_its_own_sequence_and_only_bidirectional_models_what_follows(name):
    """Shown by the gradient of the input embeddings: exactly zero where it may not look, not zero where it must."""
    model, params = made(name)
    table = "inputs" if "inputs" in params else "items"
    encode = lambda items: model.encode(params | {table: items}, FULL)[0]
    pull = jax.jit(lambda asked: jax.vjp(encode, params[table])[1](asked)[0])
    segments, slots = np.asarray(FULL.segments), np.arange(SLOTS)
    window = CONFIGS[name].get("window", SLOTS)
    for row, slot in ((0, 44), (0, 45), (0, 60), (1, 20), (1, 51), (1, 66)):
        asked = np.zeros((ROWS, SLOTS, WIDTH), np.float32)
        asked[row, slot] = np.random.default_rng(slot).normal(size=WIDTH)
        moved = np.append(False, np.asarray(pull(jnp.asarray(asked))).any(axis=1))
        visible = segments[row] == segments[row, slot]
        if name not in BOTH_WAYS:
            visible &= (slots <= slot) & (slots > slot - window)
        seen = moved[np.asarray(FULL.items)[row]]
        assert not (seen & ~visible).any()
        # a maximum or a ReLU may leave an item out; the mean and attention never do
        assert (seen == visible).all() or (name.startswith("caser") and seen[slot])


@pytest.mark.parametrize("kind", ["sasrec", "hstu", "rg-lru"])
def test_projected_is_shared_with_a_linear_map_of_what_is_scored(kind):
    model, params = made(f"{kind} projected")
    shared = entries.model(kind, ITEMS, SLOTS, "from_start", "float32", USERS, dim=WIDTH, dropout=0.0, layers=1)
    kernel = params["projection"]["kernel"]
    rest = {name: leaf for name, leaf in params.items() if name not in ("projection", "temperature")}
    assert rest.keys() == jax.eval_shape(shared.init, jax.random.key(0)).keys() and kernel.shape == (WIDTH, WIDTH)
    mapped = encoded(shared, rest, FULL) @ kernel
    np.testing.assert_allclose(encoded(model, params, FULL), mapped, rtol=1e-4, atol=1e-5)
    assert model.item_tables == shared.item_tables
    items, scored = rest["items"], model.output_embedding(params)[0]
    cosine = CONFIGS[f"{kind} projected"].get("score") == "cosine"
    lengths = np.linalg.norm(items, axis=1, keepdims=True) if cosine else 1
    np.testing.assert_allclose(scored, items / lengths, rtol=1e-5)


@pytest.mark.parametrize("name", some(CONFIGS, "sasrec", "examples.own_model:MODEL"))
def test_dropout_is_by_keys_alone(name):
    (model, params), (dry, _) = made(name, dropout=0.5), made(name)
    keys = jax.jit(row_keys)(0, 0, jnp.arange(ROWS))
    without = np.asarray(encoded(model, params, FULL))
    np.testing.assert_array_equal(without, encoded(dry, params, FULL))
    once, again = (np.asarray(encoded(model, params, FULL, keys=keys)) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert (once != without).any(-1)[REAL].mean() > 0.9


@pytest.mark.parametrize("name", CONFIGS)
def test_the_table_is_of_the_items_alone(name):
    model, params = made(name)
    table, bias = model.output_embedding(params)
    assert table.shape == (ITEMS, WIDTH) and (bias is None or bias.shape == (ITEMS,))


@pytest.mark.parametrize("name", some(CONFIGS, *FEW))
def test_rows_of_its_tables_are_as_good_as_the_whole(name):
    """Items are renumbered as in row-sparse updates."""
    model, params = folded(*made(name))
    one = packed(SEQUENCES[:1])
    ids = np.unique(one.items)[1:]
    rows = params | {table: params[table][ids - 1] for table in model.item_tables}
    relabelled = one._replace(items=jnp.where(one.items > 0, jnp.searchsorted(jnp.asarray(ids), one.items) + 1, 0))
    few, whole = (encoded(model, *given) for given in ((rows, relabelled), (params, one)))
    np.testing.assert_allclose(few[:, REAL[0]], whole[:, REAL[0]], atol=1e-6)
    assert len(model.output_embedding(rows)[0]) == len(ids) < ITEMS


@pytest.mark.parametrize("name", sorted(BOTH_WAYS))
def test_what_is_masked_is_not_seen(name):
    model, params = made(name)
    items = np.asarray(FULL.items).copy()
    hidden_at = (0, [3, 44, 60])
    one, other = items.copy(), items.copy()
    one[hidden_at] = other[hidden_at] = MASK
    targets = np.zeros_like(items)
    targets[hidden_at] = items[hidden_at]  # the stream also carries the answers
    with_targets = encoded(model, params, FULL._replace(items=jnp.asarray(one), targets=jnp.asarray(targets)))
    np.testing.assert_array_equal(with_targets, encoded(model, params, FULL._replace(items=jnp.asarray(other))))
    shown = encoded(model, params, FULL)
    assert (np.asarray(shown) != with_targets)[0, :45].any()


@pytest.mark.parametrize("name", some(CONFIGS, "sasrec relative"))
def test_gradients_of_many_slots_add_up_in_bfloat16(name):
    """Thousands of slots contribute with the same sign: summed in bfloat16, a bias's gradient would stop growing."""
    rows = 120
    stream = jax.tree.map(lambda x: jnp.tile(x[:1], (rows, 1)), FULL)

    def gradient(dtype):
        model, params = made(name, dtype=dtype)

        def total(params):
            hidden = model.head(params, model.encode(params, stream)[0])
            return hidden.astype(jnp.float32).sum()

        return jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(total))(params))

    wanted = gradient("float32")
    # the gradient of a key's bias is 0, so its noise is compared to the others
    least = 0.01 * max(jnp.linalg.norm(exact) for _, exact in wanted)
    for (path, low), (_, exact) in zip(gradient("bfloat16"), wanted, strict=True):
        off = jnp.linalg.norm(low - exact) / jnp.maximum(jnp.linalg.norm(exact), least)
        assert off < 0.1, jax.tree_util.keystr(path)


def test_a_new_user_has_no_vector():
    model, params = made("caser users")
    nobody = packed(SEQUENCES, user_index=-1)
    zero = params | {"users": jnp.zeros_like(params["users"])}
    new, blank, known = (
        np.asarray(encoded(model, *args))[REAL] for args in ((params, nobody), (zero, FULL), (params, FULL))
    )
    np.testing.assert_allclose(new, blank, atol=1e-6)
    assert (known != new).any()


@pytest.mark.parametrize("name", some(CONFIGS, *FEW))
def test_some_slots_are_read_as_all_are_encoded(name):
    model, params = made(name)
    slots = np.array([[0, 44, 60], [66, 20, 65]])
    whole = encoded(model, params, FULL)
    read = jax.jit(lambda params: model.encode_at(params, FULL, jnp.asarray(slots)))(params)
    np.testing.assert_allclose(read, np.asarray(whole)[np.arange(ROWS)[:, None], slots], atol=2e-5)


FURTHER = {"gru4rec": "input_dropout", "bert4rec": "ffn_dropout"}  # dropouts with a rate of their own


@pytest.mark.parametrize("name", recommenders.MODELS)
def test_no_two_dropouts_of_a_model_draw_the_same(name, monkeypatch):
    further = FURTHER.get(name)
    sites = drawn(name, monkeypatch, dict.fromkeys(filter(None, ["dropout", further]), 0.3))
    assert sites and len(set(sites)) == len(sites)
    if further:
        own = drawn(name, monkeypatch, {"dropout": 0.0, further: 0.3})
        assert own and set(own) < set(sites)


def drawn(name, monkeypatch, rates):
    """The sites at which a model with these rates draws."""
    model = model_for(recommenders.config(name, **rates), Catalogue(np.arange(9)), 10, 0, ())
    sites, site_keys = [], layers.site_keys
    with monkeypatch.context() as patch:
        patch.setattr(layers, "site_keys", lambda keys, site: sites.append(site) or site_keys(keys, site))
        items, positions = np.ones((2, 5), np.int32), np.tile(np.arange(5, dtype=np.int32), (2, 1))
        stream = Stream(items, 0 * items, items, positions, 0 * items)
        params, keys = jax.eval_shape(model.init, jax.random.key(0)), row_keys(0, 0, np.arange(2))
        jax.eval_shape(lambda params, keys: model.encode(params, stream, None, keys=keys), params, keys)
    return sites
