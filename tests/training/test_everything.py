"""The laws of training with all context that a log can have: resume, devices, packing, and causality in times."""

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from some import some
from stepping import assert_close, made, states
from trainings import Killed, assert_same, killed_at, outcome, run

from jaxrec.batches import context
from jaxrec.batches.stream import Stream
from jaxrec.data.attributes.user_columns import Column
from jaxrec.data.interactions import Sessions, Types, UserColumns
from jaxrec.evaluation.evaluator import Evaluator
from jaxrec.evaluation.metrics import metrics
from jaxrec.training.workdirs import checkpoint

ALL = {
    "context": ",".join(context.KINDS),
    "context_dropout": 0.2,
    "user_features": "gender",
    "start_prob": 0.3,
    "features": "genres",
    "id_dropout": 0.2,
    "target_types": "purchase",
    "loss": {"name": "bce", "negatives": 2, "weight": "log"},
}
SMALL = {"dim": 8, "layers": 1, "dropout": 0.3}
WAYS = {
    "sasrec": {"model": SMALL | {"name": "sasrec", "time_bias": True, "time_intervals": 6, "embedding": "projected"}},
    "hstu": {"model": SMALL | {"name": "hstu", "time_bias": True}, "positions": "relative"},
    "gru4rec": {"model": SMALL | {"name": "gru4rec"}},
    "rg-lru": {"model": SMALL | {"name": "rg-lru"}},
    "caser": {"model": SMALL | {"name": "caser", "window": 3}},
    "two-tower": {"model": SMALL | {"name": "two-tower"}},
    "lanes": {"model": SMALL | {"name": "gru4rec"}, "stream": "session-parallel", "target_types": ""},
    "cloze": {"model": SMALL | {"name": "bert4rec", "heads": 2}, "objective": "cloze", "start_prob": 0.0},
    "sparse": {
        "model": SMALL | {"name": "sasrec", "time_bias": True},
        "optim": {"name": "adam", "learning_rate": 1e-2, "eps": 1e-4, "sparse": True},
    },
}


