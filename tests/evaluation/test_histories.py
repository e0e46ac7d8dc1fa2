"""Histories encoded for inference: packed on any number of devices, each is encoded as if it were alone."""

from functools import cache

import entries
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from jaxrec.batches import objectives
from jaxrec.batches.stream import Stream
from jaxrec.evaluation import histories
from jaxrec.evaluation.histories import encoder, pack_histories
from jaxrec.kernels import sizes
from jaxrec.kernels.hardware import Hardware, assumed

ITEMS, LENGTH = 20, 6
MODELS = {
    "sasrec": entries.model("sasrec", ITEMS, LENGTH, "from_end", dim=8, layers=2, dropout=0.5, heads=2),
    "gru4rec": entries.model("gru4rec", ITEMS, LENGTH, dim=8, layers=2, dropout=0.5),
}
params_of = cache(lambda name: jax.jit(MODELS[name].init)(jax.random.key(0)))
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
    return ENCODE[name](params_of(name), stream)[0][0, -1]


@settings(max_examples=4)
@given(
    lists=st.lists(st.lists(st.integers(1, ITEMS), min_size=1, max_size=2 * LENGTH), min_size=1, max_size=30),
    name=st.sampled_from(list(MODELS)),
    devices=st.sampled_from([1, 4]),
    width=st.sampled_from([LENGTH, 2 * LENGTH + 1]),
)
def test_packed_is_alone(lists, name, devices, width):
    items = np.concatenate(lists).astype(np.int32)
    stop = np.cumsum([len(history) for history in lists])
    start = stop - [len(history) for history in lists]
    packed = pack_histories(items, start, stop, LENGTH, width, jax.devices()[:devices])
    hidden = ENCODERS[name, devices](params_of(name), packed)
    assert hidden.shape == (len(lists), 8)
    expected = {tuple(history[-LENGTH:]): None for history in lists}
    expected = {key: alone(name, key) for key in expected}
    for row, history in zip(hidden, lists, strict=True):
        np.testing.assert_allclose(row, expected[tuple(history[-LENGTH:])], atol=1e-5)


def test_little_is_held_but_what_is_asked():
    """However many histories the fullest row holds."""
    lengths = np.array([200] * 2_900 + [1, 2, 3, 4, 5] * 40)
    stop = np.cumsum(lengths)
    packed = pack_histories(np.ones(stop[-1], np.int32), stop - lengths, stop, 200, 200, jax.devices()[:1])
    assert packed.slot.shape[2] > 60
    assert packed.kept.size < 4 * len(lengths)


@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize("name", list(MODELS))
def test_from_the_host_it_is_the_same(name, devices, monkeypatch):
    random, devices = np.random.default_rng(0), jax.devices()[:devices]
    lengths = random.integers(1, 2 * LENGTH, 500)
    items, stop = random.integers(1, ITEMS + 1, lengths.sum()).astype(np.int32), np.cumsum(lengths)
    asked = items, stop - lengths, stop, LENGTH, LENGTH, devices
    there = ENCODERS[name, len(devices)](params_of(name), pack_histories(*asked))
    monkeypatch.setattr(histories, "BATCHES", 2)
    packed = pack_histories(*asked, host=True)
    assert len(packed.rows) > 2 * len(devices) and isinstance(packed.data.layout.first, np.ndarray)
    encode = encoder(MODELS[name], objectives.next_item(), devices, host=True)
    np.testing.assert_array_equal(encode(params_of(name), packed), there)
    encode.trace(params_of(name), packed).lower()


@pytest.mark.parametrize("rows", [1, 7, 10_000])
@pytest.mark.parametrize("name", list(MODELS))
def test_in_an_accelerators_batches_it_is_the_same(name, rows):
    random = np.random.default_rng(0)
    lengths = random.integers(1, 2 * LENGTH, 200)
    items, stop = random.integers(1, ITEMS + 1, lengths.sum()).astype(np.int32), np.cumsum(lengths)
    asked = items, stop - lengths, stop, LENGTH, LENGTH, jax.devices()[:4]
    there = ENCODERS[name, 4](params_of(name), pack_histories(*asked))
    with assumed(Hardware("gpu", sizes.MEMORY_PER_NUMBER * sizes.NUMBERS_PER_SLOT * LENGTH * rows)):
        packed = pack_histories(*asked)
        found = ENCODERS[name, 4](params_of(name), packed)
    assert packed.rows.shape[1] <= rows and (len(packed.rows) == 4) == (rows == 10_000)
    np.testing.assert_allclose(found, there, atol=1e-5)


def test_of_processes_each_gathers_what_its_own_devices_encode(monkeypatch):
    devices = jax.devices()[:4]
    stop = np.cumsum(np.random.default_rng(0).integers(1, LENGTH, 300))
    items, start = np.arange(stop[-1], dtype=np.int32), np.append(0, stop[:-1])
    packed = pack_histories(items, start, stop, LENGTH, LENGTH, devices, host=True)
    encode = encoder(MODELS["sasrec"], objectives.next_item(), devices, host=True)
    monkeypatch.setattr(histories, "BATCHES", 2)
    monkeypatch.setattr(histories.dev, "spread_own", lambda tree, _: tree)
    whole, parts = list(encode._parts(packed)), []
    for own in ([0], [1, 3], [2]):
        monkeypatch.setattr(histories.dev, "own_shares", lambda _: np.array(own))  # noqa: B023
        parts.append((own, list(encode._parts(packed))))
    for number, each in enumerate(whole):
        for own, found in parts:
            mine = lambda x: x.reshape(4, -1, *x.shape[1:])[own].reshape(-1, *x.shape[1:])  # noqa: B023
            jax.tree.map(np.testing.assert_array_equal, found[number], jax.tree.map(mine, each))


def test_histories_beyond_2_31_events(tmp_path):
    """In a sparse file, which takes no space on disk."""
    first = 2**31 + 7
    items = np.memmap(tmp_path / "items", np.int32, "w+", shape=(first + 5,))
    items[first:] = [3, 1, 4, 1, 5]
    start, stop = np.array([first, first + 2]), np.array([first + 2, first + 5])
    packed = pack_histories(items, start, stop, LENGTH, LENGTH, jax.devices()[:1], host=True)
    near = pack_histories(items[first:], start - first, stop - first, LENGTH, LENGTH, jax.devices()[:1], host=True)
    encode = encoder(MODELS["sasrec"], objectives.next_item(), jax.devices()[:1], host=True)
    far = encode(params_of("sasrec"), packed)
    np.testing.assert_array_equal(far, encode(params_of("sasrec"), near))
    assert np.abs(far[0] - far[1]).max() > 1e-3
