"""Laws of ranking: which items a target is ranked among, what is drawn, and what the numbers are."""

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jobs import Job
from ranked_splits import ITEMS, random_split, split_of

from jaxrec.config import registry
from jaxrec.data.interactions import from_sequences
from jaxrec.data.splits import last_item, repeated_targets, sessions
from jaxrec.data.storage import maps
from jaxrec.evaluation import protocols, ranker
from jaxrec.evaluation.baselines import COUNTED
from jaxrec.evaluation.metrics import metrics
from jaxrec.evaluation.ranker import best, lay_out, run
from jaxrec.kernels import placement, sizes
from jaxrec.kernels.hardware import Hardware, assumed
from jaxrec.kernels.ranking import Scorer, dot
from jaxrec.system.errors import UserError

DIM = 4
SMALL = Hardware("gpu", 8 * 300 * sizes.MEMORY_PER_NUMBER)  # which ranks eight queries among 300 items at once

constant = Scorer(
    lambda params, query, start, size: jnp.zeros(size),
    lambda params, query, items: jnp.zeros(items.shape),
)


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


def test_buckets_hold_lists_of_a_length_or_few(monkeypatch):
    """They hold every list once, padded to at most `WIDTHS` times its length, and by `JOINED` per joined bucket."""
    random = np.random.default_rng(0)
    for most, size, joined in itertools.product((3, 16, 17, 500, 9000), (1, 7, 3000), (0, 100, 1 << 17)):
        monkeypatch.setattr(ranker, "JOINED", joined)
        lengths = np.sort((most * random.random(size) ** 4).astype(int))
        bounds = list(ranker._similar(lengths))
        assert [first for first, _ in bounds] + [size] == [0] + [last for _, last in bounds]
        parts = [lengths[first:last] for first, last in bounds]
        for part in parts:
            alone = ranker.WIDTHS * np.maximum(part, ranker.WIDTHS).sum()
            assert len(part) * part[-1] <= alone + 6 * joined


def test_joined_buckets_rank_as_apart(monkeypatch):
    split = random_split()
    table, hidden = exact_scores(split, split.test)
    layouts = []
    for joined in (0, 1 << 17):
        monkeypatch.setattr(ranker, "JOINED", joined)
        layouts.append(lay_out(split, split.test))
    apart, together = layouts
    assert len(together.buckets) == 1 < len(apart.buckets)
    np.testing.assert_array_equal(*(run(each, dot, (table, None), hidden) for each in layouts))
    np.testing.assert_array_equal(*(best(each, dot, (table, None), hidden, 5) for each in layouts))


@pytest.fixture
def apart(monkeypatch):
    """Buckets of few lists are not joined, so that there are several."""
    monkeypatch.setattr(ranker, "JOINED", 0)


@pytest.mark.parametrize("protocol", ["full", "full, seen kept", "uniform-100"])
def test_lists_from_the_host_give_the_same(protocol, monkeypatch, apart):
    """A few blocks at a time, on one device and on several."""
    split = random_split(items=300)
    table, hidden = exact_scores(split, split.test)
    asked = dot, (table, None), hidden
    there = lay_out(split, split.test, protocol, block=8)
    monkeypatch.setattr(ranker, "HELD", 1)
    monkeypatch.setattr(maps, "ROWS", 50)
    for devices in (None, eight()):
        here = lay_out(split, split.test, protocol, devices=devices, block=8, host=True)
        assert all(isinstance(bucket.items, int) for bucket in here.buckets)
        assert max(len(bucket.rows) for bucket in here.buckets) > 1
        np.testing.assert_array_equal(run(here, *asked), run(there, *asked))
        for program in ranker.traces(here, *asked):
            program.lower()
    if protocol != "uniform-100":
        np.testing.assert_array_equal(best(here, *asked, 5), best(there, *asked, 5))


