"""The generator's laws, and that its exact predictor is exact."""

import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import chi2

from jaxrec.data import synthetic
from jaxrec.data.splits import last_item
from jaxrec.system.errors import UserError


@st.composite
def worlds(draw):
    groups, tastes, longest = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 7))
    return synthetic.world(
        items=max(groups * tastes, 2 * longest) + draw(st.integers(0, 20)),
        tastes=tastes,
        seed=draw(st.integers(0, 2**32)),
        groups=groups,
        branches=draw(st.integers(1, groups)),
        period=draw(st.integers(1, 4)),
        whim=draw(st.floats(0.1, 1)),
        stray=draw(st.floats(0.1, 1)),
        drift=draw(st.floats(0, 1)),
        skew=draw(st.floats(0, 2)),
        lengths=(draw(st.integers(1, longest)), longest),
    )


def padded(items, offsets):
    lengths = np.diff(offsets)
    table = np.zeros((len(lengths), max(lengths, default=0)), np.int64)
    table[np.arange(table.shape[1]) < lengths[:, None]] = items
    return table


def tiny(**changes):
    """A world of ten items, in cells of three and two; the cue decides the fourth item of a history."""
    options = {"items": 10, "tastes": 2, "groups": 2, "branches": 2, "period": 3, "lengths": (5, 5)}
    return synthetic.world(**options | {"whim": 0.3, "stray": 0.3, "drift": 0.3} | changes)


@settings(max_examples=50, deadline=None)
@given(worlds(), st.integers(0, 40), st.lists(st.integers(0, 40), max_size=4))
def test_chunks_make_the_same_users_as_the_whole(world, users, cuts):
    items, offsets = synthetic.histories(world, 0, users)
    bounds = [0, *sorted(min(cut, users) for cut in cuts), users]
    chunks = [synthetic.histories(world, *pair) for pair in itertools.pairwise(bounds)]
    assert np.array_equal(items, np.concatenate([chunk for chunk, _ in chunks]))
    assert np.array_equal(np.diff(offsets), np.concatenate([np.diff(chunk) for _, chunk in chunks]))


@settings(max_examples=50, deadline=None)
@given(worlds(), st.integers(1, 60))
def test_histories_have_no_repeats_and_the_lengths_asked_for(world, users):
    items, offsets = synthetic.histories(world, 0, users)
    assert items.dtype == np.int32 and offsets.dtype == np.int64
    assert items.min() >= 1 and items.max() <= world.items
    assert np.diff(offsets).min() >= world.lengths[0] and np.diff(offsets).max() <= world.lengths[1]
    for history in np.split(items, offsets[1:-1]):
        assert len(np.unique(history)) == len(history)


@settings(max_examples=50, deadline=None)
@given(worlds(), st.integers(1, 20), st.integers(0, 3))
def test_probabilities_sum_to_one_over_the_unseen_and_ignore_padding(world, users, padding):
    histories = np.pad(padded(*synthetic.histories(world, 0, users)), ((0, 0), (0, padding)))
    p = synthetic.best(world, histories)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-9)
    for row, history in zip(p, histories, strict=True):
        seen = history[history > 0]
        assert not row[seen - 1].any()
        assert (np.delete(row, seen - 1) > 0).all()
        np.testing.assert_allclose(row, synthetic.best(world, seen[None])[0], rtol=1e-9)


def test_simulated_users_follow_the_probabilities():
    """A chi-square test of the next items of 400,000 users, given all items before, against `best`."""
    world, users = tiny(), 400_000
    chunks = range(0, users, 100_000)
    histories = np.concatenate([padded(*synthetic.histories(world, c, c + 100_000)) for c in chunks])
    for t in range(5):
        codes, inverse = np.unique(histories[:, :t] @ 11 ** np.arange(t), return_inverse=True)
        given = np.zeros((len(codes), t), np.int64)
        given[inverse] = histories[:, :t]
        counts = np.zeros((len(codes), world.items))
        np.add.at(counts, (inverse, histories[:, t] - 1), 1)
        p = synthetic.best(world, given)
        expected = p * counts.sum(1, keepdims=True)
        assert not counts[expected == 0].any()
        tested = expected >= 5
        excess = np.where(tested, (counts - expected) ** 2 / np.where(tested, expected, 1), 0).sum()
        freedom = (1 - p)[tested].sum()  # the exact mean of `excess`: a row's cells less one if all are tested
        assert 1e-3 < chi2.sf(excess, freedom) < 1 - 1e-3, f"after {t} items: {excess:.0f} for {freedom}"