def known(log):
    """Times, weights, types and sessions of all events; genres of items, genders of users."""
    random, events = np.random.default_rng(5), len(log.items)
    times = [np.sort(random.integers(0, 365 * 86_400, length)) for length in np.diff(log.offsets)]
    starts = np.unique(np.append(log.offsets, random.integers(0, events, events // 4)))
    genres = pl.DataFrame({"genres": [["War", "Drama"][each % 2] for each in range(len(log.catalogue.ids))]})
    gender = pl.DataFrame({"gender": ["FM"[user % 2] for user in range(len(log.users))]})
    return {
        "times": np.concatenate(times) * context.SECOND,
        "weights": random.uniform(0, 5, events).astype(np.float32),
        "types": Types(random.integers(1, 3, events).astype(np.uint8), ("purchase", "view")),
        "sessions": Sessions(starts, np.arange(len(starts) - 1)),
        "catalogue": log.catalogue._replace(about=genres),
        "user_columns": UserColumns(gender, (Column("gender", values=("F", "M")),)),
    }


def setup_of(way, devices=1):
    return made(devices, known=known, **(ALL | WAYS[way]))


@pytest.mark.parametrize("way", some(WAYS))
def test_killed_with_everything_on_it_resumes_bit_for_bit(way, tmp_path, monkeypatch):
    setup = setup_of(way)
    evaluator = Evaluator(setup.model, setup.config, setup.split, setup.split.valid, setup.devices)
    prepared = setup, lambda params: metrics(evaluator.ranks(params))
    run(prepared, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Checkpoints, "save", killed_at(3, checkpoint.Checkpoints.save))
        with pytest.raises(Killed):
            run(prepared, tmp_path / "killed")
    run(prepared, tmp_path / "killed")
    whole, killed = (outcome(prepared, tmp_path / name) for name in ("whole", "killed"))
    assert_same(killed, whole)
    tables = jax.tree.leaves({str(path): leaf for path, leaf in whole[0] if "context" in str(path)})
    assert len(tables) > len(context.KINDS) and all(np.any(table != 0) for table in tables[: len(context.KINDS)])


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_many_devices_are_one_with_everything_on(way):
    one, two = (states(setup_of(way, devices), [3])[0][0] for devices in (1, 2))
    assert_close(two, one)


def noisy(model):
    random = np.random.default_rng(0)
    draw = lambda x: jnp.asarray(0.4 * random.normal(size=x.shape), jnp.float32)
    return jax.tree.map(draw, jax.eval_shape(model.init, jax.random.key(0)))


def stream_of(setup, events, lengths):
    """Sequences of these events, packed into one row; the first begins without an event if the model allows it."""
    kinds = context.kinds_of(setup.config)
    numbers = context.numbers(events, kinds, masks=setup.config.objective == "cloze").astype(np.int32)
    positions, segments = (
        np.concatenate([np.arange(n) for n in lengths]),
        np.repeat(np.arange(len(lengths)) + 1, lengths),
    )
    rows = (events.items, 0 * segments, segments, positions, 0 * segments)
    found = Stream(*(jnp.asarray(row[None], jnp.int32) for row in rows), context=jnp.asarray(numbers[None]))
    return found._replace(start=jnp.asarray(((positions == 0) & (segments == 1))[None]) if setup.model.starts else None)


def events_of(lengths, seed=0):
    random, total = np.random.default_rng(seed), sum(lengths)
    times = np.concatenate([np.sort(random.integers(0, 10**7, n)) for n in lengths]) * context.SECOND
    return context.Events(
        np.append(0, np.cumsum(lengths)),
        times,
        weights=random.uniform(0, 5, total),
        sessions=Sessions(np.append(0, np.cumsum(lengths)), np.arange(len(lengths))),
        types=random.integers(1, 3, total),
        items=random.integers(1, 21, total),
        topics=np.concatenate([[[0]], random.integers(1, 3, (20, 1))]),
        users={"gender": np.repeat(random.integers(1, 3, len(lengths)), lengths)},
    )


@pytest.mark.parametrize("way", some([way for way in WAYS if way not in ("lanes", "sparse")]))
def test_packed_is_alone_and_no_slot_knows_what_comes_later_with_everything_on(way):
    """The only thing that a slot knows about the next event is its time."""
    lengths, setup = (5, 3), setup_of(way)
    params, events = noisy(setup.model), events_of(lengths)
    encode = jax.jit(lambda stream: setup.model.encode(params, stream)[0])
    packed = stream_of(setup, events, lengths)
    hidden = encode(packed)
    for at in (slice(0, 5), slice(5, 8)):
        alone = jax.tree.map(lambda x, at=at: x[:, at], packed)
        alone = alone._replace(segments=jnp.ones_like(alone.segments))
        np.testing.assert_allclose(hidden[:, at], setup.model.encode(params, alone)[0], atol=2e-5)
    if way == "cloze":
        return
    later = events_of(lengths, seed=1)
    for slot in range(4):
        mixed = {
            name: np.concatenate([getattr(events, name)[: slot + 1], getattr(later, name)[slot + 1 :]])
            for name in ("weights", "types", "items")
        }
        times = events.times.copy()
        times[slot + 2 : 5] += 10**9 * context.SECOND
        moved = encode(stream_of(setup, events._replace(times=times, **mixed), lengths))
        np.testing.assert_allclose(moved[:, : slot + 1], hidden[:, : slot + 1], atol=1e-6)
        assert not np.allclose(moved[:, slot + 1 : 5], hidden[:, slot + 1 : 5], atol=1e-3)


def test_where_the_key_is_not_set_no_vector_stands_for_an_event():
    """Every sequence begins with an event, and there is no vector for one that doesn't."""
    setup = made(known=known, **(ALL | WAYS["two-tower"] | {"start_prob": 0.0}))
    assert "start" not in jax.eval_shape(setup.model.init, jax.random.key(0))["context"] and not setup.model.starts
