"""Laws of times in attention: only differences within a sequence's past count, and unknown times add nothing."""

from functools import partial

import entries
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st
from some import some

from jaxrec.batches.stream import Stream
from jaxrec.models import times

ITEMS, SLOTS, WIDTH = 12, 9, 4
MODELS = {
    "sasrec": {"time_bias": True, "heads": 2, "layers": 2},
    "sasrec, intervals": {"time_intervals": 5, "heads": 2, "layers": 2},
    "sasrec, both, rotary": {"time_intervals": 3, "time_bias": True, "norm": "pre", "positions": "rotary"},
    "hstu": {"time_bias": True, "heads": 2, "layers": 2, "positions": "relative"},
}


def made(name):
    keys = {"dim": WIDTH} | MODELS[name]
    positions = keys.pop("positions", "from_start")
    model = entries.model(name.partition(",")[0], ITEMS, SLOTS, positions, **keys)
    random = np.random.default_rng(0)
    noisy = lambda x: jnp.asarray(0.5 * random.normal(size=x.shape), jnp.float32)
    return model, jax.tree.map(noisy, jax.eval_shape(model.init, jax.random.key(0)))


def streams():
    """Returns two sequences in one row, and each in its own row, with times that count from different moments."""
    random = np.random.default_rng(1)
    lengths, total = (5, 4), 9
    items = random.integers(1, ITEMS + 1, total)
    positions, segments = np.concatenate([np.arange(n) for n in lengths]), np.repeat([1, 2], lengths)
    seconds = np.array([0, 0, 7, 20, 5000, 3, 90_003, 90_010, 10**9])
    packed = Stream(*(jnp.asarray(x[None], jnp.int32) for x in (items, 0 * items, segments, positions, segments - 1)))
    packed = packed._replace(times=jnp.asarray(seconds[None], jnp.int32))
    alone = [jax.tree.map(lambda x, at=at: x[:, at], packed) for at in (slice(0, 5), slice(5, 9))]
    moved = [stream._replace(segments=jnp.ones_like(stream.segments), times=stream.times + 11) for stream in alone]
    return packed, moved


@given(seconds=st.lists(st.integers(-1, 2**31 - 1), min_size=8, max_size=8))
def test_buckets_are_two_an_octave(seconds):
    def plain(value):
        if value < 1:
            return times.BUCKETS if value < 0 else 0
        octave = value.bit_length() - 1
        return 1 + 2 * octave + (octave > 0 and value >= 3 << (octave - 1))

    found = times.buckets(jnp.array(seconds, jnp.int32)).tolist()
    assert found == [plain(value) for value in seconds]
    known = sorted((value, bucket) for value, bucket in zip(seconds, found, strict=True) if value >= 0)
    assert [bucket for _, bucket in known] == sorted(bucket for _, bucket in known)
    assert all(bucket < times.BUCKETS for _, bucket in known)


@partial(jax.jit, static_argnums=1)
def numbered(times_BT, most):
    return times.intervals(times.seconds_between(times_BT), jnp.tril(jnp.ones((1, 7, 7), bool)), most)


@given(
    seconds=st.lists(st.one_of(st.none(), st.integers(0, 60)), min_size=7, max_size=7), most=st.sampled_from([1, 4, 99])
)
def test_intervals_are_in_units_of_the_shortest_so_far(seconds, most):
    known = sorted(value for value in seconds if value is not None)
    seconds = [None if value is None else known.pop(0) for value in seconds]
    given_times = jnp.array([[-1 if value is None else value for value in seconds]], jnp.int32)
    found = np.asarray(numbered(given_times, most))[0]
    for query, at in enumerate(seconds):
        so_far = [value for value in seconds[: query + 1] if value is not None]
        shortest = min((b - a for a in so_far for b in so_far if b > a), default=1)
        for key, before in enumerate(seconds[: query + 1]):
            wanted = most + 1 if at is None or before is None else min((at - before) // shortest, most)
            assert found[query, key] == wanted


def test_what_intervals_add_is_what_a_vector_a_pair_would():
    random = np.random.default_rng(2)
    rows, queries, keys, heads, features, most = 2, 4, 5, 2, 3, 6
    draw = lambda *shape: jnp.asarray(random.normal(size=shape), jnp.float32)
    number = jnp.asarray(random.integers(0, most + 2, (rows, queries, keys)), jnp.int32)
    table, q, weights = draw(most + 1, heads * features), draw(rows, queries, heads, features), draw(2, 2, 4, 5)
    pairs = jnp.concatenate([table, jnp.zeros_like(table[:1])])[number].reshape(*number.shape, heads, features)
    scores, values = jax.jit(
        lambda: (times.interval_scores(q, table, number), times.interval_values(weights, table, number))
    )()
    np.testing.assert_allclose(scores, np.einsum("bqhd,bqkhd->bhqk", q, pairs), atol=1e-5)
    np.testing.assert_allclose(values, np.einsum("bhqk,bqkhd->bqhd", weights, pairs), atol=1e-5)


@pytest.mark.parametrize("name", some(MODELS, "sasrec, intervals", "hstu"))
def test_packed_is_alone_and_no_later_time_counts(name):
    model, params = made(name)
    packed, alone = streams()
    encode = jax.jit(lambda stream: model.encode(params, stream)[0])
    hidden = encode(packed)
    apart = jnp.concatenate([encode(stream) for stream in alone], axis=1)
    np.testing.assert_allclose(hidden, apart, atol=1e-5)
    later = packed._replace(times=packed.times.at[0, 3:5].add(9))
    same = np.isclose(encode(later), hidden, atol=1e-7).all(-1)[0]
    assert same[:3].all() and same[5:].all()
    assert not same[3]
    read = jnp.array([[4, 8, 1]])
    picked = jnp.take_along_axis(hidden, read[..., None], axis=1)
    np.testing.assert_allclose(jax.jit(model.encode_at)(params, packed, read), picked, atol=1e-5)


@pytest.mark.parametrize("name", some(MODELS, "hstu"))
def test_times_that_are_unknown_add_nothing(name):
    """If only one event's time is known, attention is as without times."""
    model, params = made(name)
    packed, _ = streams()
    encode = jax.jit(lambda stream: model.encode(params, stream)[0])
    none = encode(packed._replace(times=None))
    np.testing.assert_allclose(encode(packed._replace(times=jnp.full_like(packed.times, -1))), none, atol=1e-6)
    first = packed._replace(
        times=jnp.full_like(packed.times, -1).at[0, 0].set(5)
    )  # the only known interval is to itself
    np.testing.assert_allclose(encode(first)[0, 5:], none[0, 5:], atol=1e-6)
    assert not np.allclose(encode(packed), none, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_at_first_a_bias_adds_nothing():
    model, _ = made("hstu")
    params = model.init(jax.random.key(0))
    packed, _ = streams()
    encode = jax.jit(lambda stream: model.encode(params, stream)[0])
    np.testing.assert_array_equal(encode(packed), encode(packed._replace(times=jnp.full_like(packed.times, -1))))