@settings(max_examples=20, deadline=None)
@given(worlds(), st.integers(0, 5))
def test_filtering_is_the_sum_over_all_taste_paths(world, user):
    """By the definition in the module's docstring, path by path and item by item."""
    history = synthetic.histories(world, user, user + 1)[0]
    tastes = range(world.mass.shape[1])
    group, flavour, rank = synthetic.parts(world, np.arange(1, world.items + 1))

    def emission(before, taste):
        t = len(before)
        p_group = world.popularity[group]
        if t:
            first, last, earlier = (group[before[i] - 1] for i in (0, -1, max(t - 2, 0)))
            called = first if t % world.period == 0 else world.rule[earlier, last]
            p_group = world.whim * p_group + (1 - world.whim) * (group == called)
        p_flavour = world.stray / len(tastes) + (1 - world.stray) * (flavour == taste)
        p = p_group * p_flavour * world.weight[rank] / world.mass[group, flavour]
        p[before - 1] = 0
        return p / p.sum()

    emissions = [[emission(history[:t], z) for z in tastes] for t in range(len(history) + 1)]
    total = np.zeros(world.items)
    for path in itertools.product(tastes, repeat=len(history) + 1):
        weight = 1.0
        for t, (z, item) in enumerate(zip(path, history, strict=False)):
            stays = (1 - world.drift) * (z == path[t + 1]) + world.drift / len(tastes)
            weight *= emissions[t][z][item - 1] * stays
        total += weight * emissions[-1][path[-1]]
    np.testing.assert_allclose(synthetic.best(world, history[None])[0], total / total.sum(), rtol=1e-9, atol=1e-15)


def test_the_first_item_and_the_one_before_the_last_tell_what_the_last_cannot():
    world = synthetic.world()
    items, offsets = synthetic.histories(world, 0, 1)
    group = synthetic.parts(world, np.arange(1, world.items + 1))[0]

    def groups(history):
        return np.bincount(group, synthetic.best(world, history[None])[0], len(world.rule))

    def other(history, at):
        """[(group, the same history with an item of this group at that position)] for every group."""
        free = np.setdiff1d(np.arange(1, world.items + 1), history)
        swaps = [free[group[free - 1] == g][0] for g in range(len(world.rule))]
        return [(g, np.where(np.arange(len(history)) == at, swap, history)) for g, swap in enumerate(swaps)]

    history = items[: offsets[1]].copy()
    for first, changed in other(history[:8], 0):
        assert groups(changed).argmax() == first  # the cue decides position 8
    ordinary = [groups(changed).argmax() for _, changed in other(history[:7], 5)]
    assert len(set(ordinary)) == 4  # the branches that follow one last group


def test_best_metrics_are_what_its_ranking_gets():
    world = synthetic.world(items=200, groups=5, tastes=4, lengths=(5, 20))
    data = synthetic.sample(world, 4000)
    test = last_item(data).test
    expected = synthetic.best_metrics(world, data, test)
    histories = padded(data.items, data.offsets)
    rows = np.arange(len(histories))
    histories[rows, np.diff(data.offsets) - 1] = 0
    p = synthetic.best(world, histories)
    rank = (p >= p[rows, test.target - 1][:, None]).sum(1)
    gain = np.where(rank <= 10, 1 / np.log2(1 + rank), 0)
    for name, value in (("hr@10", rank <= 10), ("ndcg@10", gain)):
        assert abs(value.mean() - expected[name]) < 4 * value.std() / np.sqrt(len(value))