def test_of_processes_each_makes_the_lists_of_its_own_devices(monkeypatch):
    split, devices = random_split(items=300), eight()[:4]
    monkeypatch.setattr(ranker, "HELD", 1)
    here = lay_out(split, split.test, devices=devices, block=8, host=True)
    monkeypatch.setattr(ranker.dev, "spread_own", lambda tree, _: tree)
    sent = lambda: [each for bucket in here.buckets for each in ranker._sent(here, bucket)]
    whole = sent()
    for own in ([0], [1, 3]):
        monkeypatch.setattr(ranker.dev, "own_shares", lambda _: np.array(own))  # noqa: B023
        for found, each in zip(sent(), whole, strict=True):
            np.testing.assert_array_equal(found.rows, each.rows)  # of all processes, whose answers are joined
            for ours, theirs in zip(found[1:], each[1:], strict=True):
                np.testing.assert_array_equal(ours, theirs.reshape(4, -1, *theirs.shape[1:])[own].reshape(ours.shape))


@pytest.mark.parametrize("number", [1, 3])
def test_processes_count_the_repeats_of_all_questions_once(number, monkeypatch):
    split = random_split()
    wanted, read = repeated_targets(split.interactions, split.test), []
    monkeypatch.setattr(ranker.dev, "spans", lambda devices: number > 1)
    count = lambda log, part: read.extend(part.source.tolist()) or repeated_targets(log, part)
    monkeypatch.setattr(ranker, "repeated_targets", count)
    assert 0 < wanted < len(split.test.source)
    assert Job(number, monkeypatch).run(lambda: ranker.repeats(split, split.test, jax.devices())) == [wanted] * number
    assert sorted(read) == split.test.source.tolist(), "each by one of them"


def test_processes_count_the_lists_of_all_questions_once(monkeypatch):
    counted = []
    lists = lambda rows: counted.append(rows) or (None, rows + 1)
    parts, total = [(0, 3), (3, 4), (4, 9)], 9
    job = Job(2, monkeypatch)
    for found in job.run(lambda: ranker._counted(lists, parts, total, True)):
        np.testing.assert_array_equal(found, np.arange(total) + 1)
    np.testing.assert_array_equal(np.sort(np.concatenate(counted)), np.arange(total))


@pytest.mark.parametrize("part", ["valid", "test"])
@pytest.mark.parametrize("block", [8, 512])
def test_full_ranks_are_those_of_a_count_in_the_questions_order(part, block, apart):
    split = random_split()
    questions = getattr(split, part)
    lengths = questions.stop - questions.start
    assert (np.diff(lengths) < 0).any() and lengths.max() > 4 * lengths.min()  # several buckets, and out of order
    table, hidden = exact_scores(split, questions)
    layout = lay_out(split, questions, block=block)
    assert run(layout, dot, (table, None), hidden).tolist() == brute_ranks(split, questions, table, hidden)


@pytest.mark.parametrize("protocol", registry.names("protocol"))
@pytest.mark.parametrize("item, hardware", [(1, None), (1, SMALL), (4, SMALL)])
def test_eight_devices_rank_as_one(protocol, item, hardware, apart, monkeypatch):
    """Also in an accelerator's blocks, which hold more queries if each device scores fewer items."""
    monkeypatch.setattr(sizes, "NUMBERS_PER_QUERY", 1)
    monkeypatch.setattr(sizes, "FEWEST_RANKED_QUERIES", 8)
    split = random_split(items=300)
    (table, hidden), mesh = exact_scores(split, split.test), placement.mesh_of(eight(), item)
    answered = [run, lambda *asked: best(*asked, 10)] if protocols.whole(protocol) else [run]
    answers = lambda layout: [each(layout, dot, (table, None), hidden) for each in answered]
    alone = answers(lay_out(split, split.test, protocol, block=8))
    with assumed(hardware):
        spread = answers(layout := lay_out(split, split.test, protocol, devices=mesh, block=None if hardware else 8))
    assert (max(bucket.rows.shape[1] for bucket in layout.buckets) > 8) == (item > 1)
    jax.tree.map(np.testing.assert_array_equal, spread, alone)


@pytest.mark.parametrize("protocol", registry.names("protocol"))
def test_a_second_call_with_new_parameters_compiles_nothing(protocol, caplog, apart):
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
    # as the worst it comes after all items that are not seen: of 7 items the first has 5 left, the second 4
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
    """A target that repeats is also ranked among the other items of its history: never better than by `full`."""
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
    """Every event is ranked by its score among the whole catalogue: seen items stay, even the target."""
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
