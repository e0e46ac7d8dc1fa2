"""Laws of the data for a program: batches from the host equal those of the device, and are made ahead of time."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from some import some
from stepping import LANES, SOFTMAX, WAYS, made

from jaxrec.kernels import placement
from jaxrec.kernels.random import row_keys, site_keys
from jaxrec.training.feed import Feed, order
from jaxrec.training.steps import negatives


def watching(setup, asked):
    """Returns the Setup, changed so that it appends the rows which it gathers to a list."""

    def gather(*args):
        asked.append(args[2])
        return setup.batches.gather(*args)

    return replace(setup, batches=setup.batches._replace(gather=gather))


@pytest.mark.parametrize("way", some([*WAYS, "lanes"], "next item"))
def test_the_host_draws_the_negatives_that_a_device_would(way):
    changes = (WAYS | {"lanes": LANES})[way] | {"loss": {"name": "bce", "negatives": 3}}
    here = made(2, feed="host", **changes)
    assert here.sampler_tables is None, "nothing of it lies on the devices"
    draw, tables = negatives.sampler(here.config.loss, here.split, "data", None)
    step, rows = 2, np.arange(here.batches.rows)
    keys = row_keys(here.config.seed, step, rows)
    batch = here.batches.gather(
        here.data, order(here, 0), step * here.batches.rows + rows, here.objective.stream_targets
    )
    most = here.host_draw._users.__wrapped__.args[0].keywords["most"]
    _, targets = here.objective.make_targets(jax.tree.map(jnp.asarray, batch), keys, most=most)
    wanted = draw(None, site_keys(keys, negatives.SITE), targets, jax.tree.map(jnp.asarray, tables)).items
    sent, _ = Feed(here)(step, step + 1)
    found = sent.negatives.reshape(2, -1, here.batches.rows // 2, sent.negatives.shape[-1])[:, 0]
    np.testing.assert_array_equal(found.reshape(-1, 3), wanted)


@pytest.mark.parametrize("way", some([*WAYS, "lanes"], "cloze"))
def test_a_process_gathers_the_rows_of_its_own_devices_alone(way, monkeypatch):
    setup = made(2, feed="host", **(WAYS | {"lanes": LANES})[way] | {"loss": {"name": "bce", "negatives": 3}})
    monkeypatch.setattr(placement, "spread_own", lambda tree, mesh: tree)
    whole = Feed(setup)._sent(2)
    for share in range(2):
        asked = []
        monkeypatch.setattr(placement, "own_shares", lambda mesh: np.array([share]))  # noqa: B023
        wanted = jax.tree.map(lambda x: x[[share]], whole)  # noqa: B023
        jax.tree.map(np.testing.assert_array_equal, Feed(watching(setup, asked))._sent(2), wanted)
        assert sum(map(len, asked)) == setup.config.steps_per_call * setup.padded_rows // 2


def test_a_thread_gathers_the_next_batches_and_others_are_gathered_when_asked_for():
    setup = made(feed="host", epochs=2, steps_per_call=2, **SOFTMAX)
    feed = Feed(setup)
    steps = [0, 2, 4, 1, 3, setup.epoch_steps, setup.total_steps - 1]
    for at, following in zip(steps, [*steps[1:], setup.total_steps], strict=True):
        found, begins = feed(at, following)
        wanted, _ = Feed(setup)(at, setup.total_steps)
        assert begins == at
        jax.tree.map(np.testing.assert_array_equal, found, wanted)
    assert feed._next is None, "nothing is gathered beyond the end"


def test_a_thread_makes_the_order_of_the_next_epoch():
    setup = made(feed="device", epochs=3, **SOFTMAX)
    feed = Feed(setup)
    for epoch in (0, 1, 0, 2):  # 0 follows 1, as after a jump back
        (_, found), begins = feed(epoch * setup.epoch_steps, (epoch + 1) * setup.epoch_steps)
        assert begins == epoch * setup.epoch_steps
        jax.tree.map(np.testing.assert_array_equal, found, order(setup, epoch))
        assert (feed._next is None) == (epoch == 2), "nothing is made beyond the end"


def test_what_is_asked_for_twice_is_gathered_once():
    """As when the preflight, and then the first call, ask for the same data."""
    setup, asked = made(feed="host", epochs=2, steps_per_call=2, **SOFTMAX), []
    feed = Feed(watching(setup, asked))
    first, again = feed(0, 2)[0], feed(0, 2)[0]
    jax.tree.map(np.testing.assert_array_equal, first, again)
    feed(2, 4)
    feed._next[1].result()
    assert [rows[0] // setup.batches.rows for rows in asked] == [at % setup.epoch_steps for at in (0, 2, 4)]


def test_data_sent_from_the_host_are_sent_to_the_device_that_takes_them():
    data, _ = Feed(made(4, feed="host"))(0, 1)
    for whole in jax.tree.leaves(data):
        assert {part.data.size for part in whole.addressable_shards} == {whole.size // 4}
