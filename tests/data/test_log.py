"""Laws of data.log: a log in any order and any batches gives what plain Python sorts it to."""

import itertools
from collections import defaultdict
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, strategies as st

from jaxrec.data import log as module
from jaxrec.data.files.text import BadRows
from jaxrec.data.interactions import fingerprint
from jaxrec.data.log import Batch, Ids, Log, parts
from jaxrec.system.errors import UserError

NAMES = {"user": "who", "item": "what", "time": "when", "weight": "stars", "session": "visit"}
START = 1_396_321_200
tokens = st.one_of(st.integers(-3, 12).map(str), st.sampled_from(["099", "a", "é", "x y", str(2**63)]))
numbers = st.integers(-3, 12).map(str)


@st.composite
def rows(draw):
    """Rows of (user, item, time, weight, session), two items or more; a column's ids are all integers, or any text."""
    users, items = draw(st.sampled_from([tokens, numbers])), draw(st.sampled_from([tokens, numbers]))
    row = st.tuples(users, items, st.integers(0, 4), st.integers(1, 5), st.sampled_from("pqr"))
    found = draw(st.lists(row, min_size=1, max_size=15))
    return found if len({row[1] for row in found}) > 1 else [*found, ("1", "1", 2, 3, "p"), ("1", "2", 2, 4, "q")]


def batches(rows, roles, cuts=()):
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    for a, b in itertools.pairwise(edges):
        columns = dict(zip(NAMES, zip(*rows[a:b], strict=True) if a < b else [()] * 5, strict=True))
        frame = pl.DataFrame({role: [str(v) for v in columns[role]] for role in roles}, dict.fromkeys(roles, pl.String))
        yield Batch(frame, "f", lambda index, a=a: (f"line {a + index + 1}", ",".join(map(str, rows[a + index]))))


def collected(rows, roles=tuple(NAMES), cuts=(), skip=False):
    log = Log({role: NAMES[role] for role in roles}, BadRows(skip))
    for batch in batches(rows, roles, cuts):
        log.add(batch)
    return log


def as_id(tokens):
    """{token: id}, with the ids that `as_ids` makes of the tokens."""
    plain = all(t.lstrip("-").isdecimal() and str(int(t)) == t and -(2**63) <= int(t) < 2**63 for t in tokens)
    return {token: int(token) if plain else token for token in tokens}


def reference(rows):
    """By plain Python: {user: [(item, time, weight, session), ...]}, users sorted, rows by time, ties as they came."""
    users, items = as_id({row[0] for row in rows}), as_id({row[1] for row in rows})
    histories = defaultdict(list)
    for user, item, time, weight, session in rows:
        histories[users[user]].append((items[item], time, weight, session))
    return {user: sorted(histories[user], key=lambda row: row[1]) for user in sorted(histories)}


@given(st.lists(st.lists(tokens, max_size=8), max_size=5))
def test_ids_give_back_the_tokens(batches):
    ids = Ids("item")
    codes = [ids.number(pl.Series(batch, dtype=pl.String)) for batch in batches]
    by_code, (sorted_ids, place) = ids.tokens().to_list(), ids.order()
    assert sorted(by_code) == sorted({token for batch in batches for token in batch}) and ids.count == len(by_code)
    assert sorted_ids.tolist() == sorted(as_id(by_code).values())
    for batch, found in zip(batches, codes, strict=True):
        assert found.dtype == np.int32
        assert [by_code[code] for code in found] == batch
        assert [str(sorted_ids[place[code]]) for code in found] == batch


@given(st.lists(st.lists(st.integers(-3, 2**63 - 1) | st.integers(0, 20), max_size=6), min_size=1, max_size=4))
def test_numbers_are_numbered_as_their_texts(batches):
    """Columns of integers and of text may alternate, as in shards; integers too large for the table count as text."""
    mixed, text = Ids("user"), Ids("user")
    for index, batch in enumerate(batches):
        words = pl.Series(list(map(str, batch)), dtype=pl.String)
        numbers = pl.Series(batch, dtype=pl.Int64)
        found = mixed.number(numbers if index % 2 else words), text.number(words)
        assert [ids.tokens().gather(codes).to_list() for ids, codes in zip((mixed, text), found, strict=True)] == [
            words.to_list()
        ] * 2
    for a, b in zip(mixed.order(), text.order(), strict=True):
        assert a.tolist() == b.tolist() and a.dtype == b.dtype


