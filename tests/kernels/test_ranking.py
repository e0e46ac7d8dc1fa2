"""Laws of ranking: counting by chunks equals counting over everything, with ties and NaN against the scorer."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from some import some

from jaxrec.kernels import ranking, sizes
from jaxrec.kernels.hardware import Hardware, assumed
from jaxrec.kernels.ranking import Scorer, dot, ranks, sampled_ranks, top_k

USERS, ITEMS, SEEN = 6, 23, 5
CHUNKS = [1, 4, 8, 22, 23, 4096]  # most of them don't divide 23

# params are the scores, [Q, V]; a query is its row number
given_scores = Scorer(
    lambda scores, row, start, size: jax.lax.dynamic_slice_in_dim(scores[row], start, size),
    lambda scores, row, items: scores[row, items - 1],
)


def brute_rank(scores, target, seen):
    others = [v for v in range(1, len(scores) + 1) if v != target and v not in set(seen.tolist())]
    return 1 + sum(not (scores[v - 1] < scores[target - 1]) for v in others)


def brute_best(scores, seen, k):
    left = [v for v in range(1, len(scores) + 1) if v not in set(seen.tolist()) and scores[v - 1] > -np.inf]
    best = sorted(left, key=lambda v: (-scores[v - 1], v))[:k]
    return best + [0] * (k - len(best)), [scores[v - 1] for v in best] + [-np.inf] * (k - len(best))


blocks = jax.jit(ranking.top_k_by_blocks, static_argnums=(1, 2))
best = jax.jit(ranking.top_k_of_scores, static_argnums=1)


def problem(seed, levels=4, special=True):
    """Returns scores with ties, NaN and infinities, targets, and distinct seen items except these, padded with 0."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, (USERS, ITEMS)).astype(np.float32)
    if special:
        special = rng.choice([np.nan, np.inf, -np.inf, -0.0], scores.shape)
        scores = np.where(rng.random(scores.shape) < 0.15, special, scores)
    targets = rng.integers(1, ITEMS + 1, USERS)
    seen = np.stack([rng.permutation(np.delete(np.arange(1, ITEMS + 1), t - 1))[:SEEN] for t in targets])
    seen[rng.random(seen.shape) < 0.3] = 0
    return scores.astype(np.float32), np.arange(USERS), targets.astype(np.int32), seen.astype(np.int32)


@pytest.mark.parametrize("chunk", CHUNKS)
@given(seed=st.integers(0, 2**32 - 1))
def test_ranks_are_those_of_a_count_over_all_items(chunk, seed):
    scores, rows, targets, seen = problem(seed)
    found = ranks(given_scores, scores, rows, targets, seen, catalogue=ITEMS, chunk=chunk)
    assert found.tolist() == [brute_rank(*each) for each in zip(scores, targets, seen, strict=True)]


@pytest.mark.parametrize("chunk", CHUNKS)
@given(seed=st.integers(0, 2**32 - 1))
def test_integer_scores_are_ranked_exactly(chunk, seed):
    scores, rows, targets, seen = problem(seed, special=False)
    scores = scores.astype(np.int32) + (2**31 - 4)  # in float32 they would all be equal
    found = ranks(given_scores, scores.astype(np.int32), rows, targets, seen, catalogue=ITEMS, chunk=chunk)
    assert found.tolist() == [brute_rank(*each) for each in zip(scores, targets, seen, strict=True)]


@given(seed=st.integers(0, 2**32 - 1))
def test_sampled_ranks_are_those_of_a_count(seed):
    scores, rows, targets, candidates = problem(seed)
    found = sampled_ranks(given_scores, scores, rows, targets, candidates)
    wanted = [
        1 + sum(not (own[v - 1] < own[t - 1]) for v in some if v)
        for own, t, some in zip(scores, targets, candidates, strict=True)
    ]
    assert found.tolist() == wanted


