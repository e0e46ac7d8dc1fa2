"""Laws of jaxrec.evaluation: who is ranked among whom, what is drawn, and what the numbers are."""

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from jaxrec.config import registry
from jaxrec.data.interactions import from_sequences
from jaxrec.data.splits import last_item, sessions, training_counts, training_items
from jaxrec.evaluation import candidates, protocols
from jaxrec.evaluation.baselines import COUNTED
from jaxrec.evaluation.candidates import draw
from jaxrec.evaluation.metrics import metrics
from jaxrec.evaluation.protocols import Protocol
from jaxrec.evaluation.ranker import best, lay_out, run
from jaxrec.kernels.ranking import Scorer, dot
from jaxrec.system.errors import UserError

ITEMS, DIM = 40, 4

constant = Scorer(
    lambda params, query, start, size: jnp.zeros(size),
    lambda params, query, items: jnp.zeros(items.shape),
)


def split_of(histories, items=None):
    """A split whose item numbers are the histories' own: one more user, not trained on nor asked, has all."""
    split = last_item(from_sequences([list(range(1, (items or max(map(max, histories))) + 1)), *histories]))
    split.stop[0] = split.start[0]
    return split._replace(
        **{name: type(q)(*(x[1:] for x in q)) for name, q in (("valid", split.valid), ("test", split.test))}
    )


def random_split(users=60, items=ITEMS, longest=60, seed=0):
    rng = np.random.default_rng(seed)
    return split_of([rng.integers(1, items + 1, n).tolist() for n in rng.integers(3, longest, users)], items)


def exact_scores(split, questions, seed=0):
    """A table and hidden vectors whose products are exact, and full of ties."""
    rng = np.random.default_rng(seed)
    items = len(split.interactions.catalogue.ids)
    return tuple(rng.integers(-3, 4, (n, DIM)).astype(np.float32) for n in (items, len(questions.target)))


def brute_ranks(split, questions, table, hidden):
    found = []
    for q, target in enumerate(questions.target):
        scores = table @ hidden[q]
        history = set(split.interactions.items[questions.start[q] : questions.stop[q]].tolist())
        others = [v for v in range(1, len(table) + 1) if v not in history and v != target]
        found.append(1 + sum(scores[v - 1] >= scores[target - 1] for v in others))
    return found


def eight():
    if len(jax.devices()) < 8:
        pytest.skip("needs 8 devices: XLA_FLAGS=--xla_force_host_platform_device_count=8")
    return jax.devices()[:8]


# --- ranks


@pytest.mark.parametrize("part", ["valid", "test"])
@pytest.mark.parametrize("block", [8, 512])
def test_full_ranks_are_those_of_a_count_in_the_questions_order(part, block):
    split = random_split()
    questions = getattr(split, part)
    lengths = questions.stop - questions.start
    assert (np.diff(lengths) < 0).any() and lengths.max() > 4 * lengths.min()  # several buckets, and out of order
    table, hidden = exact_scores(split, questions)
    layout = lay_out(split, questions, block=block)
    assert run(layout, dot, (table, None), hidden).tolist() == brute_ranks(split, questions, table, hidden)


@pytest.mark.parametrize("protocol", registry.names("protocol"))
def test_eight_devices_rank_as_one(protocol):
    split = random_split(items=300)
    params, hidden = exact_scores(split, split.test)
    alone, spread = (lay_out(split, split.test, protocol, devices=some, block=8) for some in (None, eight()))
    np.testing.assert_array_equal(run(alone, dot, (params, None), hidden), run(spread, dot, (params, None), hidden))
    if protocols.whole(protocol):
        lists = (best(each, dot, (params, None), hidden, 10) for each in (alone, spread))
        np.testing.assert_array_equal(*lists)


@pytest.mark.parametrize("protocol", registry.names("protocol"))
def test_a_second_call_with_new_parameters_compiles_nothing(protocol, caplog):
    split = random_split(items=300)
    layout = lay_out(split, split.test, protocol, block=24)
    (table, hidden), (table2, hidden2) = (exact_scores(split, split.test, seed) for seed in (1, 2))
    scorer = Scorer(dot.chunk, lambda *args: dot.at(*args))  # a new one: the sampled protocols share their program

    def compiled(params, queries):
        caplog.clear()
        with jax.log_compiles():
            ranks = run(layout, scorer, (params, None), queries)
        return ranks, sum("Compiling" in record.getMessage() for record in caplog.records)

    before, programs = compiled(table, hidden)
    after, more = compiled(table2, hidden2)
    assert programs >= len(layout.buckets) and more == 0
    assert (before != after).any()


