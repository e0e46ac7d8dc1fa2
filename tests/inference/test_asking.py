"""A command gets the same histories from a split's questions as a model does in an evaluation."""

from dataclasses import replace

import numpy as np
import polars as pl

from jaxrec.batches import context
from jaxrec.data import splits
from jaxrec.data.attributes.user_columns import Column
from jaxrec.data.interactions import Sessions, Types, UserColumns, from_sequences
from jaxrec.data.storage.ragged import slices
from jaxrec.inference.asking import given


def test_all_that_is_known_of_the_events_is_kept():
    random = np.random.default_rng(0)
    log = from_sequences([random.integers(1, 9, length).tolist() for length in (2, 5, 9, 3)])
    events = len(log.items)
    starts = np.unique(np.append(log.offsets, random.integers(0, events, 5)))
    gender = UserColumns(pl.DataFrame({"gender": ["F", "M", None, "F"]}), (Column("gender", values=("F", "M")),))
    log = replace(
        log,
        times=np.arange(events) * 10**11,
        weights=random.uniform(0, 5, events).astype(np.float32),
        types=Types(random.integers(1, 3, events).astype(np.uint8), ("buy", "view")),
        sessions=Sessions(starts, np.arange(len(starts) - 1)),
        catalogue=log.catalogue._replace(about=pl.DataFrame({"genres": ["War", "Drama"] * 4})),
        user_columns=gender,
    )
    kinds = [kind for kind in context.KINDS if not context.is_asked([kind])[0]] + ["user gender", context.MOMENT]
    for questions in (splits.last_item(log).test, splits.last_item(log).valid):
        found = given(log, questions)
        at = slices(questions.start, questions.stop)
        whole = context.numbers(context.of_log(log), kinds)
        np.testing.assert_array_equal(context.numbers(context.of_log(found), kinds), whole[at])
        assert len(found.sessions.ids) == len(found.sessions.offsets) - 1 and found.sessions.offsets[-1] == len(at)
        assert set(found.offsets) <= set(found.sessions.offsets)
