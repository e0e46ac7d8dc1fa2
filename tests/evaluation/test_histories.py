"""Histories encoded for inference: packed on any number of devices, each as if it were alone."""

import entries
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings, strategies as st

from jaxrec.batches import objectives
from jaxrec.batches.stream import Stream
from jaxrec.evaluation.histories import encoder, pack_histories

ITEMS, LENGTH = 20, 6
MODELS = {
    "sasrec": entries.model("sasrec", ITEMS, LENGTH, "from_end", dim=8, layers=2, dropout=0.5, heads=2),
    "gru4rec": entries.model("gru4rec", ITEMS, LENGTH, dim=8, layers=2, dropout=0.5),
}
PARAMS = {name: model.init(jax.random.key(0)) for name, model in MODELS.items()}
ENCODE = {name: jax.jit(model.encode) for name, model in MODELS.items()}  # one history, unpacked
ENCODERS = {
    (name, n): encoder(model, objectives.next_item(), jax.devices()[:n])
    for name, model in MODELS.items()
    for n in (1, 4)
}


def alone(name, history):
    """The model on the newest items of one history, read at its last slot."""
    items = jnp.array([history[-LENGTH:]], jnp.int32)
    positions = jnp.arange(items.shape[1], dtype=jnp.int32)[None]
    stream = Stream(items, items, jnp.ones_like(items), positions, jnp.zeros_like(items))
    return ENCODE[name](PARAMS[name], stream)[0][0, -1]


@settings(max_examples=4)
@given(
    histories=st.lists(st.lists(st.integers(1, ITEMS), min_size=1, max_size=2 * LENGTH), min_size=1, max_size=30),
    name=st.sampled_from(list(MODELS)),
    devices=st.sampled_from([1, 4]),
    width=st.sampled_from([LENGTH, 2 * LENGTH + 1]),
)
def test_packed_is_alone(histories, name, devices, width):
    items = np.concatenate(histories).astype(np.int32)
    stop = np.cumsum([len(history) for history in histories])
    start = stop - [len(history) for history in histories]
    packed = pack_histories(items, start, stop, LENGTH, width, jax.devices()[:devices])
    hidden = ENCODERS[name, devices](PARAMS[name], packed)
    assert hidden.shape == (len(histories), 8)
    expected = {tuple(history[-LENGTH:]): None for history in histories}
    expected = {key: alone(name, key) for key in expected}
    for row, history in zip(hidden, histories, strict=True):
        np.testing.assert_allclose(row, expected[tuple(history[-LENGTH:])], atol=1e-5)


def test_little_is_held_but_what_is_asked():
    """However many histories the fullest row has."""
    lengths = np.array([200] * 2_900 + [1, 2, 3, 4, 5] * 40)
    stop = np.cumsum(lengths)
    packed = pack_histories(np.ones(stop[-1], np.int32), stop - lengths, stop, 200, 200, jax.devices()[:1])
    assert packed.slot.shape[2] > 60
    assert packed.kept.size < 4 * len(lengths)