@given(seed=st.integers(0, 2**32 - 1))
def test_sampled_ranks_among_all_unseen_items_are_the_full_ranks(seed):
    scores, rows, targets, seen = problem(seed)
    every = np.tile(np.arange(1, ITEMS + 1, dtype=np.int32), (USERS, 1))
    out = (every == targets[:, None]) | (every[:, :, None] == seen[:, None]).any(2)
    sampled = sampled_ranks(given_scores, scores, rows, targets, np.where(out, 0, every))
    np.testing.assert_array_equal(sampled, ranks(given_scores, scores, rows, targets, seen, catalogue=ITEMS, chunk=8))


@pytest.mark.parametrize("chunk", CHUNKS)
@given(seed=st.integers(0, 2**32 - 1))
def test_top_k_is_the_head_of_a_sort(chunk, seed):
    scores, rows, _, seen = problem(seed)
    items, best = top_k(given_scores, scores, rows, seen, k=7, catalogue=ITEMS, chunk=chunk)
    for i in range(USERS):
        wanted_items, wanted_scores = brute_best(scores[i], seen[i], 7)
        assert items[i].tolist() == wanted_items
        np.testing.assert_array_equal(best[i], np.float32(wanted_scores))


@pytest.mark.parametrize("chunk", [8, 4096])
def test_top_k_of_more_than_there_are_is_filled_up_with_nothing(chunk):
    scores, rows, _, seen = problem(0)
    items, best = top_k(given_scores, scores, rows, seen, k=ITEMS + 3, catalogue=ITEMS, chunk=chunk)
    for i in range(USERS):
        wanted_items, wanted_scores = brute_best(scores[i], seen[i], ITEMS + 3)
        assert items[i].tolist() == wanted_items
        np.testing.assert_array_equal(best[i], np.float32(wanted_scores))


@given(seed=st.integers(0, 2**32 - 1))
def test_top_k_takes_integer_scores(seed):
    scores, rows, _, seen = problem(seed, special=False)
    floats = top_k(given_scores, scores, rows, seen, k=7, catalogue=ITEMS, chunk=8)
    integers = top_k(given_scores, scores.astype(np.int32) + 2**24 - 4, rows, seen, k=7, catalogue=ITEMS, chunk=8)
    np.testing.assert_array_equal(floats[0], integers[0])


@given(seed=st.integers(0, 2**32 - 1))
def test_an_unseen_target_of_rank_r_stands_at_place_r(seed):
    rng = np.random.default_rng(seed)
    _, rows, targets, seen = problem(seed)
    scores = rng.permuted(np.tile(np.arange(ITEMS, dtype=np.float32), (USERS, 1)), axis=1)  # no ties
    found = np.asarray(ranks(given_scores, scores, rows, targets, seen, catalogue=ITEMS, chunk=8))
    items, _ = top_k(given_scores, scores, rows, seen, k=ITEMS, catalogue=ITEMS, chunk=8)
    np.testing.assert_array_equal(np.asarray(items)[np.arange(USERS), found - 1], targets)


@given(seed=st.integers(0, 2**32 - 1))
def test_what_has_been_seen_never_worsens_a_rank(seed):
    scores, rows, targets, seen = problem(seed)
    fewer = np.where(np.random.default_rng(seed).random(seen.shape) < 0.5, 0, seen)
    rank = partial(ranks, given_scores, scores, rows, targets, catalogue=ITEMS, chunk=8)
    assert (rank(seen) <= rank(fewer)).all()


@pytest.mark.parametrize("group", ["plain", "seen", "ties", "special"])
@pytest.mark.parametrize("chunk", [7, 20])
def test_ranks_of_the_references(group, chunk):
    with np.load(Path(__file__).parents[1] / "parity" / "ranking.npz", allow_pickle=False) as file:
        scores, seen, targets, wanted = (file[f"{group}.{name}"] for name in ("scores", "seen", "targets", "ranks"))
    rows = np.arange(len(targets))
    items = seen * np.arange(seen.shape[1])
    items[items == targets[:, None]] = 0
    with jax.enable_x64(True):
        found = ranks(given_scores, scores[:, 1:], rows, targets, items, catalogue=scores.shape[1] - 1, chunk=chunk)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("chunk", [64, 100, 1000])
