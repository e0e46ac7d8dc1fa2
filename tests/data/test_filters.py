"""Laws of data.filters: they leave the rows that a plain loop over lists leaves."""

import itertools
from collections import Counter
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, strategies as st
from prepared_folders import same

from jaxrec.data import filters
from jaxrec.data.filters import Options, apply
from jaxrec.data.interactions import Sessions, Types, fingerprint, from_sequences
from jaxrec.data.log import parts
from jaxrec.data.storage import maps
from jaxrec.system.errors import UserError

MINUTE = 60_000_000
rows = st.lists(st.tuples(st.integers(1, 7), st.integers(0, 20), st.integers(1, 5)), min_size=1, max_size=8)
logs = st.dictionaries(st.integers(1, 40), rows, min_size=1, max_size=8)


def made(log):
    """(Interactions, log): of {user: [(item, minute, weight), ...]}, with the rows of both sorted by time."""
    log = {user: sorted(each, key=lambda row: row[1]) for user, each in log.items()}
    data = from_sequences([[item for item, _, _ in each] for each in log.values()], users=list(log))
    flat = [row for each in log.values() for row in each]
    times = np.array([minute * MINUTE for _, minute, _ in flat])
    return replace(data, times=times, weights=np.array([weight for _, _, weight in flat], np.float32)), log