def test_a_target_met_before_stays_a_candidate():
    split = split_of([[7, 3, 4, 7], [1, 2, 3, 7]])
    table = np.arange(7, dtype=np.float32)[:, None]  # item 7 is the best
    layout = lay_out(split, split.test)
    assert run(layout, dot, (table, None), np.ones((2, 1), np.float32)).tolist() == [1, 1]
    # as the worst it stands behind what it has not met: of 7 items 5 are left to the first, 4 to the second
    assert run(layout, dot, (table, None), -np.ones((2, 1), np.float32)).tolist() == [5, 4]


@pytest.mark.parametrize("protocol", registry.names("protocol"))
def test_a_constant_scorer_hits_nothing(protocol):
    split = random_split(items=300)
    found = run(lay_out(split, split.test, protocol), constant, None, None)
    assert metrics(found)["hr@50"] == 0
    if not protocols.whole(protocol):
        assert (found == 101).all()


@pytest.mark.parametrize("users", [1, 9])
def test_items_of_one_vector_tie_for_a_lone_query_too(users):
    """A lone query's product with a table is rounded differently at the table's end: it must not be ranked alone."""
    for seed in range(9):
        split, rng = random_split(users, 100, 20, seed), np.random.default_rng(seed)
        table = np.tile(rng.normal(size=64).astype(np.float32), (100, 1))
        hidden = rng.normal(size=(users, 64)).astype(np.float32)
        found = run(lay_out(split, split.test), dot, (table, None), hidden)
        history = [split.interactions.items[a:b] for a, b in zip(split.test.start, split.test.stop, strict=True)]
        wanted = [100 - len(set(h) - {t}) for h, t in zip(history, split.test.target, strict=True)]
        assert found.tolist() == wanted


@pytest.mark.parametrize("protocol,candidates", [("full", 300), ("uniform-100", 101), ("popularity-100", 101)])
def test_a_random_scorer_hits_k_of_the_candidates_times(protocol, candidates):
    split = random_split(users=3000, items=300, longest=6)
    rng = np.random.default_rng(0)
    table, hidden = (rng.normal(size=(n, 16)).astype(np.float32) for n in (300, len(split.test.target)))
    hits = metrics(run(lay_out(split, split.test, protocol), dot, (table, None), hidden))["hr@10"]
    share = 10 / candidates
    assert abs(hits - share) < 5 * np.sqrt(share / 3000)


def test_queries_of_another_number_are_refused():
    split = random_split()
    with pytest.raises(AssertionError, match="prefix"):
        run(lay_out(split, split.test), dot, (np.zeros((ITEMS, DIM), np.float32), None), np.zeros((3, DIM), np.float32))


def test_the_best_are_those_of_a_sort_without_the_history():
    split = random_split()
    table, hidden = exact_scores(split, split.test)
    wanted = np.zeros((len(hidden), 10), int)
    for q, target in enumerate(split.test.target):
        history = set(split.interactions.items[split.test.start[q] : split.test.stop[q]].tolist()) - {target}
        scores = table @ hidden[q]
        own = sorted(set(range(1, ITEMS + 1)) - history, key=lambda v: (-scores[v - 1], v))[:10]
        wanted[q, : len(own)] = own
    np.testing.assert_array_equal(best(lay_out(split, split.test), dot, (table, None), hidden, 10), wanted)
    with pytest.raises(ValueError, match="full"):
        best(lay_out(random_split(items=300), random_split(items=300).test, "uniform-100"), constant, None, None, 10)


def test_seen_kept_leaves_nothing_out():
    """Where a target repeats it is ranked among the other items of its history too: never better than by `full`."""
    split = random_split(longest=30)
    table, hidden = exact_scores(split, split.test)
    scores = hidden @ table.T
    wanted = (scores >= scores[np.arange(len(scores)), split.test.target - 1][:, None]).sum(1)
    ranks = {
        name: run(lay_out(split, split.test, name), dot, (table, None), hidden)
        for name in ("full", "full, seen kept", "full-seen-kept")
    }
    assert ranks["full, seen kept"].tolist() == wanted.tolist() == ranks["full-seen-kept"].tolist()
    assert (ranks["full"] <= ranks["full, seen kept"]).all() and (ranks["full"] < ranks["full, seen kept"]).any()


