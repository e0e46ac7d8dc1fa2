"""The host only holds the sets of the users that it draws for. What it draws is tested in test_setup."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest
from stepping import made

from jaxrec.data import splits
from jaxrec.data.interactions import from_sequences
from jaxrec.system.errors import UserError
from jaxrec.training.feed import Feed
from jaxrec.training.steps import host_negatives
from jaxrec.training.steps.host_negatives import HostDraw


def test_only_users_of_the_batches_are_looked_up(monkeypatch):
    setup, asked = made(feed="host", loss={"name": "bce", "negatives": 2}), []
    seen = host_negatives.seen
    monkeypatch.setattr(host_negatives, "seen", lambda *args: asked.append(args[-1].tolist()) or seen(*args))
    streams = []
    draw = lambda *args: streams.append(args[-1]) or setup.host_draw(*args)
    Feed(replace(setup, host_draw=draw, config=replace(setup.config, steps_per_call=1)))(0, setup.total_steps)
    ((users,), (stream,)) = asked, streams
    there = setup.split.interactions.users[np.unique(stream.user_index)].tolist()
    assert users == there and len(users) < len(setup.split.interactions.users)


def test_a_user_who_has_everything_is_refused_before_the_first_step():
    split = splits.last_item(from_sequences([["a", "b"] * 3, ["a"], ["b", "a"]], users=["x", "y", "z"]))
    with pytest.raises(UserError, match="user x has all 2 items of the catalogue"):
        HostDraw(split, 1, partial(jax.tree.map, lambda x: x))