def test_two_columns_of_ids_do_not_share_their_numbers():
    one, other = Ids("user"), Ids("item")
    one.number(pl.Series(["a", "b"]))
    assert other.number(pl.Series(["b", "a"])).tolist() == [0, 1] and other.tokens().to_list() == ["b", "a"]


@given(rows(), st.lists(st.integers(0, 15), max_size=3), st.sampled_from([START, 0]))
def test_a_log_is_what_plain_python_sorts_it_to(rows, cuts, start):
    dated = [(user, item, start + time, weight, session) for user, item, time, weight, session in rows]
    data, _ = collected(dated, cuts=cuts).interactions("f")
    wanted = reference(dated)
    flat = [row for history in wanted.values() for row in history]
    assert data.users.tolist() == list(wanted)
    assert np.diff(data.offsets).tolist() == [len(history) for history in wanted.values()]
    assert data.catalogue.ids[data.items - 1].tolist() == [row[0] for row in flat]
    assert data.catalogue.ids.tolist() == sorted({row[0] for row in flat})
    assert data.times.tolist() == [row[1] * 1_000_000 for row in flat] and data.relative == (start == 0)
    assert data.weights.tolist() == [row[2] for row in flat]
    assert data.items.dtype == np.int32 and data.offsets.dtype == np.int64
    assert data.times.dtype == np.int64 and data.weights.dtype == np.float32
    runs = [(u, s, len(list(g))) for (u, s), g in itertools.groupby((u, row[3]) for u in wanted for row in wanted[u])]
    assert data.sessions.ids.tolist() == [session for _, session, _ in runs]
    assert np.diff(data.sessions.offsets).tolist() == [length for _, _, length in runs]
    assert set(data.offsets.tolist()) <= set(data.sessions.offsets.tolist())


@given(rows(), st.lists(st.integers(0, 15), max_size=3))
def test_without_times_rows_stay_as_they_came_and_without_users_sessions_are_the_users(rows, cuts):
    rows = [(user, item, 0, 0, user) for user, item, *_ in rows]
    data, notes = collected(rows, ("user", "item"), cuts).interactions("f")
    assert data.times is None and data.weights is None and data.sessions is None and not data.relative
    assert all("ids are text" in note for note in notes)
    assert data.catalogue.ids[data.items - 1].tolist() == [row[0] for h in reference(rows).values() for row in h]
    by_session, _ = collected(rows, ("session", "item"), cuts).interactions("f")
    assert fingerprint(by_session) == fingerprint(data)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(-3, 3)), min_size=1, max_size=30),
    st.sampled_from([1, 1_000_000, 2**52, 2**60]),
    st.sampled_from([1, 2**20, 2**29]),
)
def test_both_ways_of_sorting_are_python_s(pairs, apart, many):
    users, times = (np.array(column) for column in zip(*pairs, strict=True))
    users, times = (users * many).astype(np.int32), times * apart
    kept = times.copy()
    for when in (times, None):
        keys = list(zip(users, times if when is not None else users, strict=True))
        wanted = sorted(range(len(users)), key=keys.__getitem__)
        found = module._sorted(users, when)
        assert (list(range(len(users))) if found is None else found.tolist()) == wanted
    assert (times == kept).all()


def test_sessions_of_users_that_number_their_own_do_not_run_together():
    rows = [("a", "1", 5, 1, "p"), ("b", "2", 5, 1, "p"), ("a", "2", 6, 1, "q"), ("a", "1", 7, 1, "p")]
    data, notes = collected(rows).interactions("f")
    assert data.sessions.offsets.tolist() == [0, 1, 2, 3, 4] and data.sessions.ids.tolist() == ["p", "q", "p", "p"]
    assert notes[-1] == "visit: split where another came between: 1"
    _, notes = collected(rows[:3]).interactions("f")
    assert len(notes) == 1


def test_a_user_without_rows_has_no_session():
    assert parts(np.array([0, 0, 2, 2, 3]), np.array([0, 0, 0]), np.array([7])).offsets.tolist() == [0, 2, 3]
    assert parts(np.array([0]), np.zeros(0, np.int64), np.array([7])).ids.tolist() == []


flaws = st.sampled_from([(0, ""), (1, ""), (2, "noon"), (2, -5), (3, "NaN"), (3, "good"), (3, "inf"), (4, "")])