@pytest.mark.parametrize(
    ("protocol", "repeats", "both", "wanted"),
    [
        ("full", 1, False, ("full",)),
        ("full", 2, False, ("full", "full, seen kept")),
        ("full", 0, True, ("full", "full, seen kept")),
        ("full, seen kept", 1, False, ("full, seen kept",)),
        ("full, seen kept", 2, False, ("full, seen kept", "full")),
        ("sessions", 100, True, ("sessions",)),
        ("uniform-100", 100, True, ("uniform-100",)),
    ],
)
def test_both_measures_go_together_where_many_targets_repeat(protocol, repeats, both, wanted):
    assert protocols.measures(protocol, repeats, 100, both) == wanted


# --- sessions


def in_sessions(histories, trains):
    return sessions(replace(from_sequences(histories), train_sessions=trains), valid=0)


def test_sessions_filter_nothing():
    """Every event is ranked among the whole catalogue as its score says: what was met, the target too, stays."""
    rng = np.random.default_rng(0)
    split = in_sessions([list(range(1, ITEMS + 1)), *(rng.integers(1, ITEMS + 1, n).tolist() for n in (9, 2, 30))], 1)
    table, hidden = exact_scores(split, split.test)
    scores = hidden @ table.T
    wanted = (scores >= scores[np.arange(len(scores)), split.test.target - 1][:, None]).sum(1)
    assert len(wanted) == 8 + 1 + 29
    layout = lay_out(split, split.test, "sessions", block=8)
    assert run(layout, dot, (table, None), hidden).tolist() == wanted.tolist()


def test_a_target_that_repeats_the_last_item_is_hit_where_it_scores_best():
    split = in_sessions([[1, 2, 3], [2, 2]], 1)
    table = np.array([[0.0], [2.0], [1.0]], np.float32)
    layout = lay_out(split, split.test, "sessions")
    assert run(layout, dot, (table, None), np.ones((1, 1), np.float32)).tolist() == [1]
    assert best(layout, dot, (table, None), np.ones((1, 1), np.float32), 1).tolist() == [[2]]


@pytest.mark.parametrize("name", COUNTED)
def test_baselines_answer_every_event_as_by_hand(name):
    rng = np.random.default_rng(1)
    histories = [rng.integers(1, 13, rng.integers(1, 8)).tolist() for _ in range(60)]
    split = in_sessions([list(range(1, 13)), *histories], 40)
    counts, follows = np.zeros(13, int), np.zeros((13, 13), int)
    for low, high in zip(split.start, split.stop, strict=True):
        items = split.interactions.items[low:high]
        np.add.at(counts, items, 1)
        np.add.at(follows, (items[:-1], items[1:]), 1)
    baseline, wanted = COUNTED[name], []
    for stop, target in zip(split.test.stop, split.test.target, strict=True):
        last = split.interactions.items[stop - 1]
        scores = [(follows[last, v] if name == "transitions" else 0, counts[v]) for v in range(1, 13)]
        wanted.append(sum(score >= scores[target - 1] for score in scores))
    layout = lay_out(split, split.test, "sessions")
    ranks = run(layout, baseline.scorer, baseline.fit(split), baseline.queries(None, split, split.test))
    assert ranks.tolist() == wanted


# --- draws


@pytest.mark.parametrize("protocol", ["uniform-100", "popularity-100"])
@given(seed=st.integers(0, 2**32 - 1))
def test_drawn_are_distinct_unknown_and_never_the_target(protocol, seed):
    split = random_split(items=180, users=30, seed=seed)
    for questions in (split.valid, split.test):
        drawn = draw(split, questions, protocol, seed)
        assert drawn.shape == (len(questions.target), 100) and drawn.min() >= 1 and drawn.max() <= 180
        trained = set(training_items(split).tolist())
        for user, target, some in zip(questions.source, questions.target, drawn.tolist(), strict=True):
            low = split.interactions.offsets[user]
            high = split.stop[user] if protocol == "uniform-100" else split.interactions.offsets[user + 1]
            assert len(set(some)) == 100
            assert not set(some) & {target, *split.interactions.items[low:high].tolist()}
            assert protocol == "uniform-100" or set(some) <= trained


def test_uniform_draws_may_meet_what_was_held_out_but_popular_ones_not():
    split = split_of([[1, 2, 3, 4]] * 400 + [[5, 6, 3, 4], [4, *range(5, 110), 3]])
    split = split._replace(test=type(split.test)(*(column[:400] for column in split.test)))
    drawn = draw(split, split.test, "uniform-100")
    assert (drawn == 3).any() and not np.isin(drawn, [1, 2, 4]).any()  # 3 validates, 4 is the target
    assert not np.isin(draw(split, split.test, "popularity-100"), [1, 2, 3, 4]).any()


