"""An event's influence is the difference from the same query without it."""

import numpy as np
import pytest
import recommenders
from some import some

from jaxrec.batches import context
from jaxrec.data.attributes.user_columns import Column
from jaxrec.inference.queries import Query


@pytest.mark.parametrize(("name", "keys"), some([("sasrec", {"time_bias": True}), ("bert4rec", {})], ("bert4rec", {})))
def test_influence_counts_an_event_with_all_that_it_brings(name, keys):
    """The query without the event also differs in gaps, topics and the time of the request."""
    columns = (Column("gender", values=("F", "M")),)
    shown = recommenders.recommender(
        name, context=",".join(context.KINDS), types=("cart", "view"), columns=columns, **keys
    )
    history, items = ["i1", "i2", "nobody", "i3", "i5"], ["i5", "i9"]
    times = [1_700_000_000, 1_700_004_000, 1_700_009_000, 1_700_090_000, None]
    sessions = ["a", "a", "b", "c", "c"]
    weights, types = [1, None, 3, 0.5, 2], ["view", "cart", "view", None, "cart"]
    about = {"times": times, "weights": weights, "types": types, "sessions": sessions}
    told = {"now": 1_700_200_000, "user_columns": {"gender": "F"}}
    of = lambda values, places: [values[at] for at in places]
    said = lambda places: {name: of(values, places) for name, values in about.items()} | told

    def scores(places):
        asked = shown.check(Query(of(history, places), **said(places)))
        return shown.engine.scores(shown.engine.hidden([asked.known], contexts=[asked.context]), [6, 10])[0]

    for places in ([0, 1, 2, 3, 4], [1, 3]):
        moved = shown.influence(of(history, places), items, **said(places))
        for place, at in enumerate(places):
            rest = scores([other for other in places if other != at])
            np.testing.assert_allclose(
                moved[:, place], 0 if history[at] == "nobody" else scores(places) - rest, atol=2e-5
            )


@pytest.mark.parametrize(("name", "start"), some([("two-tower", 0.1), ("bert4rec", 0.0)], ("two-tower", 0.1)))
def test_influence_of_an_only_event_is_the_difference_to_what_is_known_of_the_user(name, start):
    columns = (Column("gender", values=("F", "M")),)
    shown = recommenders.recommender(name, items=12, columns=columns, start_prob=start)
    moved = shown.influence(["i1"], ["i5"], user_columns={"gender": "F"})
    one = shown.check(Query(["i1"], user_columns={"gender": "F"}))
    row = shown.check(Query([], user_columns={"gender": "F"}))
    assert len(row.known) == (start > 0)
    hidden = shown.engine.hidden([one.known, row.known], contexts=[one.context, row.context])
    with_it, without = shown.engine.scores(hidden, [6])[:, 0]
    np.testing.assert_allclose(moved, [[with_it - without]], atol=1e-5)
    assert moved != shown.influence(["i1"], ["i5"])


def test_influence_on_a_retired_item_is_what_it_was():
    shown = recommenders.recommender("sasrec", items=12)
    before = shown.influence(["i1", "i2"], ["i5", "i6"])
    now = shown.changed(retired=["i5"])
    np.testing.assert_allclose(now.influence(["i1", "i2"], ["i5", "i6"]), before, atol=1e-6)