def as_log(data):
    """{user: [(item, minute, weight), ...]} of interactions, with external ids."""
    items = data.catalogue.ids[data.items - 1].tolist()
    cells = list(zip(items, (data.times // MINUTE).tolist(), data.weights.tolist(), strict=True))
    bounds = zip(data.users.tolist(), data.offsets[:-1], data.offsets[1:], strict=True)
    return {user: cells[start:stop] for user, start, stop in bounds}


def left(log):
    """A log without users that have no rows, and with weights as floats, as in Interactions."""
    return {user: [(i, t, float(w)) for i, t, w in each] for user, each in log.items() if each}


def check(log, options, wanted):
    data, _ = made(log)
    wanted = left(wanted)
    items = {item for each in wanted.values() for item, _, _ in each}
    if len(items) < 2:
        with pytest.raises(UserError, match=r"leaves [01] items: a recommender needs two or more"):
            apply(data, options)
        return
    rest, steps = apply(data, options)
    assert as_log(rest) == wanted
    assert rest.catalogue.ids.tolist() == sorted(items)
    assert steps[0][1:] == (len(data.users), len(data.catalogue.ids), len(data.items))
    assert steps[-1][1:] == (len(rest.users), len(rest.catalogue.ids), len(rest.items))


@given(logs, st.integers(1, 4), st.integers(1, 4))
def test_the_k_core_is_that_of_a_plain_loop(log, k, least):
    _, before = made(log)
    core = {user: list(each) for user, each in before.items()}
    while True:
        counts = Counter(item for each in core.values() for item, _, _ in each)
        rest = {user: [row for row in each if counts[row[0]] >= k] for user, each in core.items()}
        rest = {user: each for user, each in rest.items() if len(each) >= max(k, least)}
        if rest == core:
            break
        core = rest
    check(log, Options(k_core=k, min_length=least), core)


@given(logs, st.integers(1, 5))
def test_rows_below_a_rating_go(log, least):
    _, before = made(log)
    check(log, Options(min_rating=least), {u: [r for r in each if r[2] >= least] for u, each in before.items()})


@given(logs, st.integers(1, 8))
def test_users_beyond_a_length_go(log, most):
    _, before = made(log)
    check(log, Options(max_length=most), {u: each for u, each in before.items() if len(each) <= most})


@given(logs)
def test_repeats_at_once_count_once(log):
    _, before = made(log)
    once = {
        u: [r for r, p in zip(each, [None, *each], strict=False) if not p or p[0] != r[0]] for u, each in before.items()
    }
    check(log, Options(collapse_repeats=True), once)


@given(logs, st.integers(0, 20), st.integers(0, 20))
def test_dates_bound_the_rows(log, first, last):
    _, before = made(log)
    options = Options(since=f"1970-01-01T00:{first:02}", until=f"1970-01-01 01:{last:02}:00+01:00")
    check(log, options, {u: [r for r in each if first <= r[1] < last] for u, each in before.items()})


@given(
    st.lists(st.one_of(st.integers(0, 10**6), st.text(min_size=1, max_size=3)), unique_by=str, min_size=1),
    st.floats(0.01, 1),
)
def test_a_sample_depends_on_the_user_alone(users, share):
    together = filters.chosen(np.array(list(map(str, users))), share)
    alone = [bool(filters.chosen(np.array([user]), share)[0]) for user in users]
    assert together.tolist() == alone
    assert not (
        filters.chosen(np.array(users, dtype=object), share / 2) & ~together
    ).any()  # a smaller sample is part of a larger one


def test_a_sample_is_of_the_share_asked():
    for share in (0.1, 0.5, 0.9):
        assert filters.chosen(np.arange(50_000), share).mean() == pytest.approx(share, abs=0.01)
    assert filters.chosen(np.arange(100), 1.0).all()


@given(logs, st.integers(1, 10))
def test_a_gap_begins_a_session(log, gap):
    data, before = made(log)
    parted, _ = apply(data, Options(session_gap=gap))
    wanted = []
    for each in before.values():
        for number, row in enumerate(each):
            if number and row[1] - each[number - 1][1] <= gap:
                wanted[-1].append(row[0])
            else:
                wanted.append([row[0]])
    offsets, ids = parted.sessions
    items = parted.catalogue.ids[parted.items - 1].tolist()
    assert [items[a:b] for a, b in itertools.pairwise(offsets)] == wanted
    assert ids.tolist() == list(range(1, len(wanted) + 1))
    assert parted.offsets.tolist() == data.offsets.tolist()
    assert fingerprint(parted) == fingerprint(apply(replace(data, digest="known"), Options(session_gap=gap))[0])


def test_sessions_and_training_sessions_go_with_their_rows():
    data = from_sequences([[1, 2], [2, 2, 3], [3, 1], [2, 1]], users=["a", "b", "c", "d"])
    sessions = Sessions(np.array([0, 1, 2, 4, 5, 7, 9]), np.arange(10, 16))
    keep = np.array([1, 0, 0, 0, 1, 0, 0, 1, 1], bool)
    rest = filters.select(replace(data, sessions=sessions, train_sessions=3, digest="old"), keep)
    assert rest.users.tolist() == ["a", "b", "d"] and rest.train_sessions == 2 and rest.digest is None
    assert rest.sessions.ids.tolist() == [10, 13, 15] and rest.sessions.offsets.tolist() == [0, 1, 2, 4]
    assert rest.catalogue.ids[rest.items - 1].tolist() == [1, 3, 2, 1]
    again = replace(data, items=np.array([1, 1, 1, 1, 1, 1, 1, 1, 1], np.int32), sessions=sessions)
    assert (~filters.repeats_at_once(again)).nonzero()[0].tolist() == sessions.offsets[:-1].tolist()


events = st.tuples(st.integers(0, 2), st.integers(0, 2), st.booleans())  # (user, session, whether it stays)


@given(st.lists(events, min_size=1, max_size=30), st.integers(1, 4))
def test_sessions_of_what_is_left_are_those_of_a_log_without_the_rest(rows, at_once):
    """Also if removing rows joins two parts of a session, and for any size of blocks."""
    user, session, keep = (np.array(column) for column in zip(*sorted(rows, key=lambda row: row[0]), strict=True))

    def sessions(rows):
        lengths = np.bincount(user[rows], minlength=3)
        return parts(np.append(0, np.cumsum(lengths[lengths > 0])), session[rows], np.array(["x", "y", "z"]))

    everyone = np.arange(len(rows))
    histories = [[1] * number for number in np.bincount(user) if number]
    data = replace(from_sequences(histories), sessions=sessions(everyone))
    with mock.patch.object(maps, "ROWS", at_once):
        found, wanted = filters.select(data, keep).sessions, sessions(everyone[keep])
    assert (found.offsets.tolist(), found.ids.tolist()) == (wanted.offsets.tolist(), wanted.ids.tolist())


def test_nothing_asked_is_nothing_done():
    data, _ = made({1: [(1, 0, 1), (2, 1, 1)]})
    rest, steps = apply(data, Options())
    assert rest is data and [step.name for step in steps] == ["read"]
    assert fingerprint(filters.select(data, np.ones(2, bool))) == fingerprint(data)


def test_the_first_and_the_last_of_all_dates_leave_all_rows_in_any_zone():
    data, _ = made({1: [(1, 0, 1), (2, 1, 1)]})
    rest, _ = apply(data, Options(since="0001-01-01T00:00:00+05:00", until="9999-12-31T23:59:59-05:00"))
    assert fingerprint(rest) == fingerprint(data)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k_core": 0}, "--k-core 0: at least 1"),
        ({"min_length": 5, "max_length": 4}, "--min-length 5 is above --max-length 4"),
        ({"sample": 1.5}, "--sample 1.5: a share"),
        ({"session_gap": 0}, "--session-gap 0: minutes, above 0"),
        ({"session_gap": float("inf")}, "--session-gap inf: minutes, above 0"),
        ({"session_gap": float("nan")}, "--session-gap nan: minutes, above 0"),
        ({"min_rating": float("-inf")}, "--min-rating -inf: a finite number"),
        ({"min_rating": float("nan")}, "--min-rating nan: a finite number"),
        ({"since": "soon"}, "--since soon: not a date"),
        ({"k_core": 9}, "--k-core 9 leaves 0 items"),
    ],
)
def test_what_cannot_be_is_said(options, message):
    with pytest.raises(UserError, match=message):
        apply(made({1: [(1, 0, 1), (2, 1, 1)]})[0], Options(**options))


@pytest.mark.parametrize("options", [{"sample": 1}, {"min_length": 2, "max_length": 2}, {"k_core": 1}])
def test_the_ends_of_what_can_be_are_taken(options):
    data, _ = made({1: [(1, 0, 1), (2, 1, 1)]})
    assert apply(data, Options(**options))[0] is data


def test_what_is_missing_is_said():
    data = from_sequences([[1, 2]])
    with pytest.raises(UserError, match="no ratings for --min-rating: name their column with --weight"):
        apply(data, Options(min_rating=3))
    with pytest.raises(UserError, match="has no times: --since needs dates"):
        apply(data, Options(since="2014-01-01"))
    with pytest.raises(UserError, match="count from an unknown moment: --until needs dates"):
        apply(replace(data, times=np.arange(2), relative=True), Options(until="2014-01-01"))
    with pytest.raises(UserError, match="no times for --session-gap"):
        apply(data, Options(session_gap=30))


def test_the_published_version_of_ml_1m_is_the_5_core_of_its_ratings(real_data):
    """The counts are those of the SASRec paper, from the ratings as GroupLens publishes them."""
    from jaxrec.data.reading import read

    columns = {"user": "original_user_id", "item": "original_movie_id"}
    rest, _ = apply(read(real_data("ml-1m") / "ratings_unordered.csv.gz", columns=columns), Options(k_core=5))
    assert (len(rest.users), len(rest.catalogue.ids), len(rest.items)) == (6_040, 3_416, 999_611)


@given(logs, st.booleans(), st.booleans())
def test_duplicates_are_rows_equal_in_all_that_is_known(log, timed, weighted):
    log = {user: [row for row in each for _ in range(1 + row[1] % 2)] for user, each in log.items()}
    data, before = made(log)
    seen, wanted = set(), []
    for user, each in before.items():
        for item, minute, weight in each:
            key = (user, item, minute if timed else None, weight if weighted else None)
            wanted.append(key not in seen)
            seen.add(key)
    data = replace(data, times=data.times if timed else None, weights=data.weights if weighted else None)
    assert (~filters.duplicates(data)).tolist() == wanted


def test_rows_of_two_sessions_are_no_duplicates():
    data = replace(from_sequences([[1, 1, 1, 1], [1, 2]]), times=np.zeros(6, np.int64))
    parted = replace(data, sessions=Sessions(np.array([0, 1, 2, 4, 6]), np.array([7, 8, 7, 9])))
    assert filters.duplicates(parted).nonzero()[0].tolist() == [2, 3]
    rest, steps = apply(parted, Options(drop_duplicates=True))
    assert [step.name for step in steps] == ["read", "drop-duplicates"] and len(rest.items) == 4


def test_rows_left_out_while_reading_are_steps():
    data = from_sequences([[1, 2, 3]])
    steps = filters.left_out(filters.step("read", data), [("only a=1", 4), ("only b=2", 2)])
    assert [tuple(step) for step in steps] == [
        ("read", None, None, 9),
        ("only a=1", None, None, 5),
        ("only b=2", 1, 3, 3),
    ]


FLAGS = [
    Options(drop_duplicates=True),
    Options(collapse_repeats=True),
    Options(session_gap=3, collapse_repeats=True, min_length=2),
    Options(since="1970-01-01T00:05:00", until="1970-01-01T00:15:00"),
    Options(min_rating=3, max_length=4),
    Options(sample=0.6),
    Options(k_core=2),
]


@given(logs, st.sampled_from(FLAGS), st.integers(1, 9))
def test_block_by_block_the_same_is_left(log, options, rows):
    """With everything that a row can have: times, weights, types and sessions."""
    data, _ = made(log)
    names = np.arange(len(data.items)) % 4
    data = replace(data, types=Types(names.astype(np.uint8), ("buy", "like", "view")), train_sessions=1)
    data = filters.with_gaps(data, 5)
    found = []
    for size in (maps.ROWS, rows):
        with mock.patch.object(maps, "ROWS", size):
            try:
                found.append(apply(data, options))
            except UserError as error:
                found.append(str(error))
    whole, parted = found
    if isinstance(whole, str):
        assert parted == whole
        return
    assert parted[1] == whole[1]
    same(parted[0], whole[0])