@pytest.mark.parametrize("protocol", ["uniform-100", "popularity-100"])
def test_a_draw_depends_on_seed_and_user_alone(protocol):
    split = random_split(items=300)
    drawn = draw(split, split.test, protocol, 5)
    order = np.random.default_rng(0).permutation(len(drawn))[:20]
    some = type(split.test)(*(column[order] for column in split.test))
    np.testing.assert_array_equal(draw(split, some, protocol, 5), drawn[order])
    np.testing.assert_array_equal(draw(split, split.test, protocol, 5, block=7), drawn)
    assert (draw(split, split.test, protocol, 6) != drawn).any(1).all()
    assert len({tuple(row) for row in drawn.tolist()}) == len(drawn)


@pytest.mark.parametrize("tries", [1, 4, 256])  # with few, the race of exponentials draws the rest
@pytest.mark.parametrize("weights", [(1, 1, 1, 1, 1, 1), (1, 1, 2, 3, 5, 20)])
def test_the_law_of_the_draws_is_successive_sampling(monkeypatch, tries, weights):
    """Every ordered triple of six items as often as drawing by weight among the rest makes it."""
    users = 6000
    pool = np.repeat(np.arange(1, 7), weights)
    three = Protocol(name="three", number=3, pool=lambda split: pool, known=protocols._training)
    monkeypatch.setitem(registry._registered, ("protocol", "three"), three)
    monkeypatch.setattr(candidates, "TRIES", tries)
    split = split_of([[7, 8, 9]] * users)
    drawn = draw(split, split.test, "three")
    triples = list(itertools.permutations(range(1, 7), 3))
    share = np.divide(weights, sum(weights))
    law = []
    for a, b, c in np.array(triples) - 1:
        law.append(share[a] * share[b] / (1 - share[a]) * share[c] / (1 - share[a] - share[b]))
    numbers = drawn @ [100, 10, 1]
    counts = np.array([(numbers == 100 * a + 10 * b + c).sum() for a, b, c in triples])
    assert counts.sum() == users and np.isclose(sum(law), 1)
    rare = np.array(law) * users < 5
    law, counts = (np.append(values[~rare], values[rare].sum()) for values in (np.array(law), counts))
    law, counts = (values[law > 0] for values in (law, counts))
    assert chisquare(counts, law * users).pvalue > 1e-3


def test_draws_of_a_large_catalogue_are_uniform_and_by_popularity():
    split = random_split(users=2000, items=250, longest=8)
    first = draw(split, split.test, "uniform-100")
    assert chisquare(np.bincount(first[:, :5].ravel(), minlength=251)[1:]).pvalue > 1e-4
    popularity = training_counts(split)
    first = np.bincount(draw(split, split.test, "popularity-100")[:, 0], minlength=251)[1:]
    # a user's own items are left out, so that the marginal is popularity times the share of users who lack the item
    expected = np.zeros(250)
    for user, target in zip(split.test.source, split.test.target, strict=True):
        low, high = split.interactions.offsets[user : user + 2]
        weight = popularity.astype(float)
        weight[np.append(split.interactions.items[low:high], target) - 1] = 0
        expected += weight / weight.sum()
    assert chisquare(first, expected).pvalue > 1e-4


@pytest.mark.parametrize("protocol", ["uniform-100", "popularity-100"])
def test_too_few_to_draw_from_is_told_with_the_user(protocol):
    split = random_split(items=105, longest=90)
    with pytest.raises(UserError, match=rf"only \d+ items can be drawn for user \d+, and {protocol} takes 100"):
        lay_out(split, split.test, protocol)


def test_an_unknown_protocol_and_nothing_to_rank_are_told():
    split = random_split()
    with pytest.raises(UserError, match="choose one of full, full-seen-kept, sessions, uniform-100, popularity-100"):
        lay_out(split, split.test, "uniform-99")
    none = last_item(from_sequences([[1, 2], [2, 1]]))
    with pytest.raises(UserError, match="no user has three items"):
        lay_out(none, none.test)


def test_a_protocol_is_known_by_its_import_path_as_often_as_it_is_asked_for():
    path = "jaxrec.evaluation.protocols:UNIFORM_100"
    assert protocols.named(protocols.named(path)) == path and protocols.find(path) is protocols.find("uniform-100")