@pytest.mark.parametrize("bias", [False, True])
def test_dot_scores_by_product_and_bias_whatever_the_chunk(chunk, bias):
    rng = np.random.default_rng(0)
    table, hidden = (rng.integers(-4, 5, (n, 8)).astype(np.float32) for n in (300, 16))  # exact, with many ties
    added = rng.integers(-4, 5, 300).astype(np.float32) if bias else None
    targets = rng.integers(1, 301, 16)
    seen = np.zeros((16, 1), np.int32)
    found = ranks(dot, (table, added), hidden, targets, seen, catalogue=300, chunk=chunk)
    scores = hidden @ table.T + (added if bias else 0)
    assert found.tolist() == [brute_rank(*each) for each in zip(scores, targets, seen, strict=True)]
    candidates = rng.integers(1, 301, (16, 5))
    among = sampled_ranks(dot, (table, added), hidden, targets, candidates)
    reached = np.take_along_axis(scores, candidates - 1, 1) >= np.take_along_axis(scores, targets[:, None] - 1, 1)
    np.testing.assert_array_equal(among, 1 + reached.sum(1))


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
@pytest.mark.parametrize("chunks", [1, 2, 3])
def test_of_an_accelerators_chunks_ranks_are_those_of_the_whole(chunks, platform):
    items, queries = 3 * sizes.RANKED_ITEMS - 5, 16
    rng = np.random.default_rng(0)
    table, hidden = (rng.integers(-4, 5, (n, 3)).astype(np.float32) for n in (items, queries))  # many ties
    bias = rng.choice([0, 1, np.nan, -np.inf], items).astype(np.float32)
    scores, targets = hidden @ table.T + bias, rng.integers(1, items + 1, queries)
    seen = np.stack([rng.permutation(np.delete(np.arange(items), target))[:99] for target in targets])  # 0 is none
    with assumed(Hardware(platform, sizes.MEMORY_PER_NUMBER * queries * -(-items // chunks))):
        assert -(-items // sizes.ranked_items(queries, items)) == chunks
        found = ranks(dot, (table, bias), hidden, targets, seen, catalogue=items)
        best, _ = top_k(dot, (table, bias), hidden, seen, k=9, catalogue=items)
    for row in range(queries):
        assert found[row] == brute_rank(scores[row], targets[row], seen[row])
        assert best[row].tolist() == brute_best(scores[row], seen[row], 9)[0]


def test_items_with_one_vector_tie_wherever_they_lie():
    """Also if their products aren't exact, since the target's score is taken from the chunk it is compared with."""
    rng = np.random.default_rng(0)
    for items, chunk in ((3416, 4096), (3417, 1000), (100, 4096)):
        table = np.tile(rng.normal(size=64).astype(np.float32), (items, 1))
        hidden = rng.normal(size=(16, 64)).astype(np.float32)
        targets = rng.integers(1, items + 1, 16)
        seen = np.zeros((16, 1), np.int32)
        found = ranks(dot, (table, None), hidden, targets, seen, catalogue=items, chunk=chunk)
        assert (found == items).all()


@pytest.mark.parametrize("chunk", [9, 16])
def test_a_target_is_scored_in_the_chunk_that_counts_it(chunk):
    """The last chunk begins before the end of the one before; items in both are counted once, in the first."""
    starts = Scorer(  # an item's score is the start of its chunk
        lambda params, query, start, size: jnp.full(size, start, jnp.float32),
        lambda params, query, items: jnp.full(items.shape, jnp.nan),
    )
    targets = np.arange(1, ITEMS + 1)
    found = ranks(starts, None, None, targets, np.zeros((ITEMS, 1), np.int32), catalogue=ITEMS, chunk=chunk)
    first = (targets - 1) // chunk
    assert found.tolist() == [(first >= own).sum() for own in first]


def test_a_rank_is_never_below_one():
    """Also if the target's own score is higher than in the chunk, as two programs may round differently."""
    lifted = given_scores._replace(at=lambda *args: given_scores.at(*args) + 1)
    scores, rows, targets, seen = problem(0, special=False)
    found = ranks(lifted, scores.astype(np.int32), rows, targets, seen, catalogue=ITEMS, chunk=8)
    best = scores[rows, targets - 1] == scores.max(1)
    assert best.any() and (np.asarray(found)[best] == 1).all()


def test_a_random_scorer_hits_k_of_v_times():
    users, items, k = 4000, 200, 10

    def draw(key, user):
        return jax.random.uniform(jax.random.fold_in(key, user), items)

    scorer = Scorer(
        lambda key, user, start, size: jax.lax.dynamic_slice_in_dim(draw(key, user), start, size),
        lambda key, user, some: draw(key, user)[some - 1],
    )
    targets = np.random.default_rng(0).integers(1, items + 1, users)
    seen = np.zeros((users, 1), np.int32)
    found = ranks(scorer, jax.random.key(0), np.arange(users), targets, seen, catalogue=items, chunk=64)
    share = k / items
    assert abs((found <= k).mean() - share) < 4 * np.sqrt(share * (1 - share) / users)


def mesh_of_eight():
    if len(jax.devices()) < 8:
        pytest.skip("needs 8 devices: XLA_FLAGS=--xla_force_host_platform_device_count=8")
    return jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))


def over_queries(function, table, hidden, targets, seen):
    if function is top_k:
        return top_k(dot, (table, None), hidden, seen, k=4, catalogue=len(table), chunk=8)[0]
    if function is sampled_ranks:
        return sampled_ranks(dot, (table, None), hidden, targets, seen)
    return ranks(dot, (table, None), hidden, targets, seen, catalogue=len(table), chunk=8)


def exact_problem():
    rng = np.random.default_rng(0)
    table, hidden = (rng.integers(-4, 5, (n, 8)).astype(np.float32) for n in (50, 16))
    targets, seen = rng.integers(1, 26, 16), rng.integers(26, 51, (16, 3))
    return table, hidden, targets.astype(np.int32), seen.astype(np.int32)


@pytest.mark.parametrize("function", [ranks, sampled_ranks, top_k])
def test_queries_spread_over_eight_devices_rank_as_on_one(function):
    shared = NamedSharding(mesh_of_eight(), P("data"))
    table, *queries = exact_problem()
    alone = over_queries(function, table, *queries)
    spread = over_queries(function, table, *jax.device_put(tuple(queries), shared))
    assert spread.sharding.is_equivalent_to(shared, spread.ndim)
    np.testing.assert_array_equal(spread, alone)


@pytest.mark.parametrize("function", [ranks, sampled_ranks, top_k])
def test_they_run_under_shard_map_with_its_checks_on(function):
    mapped = jax.shard_map(
        partial(over_queries, function), mesh=mesh_of_eight(), in_specs=(P(), *[P("data")] * 3), out_specs=P("data")
    )
    table, *queries = exact_problem()
    np.testing.assert_array_equal(jax.jit(mapped)(table, *queries), over_queries(function, table, *queries))


@pytest.mark.parametrize("item", some([2, 8], 8))
@pytest.mark.parametrize("function", [ranks, sampled_ranks, top_k])
def test_items_split_over_devices_rank_as_whole(function, item):
    """With ties, NaN and -inf, and a number of items that no split divides; the padding would have the best scores."""
    table, *queries = exact_problem()
    table, bias = table[:43], np.random.default_rng(1).choice([0, 1, np.nan, -np.inf], 43, p=[0.4, 0.4, 0.1, 0.1])
    queries[2] = np.where(queries[2] > 43, 0, queries[2])
    missing = -len(table) % item
    padded = np.pad(table, ((0, missing), (0, 0))), np.pad(bias.astype(np.float32), (0, missing), constant_values=99)
    by_item = {"catalogue": 43, "axis": "item"}

    def over(params, hidden, targets, seen, **by_item):
        if function is top_k:
            return top_k(dot, params, hidden, seen, k=7, chunk=4, **by_item)
        if function is sampled_ranks:
            return sampled_ranks(dot, params, hidden, targets, seen, **by_item)
        return ranks(dot, params, hidden, targets, seen, chunk=4, **by_item)

    mesh = jax.make_mesh((8 // item, item), ("data", "item"), axis_types=(AxisType.Auto,) * 2)
    specs = {"in_specs": (P("item"), *[P("data")] * 3), "out_specs": P("data")}
    split = jax.shard_map(partial(over, **by_item), mesh=mesh, check_vma=False, **specs)
    alone = over((table, bias.astype(np.float32)), *queries, catalogue=43)
    jax.tree.map(np.testing.assert_array_equal, jax.jit(split)(padded, *queries), alone)


@pytest.mark.parametrize("function", [ranks, top_k])
def test_no_matrix_of_users_by_items_is_held(function):
    users, items, chunk = 64, 20_000, 256
    shape = jax.ShapeDtypeStruct
    table, hidden = shape((items, 8), jnp.float32), shape((users, 8), jnp.float32)
    targets, seen = shape((users,), jnp.int32), shape((users, 4), jnp.int32)
    if function is top_k:
        lowered = top_k.lower(dot, (table, None), hidden, seen, k=10, catalogue=items, chunk=chunk)
    else:
        lowered = ranks.lower(dot, (table, None), hidden, targets, seen, catalogue=items, chunk=chunk)
    held = lowered.compile().memory_analysis().temp_size_in_bytes
    assert held < users * items * 4 / 8


@pytest.mark.parametrize("items, k, block", [(1, 1, 1), (23, 5, 4), (23, 23, 4), (24, 2, 8), (24, 7, 8), (90, 9, 3)])
@given(st.integers(0, 2**31))
def test_the_best_by_blocks_are_those_of_a_sort(items, k, block, seed):
    values = [-2, -1, -0.0, 0.0, 1, 2, np.nan, np.inf, -np.inf]
    scores = np.random.default_rng(seed).choice(values, (3, items)).astype(np.float32)
    got_items, got = map(np.asarray, best(scores, k))
    for row in range(3):
        want_items, want = brute_best(scores[row], np.array([]), k)
        assert got_items[row].tolist() == want_items and got[row].tolist() == want
    plain = np.where(np.isnan(scores), -np.inf, scores) + 0.0
    got, places = map(np.asarray, blocks(plain, k, block))
    order = np.argsort(-plain, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(got, np.take_along_axis(plain, order, 1))
    real = got > -np.inf
    np.testing.assert_array_equal(places[real], order[real])


def test_many_scores_are_cut_into_blocks():
    scores = np.random.default_rng(0).normal(size=(2, ranking.MANY + 5)).astype(np.float32)
    items, got = best(scores, 16)
    np.testing.assert_array_equal(items, np.argsort(-scores, axis=1, kind="stable")[:, :16] + 1)
    np.testing.assert_array_equal(got, np.sort(scores, axis=1)[:, : -16 - 1 : -1])


def test_fewer_scores_are_cut_into_blocks_for_few_wanted():
    scores = np.random.default_rng(0).normal(size=(2, ranking.MANY // 8 + 5)).astype(np.float32)
    items, got = best(scores, 16)
    np.testing.assert_array_equal(items, np.argsort(-scores, axis=1, kind="stable")[:, :16] + 1)
    np.testing.assert_array_equal(got, np.sort(scores, axis=1)[:, : -16 - 1 : -1])
