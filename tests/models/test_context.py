"""Laws of models with context: it is added where it is known, and a slot's context only reaches its own sequence."""

import entries
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from some import some

from jaxrec.batches.stream import Stream
from jaxrec.config import registry
from jaxrec.models.context import with_context

ITEMS, SLOTS, WIDTH = 12, 9, 4
SIZES = {"gap": 5, "hour": 3}
MODELS = ["sasrec", "gru4rec", "bert4rec", "hstu", "rg-lru", "caser", "two-tower"]
KEYS = {"caser": {"window": 3, "dim": WIDTH}, "sasrec": {"norm": "pre"}}
POSITIONS = {"hstu": "relative"}


def made(name):
    keys = {"dim": WIDTH} | KEYS.get(name, {})
    model = with_context(entries.model(name, ITEMS, SLOTS, POSITIONS.get(name, "from_start"), **keys), SIZES, WIDTH)
    random = np.random.default_rng(0)
    noisy = lambda x: jnp.asarray(0.5 * random.normal(size=x.shape), jnp.float32)
    return model, jax.tree.map(noisy, jax.eval_shape(model.init, jax.random.key(0)))


def streams():
    """Two sequences in one row, and each in a row of its own."""
    random = np.random.default_rng(1)
    lengths, total = (5, 4), 9
    items, context = random.integers(1, ITEMS + 1, total), random.integers(0, 4, (total, len(SIZES)))
    positions, segments = np.concatenate([np.arange(n) for n in lengths]), np.repeat([1, 2], lengths)
    packed = Stream(*(jnp.asarray(x[None], jnp.int32) for x in (items, 0 * items, segments, positions, segments - 1)))
    packed = packed._replace(context=jnp.asarray(context[None], jnp.int32))
    alone = [jax.tree.map(lambda x, at=at: x[:, at], packed) for at in (slice(0, 5), slice(5, 9))]
    return packed, [stream._replace(segments=jnp.ones_like(stream.segments)) for stream in alone]


def test_every_model_of_the_house_is_shown_context():
    assert {name for name in MODELS if registry.find("model", name).reads_context} == set(MODELS)


@pytest.mark.parametrize("name", some(MODELS, "sasrec", "gru4rec"))
def test_packed_is_alone(name):
    model, params = made(name)
    packed, alone = streams()
    encode = jax.jit(lambda params, stream: model.encode(params, stream)[0])
    hidden = encode(params, packed)
    apart = jnp.concatenate([encode(params, stream) for stream in alone], axis=1)
    np.testing.assert_allclose(hidden, apart, atol=1e-5)


@pytest.mark.parametrize("name", some([name for name in MODELS if name != "bert4rec"], "sasrec", "rg-lru"))
def test_a_slot_depends_on_no_context_after_it(name):
    model, params = made(name)
    packed, _ = streams()
    encode = jax.jit(lambda stream: model.encode(params, stream)[0])
    moved = packed._replace(context=packed.context.at[0, 3, 0].set(5))
    same = np.isclose(encode(packed), encode(moved), atol=1e-7).all(-1)[0]
    assert same[:3].all() and same[5:].all()
    assert not same[3]


@pytest.mark.parametrize("name", some(MODELS, "sasrec"))
def test_context_that_is_unknown_adds_nothing(name):
    model, params = made(name)
    packed, _ = streams()
    unknown = packed._replace(context=jnp.zeros_like(packed.context))
    without = packed._replace(context=None)
    np.testing.assert_array_equal(model.encode(params, unknown)[0], model.encode(params, without)[0])


def test_at_first_nothing_is_added():
    model, _ = made("sasrec")
    packed, _ = streams()
    params = model.init(jax.random.key(0))
    plain = entries.model("sasrec", ITEMS, SLOTS, dim=WIDTH, norm="pre").init(jax.random.key(0))
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), {k: params[k] for k in plain}, plain))
    np.testing.assert_array_equal(
        model.encode(params, packed)[0], model.encode(params, packed._replace(context=None))[0]
    )