def test_counting_transitions_is_not_enough():
    """On the default data, the best NDCG@10 is at least 1.5 times that of transitions, and popularity is far below."""
    world = synthetic.world()
    data = synthetic.sample(world, 10_000)
    split = last_item(data)
    test = split.test._replace(**{name: getattr(split.test, name)[:2000] for name in split.test._fields})
    users = np.repeat(np.arange(10_000), np.diff(data.offsets))
    trains = np.arange(len(data.items)) < split.stop[users]
    popularity = np.bincount(data.items[trains], minlength=world.items + 1)[1:].astype(float)
    pair = trains[1:] & (users[1:] == users[:-1])
    counts = np.zeros((world.items, world.items))
    np.add.at(counts, (data.items[:-1][pair] - 1, data.items[1:][pair] - 1), 1)

    def ndcg(scores):
        scores = scores.copy()
        for row, start, stop in zip(scores, test.start, test.stop, strict=True):
            row[data.items[start:stop] - 1] = -1
        rank = (scores >= np.take_along_axis(scores, test.target[:, None] - 1, 1)).sum(1)
        return np.where(rank <= 10, 1 / np.log2(1 + rank), 0).mean()

    transitions = ndcg(counts[data.items[test.stop - 1] - 1] + popularity / (1 + popularity.max()))
    best = synthetic.best_metrics(world, data, test)["ndcg@10"]
    assert 0.4 < best < 0.6
    assert best >= 1.5 * transitions
    assert transitions > 2 * ndcg(np.tile(popularity, (2000, 1)))


def test_interactions_have_readable_items():
    data = synthetic.interactions(users=50, items=120, seed=3)
    again = synthetic.sample(synthetic.world(120, seed=3), 50)
    assert np.array_equal(data.items, again.items) and np.array_equal(data.offsets, again.offsets)
    assert not np.array_equal(data.items[:50], synthetic.interactions(users=50, items=120, seed=4).items[:50])
    assert np.array_equal(data.users, np.arange(1, 51)) and np.array_equal(data.catalogue.ids, np.arange(1, 121))
    assert len(set(data.catalogue.titles)) == 120
    group, flavour, _ = synthetic.parts(synthetic.world(120), 17)
    assert data.catalogue.genres[16] == f"Group {group + 1}|Flavour {flavour + 1}"
    assert data.catalogue.titles[16].endswith(f"of group {group + 1}")


@pytest.mark.parametrize("chunk", [7, 100])
def test_parquet_and_sequences_hold_the_same_users(tmp_path, chunk):
    world, users = tiny(lengths=(2, 5)), 100
    table = pl.read_parquet(synthetic.write(world, tmp_path / "new" / "log.parquet", users, chunk=chunk))
    lines = synthetic.write(world, tmp_path / "sequences.txt", users, "sequences", chunk).read_text().splitlines()
    data = synthetic.sample(world, users)
    histories = [history.tolist() for history in np.split(data.items, data.offsets[1:-1])]
    assert [[int(token) for token in line.split(" ")] for line in lines] == [
        [user, *history] for user, history in enumerate(histories, 1)
    ]
    assert table.columns == ["user", "item", "time"] and table["time"].dtype == pl.Int64
    assert table["item"].to_list() == data.items.tolist()
    assert table["user"].to_list() == np.repeat(data.users, np.diff(data.offsets)).tolist()
    gaps = table.select(pl.col("time").diff().over("user")).to_series().drop_nulls()
    assert (gaps > 0).all() and len(gaps) == len(table) - users
    whole = synthetic.write(world, tmp_path / "whole.parquet", users)
    assert pl.read_parquet(whole).equals(table)


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    made = synthetic.histories

    def fails(world, start, stop):
        if start >= 20:
            raise RuntimeError("no more")
        return made(world, start, stop)

    monkeypatch.setattr(synthetic, "histories", fails)
    with pytest.raises(Exception, match="no more"):
        synthetic.write(tiny(), tmp_path / "log.parquet", 100, chunk=10)
    assert not list(tmp_path.iterdir())


def test_a_catalogue_of_a_million_items():
    world = synthetic.world(items=1_000_000, lengths=(5, 15))
    items, offsets = synthetic.histories(world, 0, 2000)
    assert len(items) == offsets[-1] and items.max() > 100_000
    p = synthetic.best(world, items[: offsets[1]][None])
    assert p.shape == (1, 1_000_000) and p.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"items": 90}, "at least 96"),
        ({"items": 190, "lengths": (3, 100)}, "at least 200"),
        ({"lengths": (9, 8)}, "lengths"),
        ({"branches": 13}, "branches"),
        ({"period": 0}, "period"),
        ({"whim": 0.0}, "whim"),
        ({"drift": 1.5}, "drift"),
    ],
)
def test_an_impossible_world_is_refused(options, says):
    with pytest.raises(UserError, match=says):
        synthetic.world(**options)


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(UserError, match="parquet or sequences"):
        synthetic.write(tiny(), tmp_path / "log.csv", 10, "csv")