@given(rows(), st.lists(st.tuples(st.integers(0, 14), flaws), max_size=12), st.lists(st.integers(0, 15), max_size=3))
def test_bad_rows_are_counted_said_and_no_more(rows, flaws, cuts):
    rows = [(*row[:2], START + row[2], *row[3:]) for row in rows] + [
        ("1", "1", START, 1, "p"),
        ("2", "2", START, 1, "q"),
    ]
    flawed, why = [list(row) for row in rows], {}
    for at, (column, value) in flaws:
        if at < len(rows) - 2:
            flawed[at][column] = value
            why[at] = min(why.get(at, 9), (0, 1, 3, 4, 2)[column])  # ids are checked first
    log = collected(flawed, cuts=cuts, skip=True)
    good = collected([row for at, row in enumerate(rows) if at not in why])
    assert log.rows == good.rows and log.bad.count == len(why)
    reasons = ["who is empty", "what is empty", "visit is empty", "when is no", "stars is not a finite number"]
    for said, at in zip(log.bad.examples, sorted(why), strict=False):
        assert said.startswith(f"f, line {at + 1}: {','.join(map(str, flawed[at]))!r}"[:60])
        assert reasons[why[at]] in said
    assert len(log.bad.examples) == min(5, len(why))
    assert fingerprint(log.interactions("f")[0]) == fingerprint(good.interactions("f")[0])
    if why:
        with pytest.raises(UserError, match=rf"^f, line {min(why) + 1}: "):
            collected(flawed, cuts=cuts).interactions("f")


def test_a_reader_s_reason_comes_first():
    frame = pl.DataFrame({"user": ["a", None], "item": ["1", None]})
    log = Log({"user": "who", "item": "what"}, BadRows())
    log.add(Batch(frame, "f", lambda index: ("line 9", "x"), {1: "mend the quotes"}.get))
    assert log.bad.examples == ["f, line 9: 'x': mend the quotes"]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pl.Series([1.0, 2.5]), r"f, row 2: column what holds floats \(2.5\): .*astype"),
        (pl.Series(["1.0", "2."]), r"f: column what holds floats \(1.0\): an id is .*--ids integer .*--ids text"),
        (pl.Series([[1], [2]]), r"f: column what holds List\(Int64\): an id is an integer or a string"),
        (pl.Series([True, False]), "column what holds Boolean"),
        (pl.Series([1, 2]).cast(pl.Date), "column what holds Date"),
        (pl.Series(["5", "5"]), "f: 5 is the only item: a recommender needs two or more"),
        (pl.Series(["a\nb"] * 2), r"^f: a\\nb is the only item: .*two or more; .* within quotes: .* say --quote none$"),
        (pl.Series([], dtype=pl.String), "f: no rows: put interactions there"),
    ],
)
def test_what_is_no_log_says_why(column, message):
    log = Log({"user": "who", "item": "what"}, BadRows())
    with pytest.raises(UserError, match=message):
        place = lambda index: (f"row {index + 1}", "")
        log.add(Batch(pl.DataFrame({"user": ["u"] * len(column), "item": column}), "f", place))
        log.interactions("f")


@pytest.mark.parametrize("format", [None, "%Y"])
@pytest.mark.parametrize("times", [[timedelta(1), None], [b"1", b"\xff"]], ids=["durations", "bytes"])
def test_a_column_that_holds_no_times_is_refused(times, format):
    log = Log({"user": "who", "item": "what", "time": "when"}, BadRows(True), time_format=format)
    with pytest.raises(UserError, match=r"^f: column when holds .*: a time is a date or a number.* --time none"):
        log.add(Batch(pl.DataFrame({"user": [1, 1], "item": [1, 2], "time": times}), "f", None))


def test_two_units_of_time_are_named_with_the_file():
    with pytest.raises(UserError, match=r"^f: when is in seconds in one row .* and in milliseconds in another"):
        collected([("a", "1", START, 1, "p"), ("a", "2", START * 1000, 1, "p")]).interactions("f")


@pytest.mark.parametrize("dtype", [pl.Int8, pl.Int32, pl.UInt64, pl.String, pl.Categorical, pl.Enum(["10", "9"])])
def test_ids_of_any_type_are_the_same(dtype):
    written = pl.Series(["10", "9", "9"])
    column = written.cast(dtype) if dtype != pl.Categorical else written.cast(pl.Categorical)
    log = Log({"user": "who", "item": "what"}, BadRows())
    log.add(Batch(pl.DataFrame({"user": column, "item": column}), "f", None))
    data, _ = log.interactions("f")
    assert data.users.tolist() == [9, 10] and data.items.tolist() == [1, 1, 2]
