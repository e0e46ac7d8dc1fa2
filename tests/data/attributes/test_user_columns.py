"""Columns of users: found beside a log, kept with their users, and numbered alike in training and in requests."""

import datetime
import decimal
import math
import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, strategies as st

import jaxrec
from jaxrec.data import cold, filters, prepared, splits
from jaxrec.data.attributes import user_columns
from jaxrec.data.attributes.user_columns import Column
from jaxrec.data.interactions import Sessions, UserColumns, by_session, fingerprint, from_sequences
from jaxrec.system.errors import UserError

ROWS = "user_id,item_id,timestamp\n" + "".join(f"{u},{i},{60 * i}\n" for u in (1, 2, 3) for i in range(1, 5))
USERS = "user_id,gender,age\n3,F,40\n1,F,20\n9,M,30\n"


def log_of(**columns):
    """A log with one user for each row of these columns."""
    about = pl.DataFrame(columns)
    return replace(from_sequences([[1, 2, 3, 4]] * len(about)), user_columns=UserColumns(about))


def test_a_table_beside_the_log_is_read_kept_and_no_part_of_the_fingerprint(tmp_path):
    (tmp_path / "log.csv").write_text(ROWS)
    bare = jaxrec.prepare(tmp_path / "log.csv")
    (tmp_path / "users.csv").write_text(USERS)
    log = jaxrec.prepare(tmp_path / "log.csv", output=tmp_path / "out")
    assert log.fingerprint == bare.fingerprint and bare.interactions.user_columns is None
    found = prepared.load(tmp_path / "out")
    for each in (log.interactions, found):
        assert each.user_columns.about.rows() == [("F", 20), (None, None), ("F", 40)]
    assert any(note.startswith("1 of 3 users have no row in the table of users, such as '") for note in log.notes)
    assert jaxrec.prepare(tmp_path / "log.csv", users="").interactions.user_columns is None
    frame = pl.DataFrame({"user_id": [2], "x": ["y"]})
    assert jaxrec.prepare(tmp_path / "log.csv", users=frame).interactions.user_columns.about["x"].to_list()[1] == "y"
    (tmp_path / "out" / prepared.COLUMNS).write_bytes(b"")
    with pytest.raises(UserError, match="prepare it again"):
        prepared.load(tmp_path / "out")


def test_a_table_of_others_is_left_alone_unless_it_is_named(tmp_path):
    (tmp_path / "log.csv").write_text(ROWS)
    (tmp_path / "users.csv").write_text("name,age\nx,1\n")
    log = jaxrec.prepare(tmp_path / "log.csv")
    assert log.interactions.user_columns is None and any("no table of users" in note for note in log.notes)
    for text, said in (
        ("user_id,age\nx,1\n", "no table of users: .*none of its ids is a user of the log; it has 'x', where"),
        ("user_id\n1\n", "users: .*users.csv: nothing"),
    ):
        (tmp_path / "users.csv").write_text(text)
        log = jaxrec.prepare(tmp_path / "log.csv")
        assert log.interactions.user_columns is None and any(re.match(said, note) for note in log.notes)
    for text, said in (
        ("user_id,age\nx,1\n", "none of its ids is a user of the log; it has 'x', where the log has '1'"),
        ("user_id,age\n1,1\n1,2\n", "user 1 has line 2 already"),
        ("user_id,age\n,1\n", "no user id"),
        ("name,age\nx,1\n", "no column user_id"),
    ):
        (tmp_path / "people.csv").write_text(text)
        with pytest.raises(UserError, match=said):
            jaxrec.prepare(tmp_path / "log.csv", users=tmp_path / "people.csv")
    with pytest.raises(
        UserError, match=r"--users .*nowhere.csv: no such file: name a table of users, such as users.csv"
    ):
        jaxrec.prepare(tmp_path / "log.csv", users=tmp_path / "nowhere.csv")


@given(st.lists(st.booleans(), min_size=1, max_size=6).filter(any))
def test_columns_stay_with_their_users(keep):
    log = log_of(x=[f"u{number}" for number in range(len(keep))])
    kept = filters.select(log, np.repeat(keep, 4))
    assert kept.user_columns.about["x"].to_list() == [f"u{user - 1}" for user in kept.users.tolist()]


def test_sessions_have_the_columns_of_their_users():
    log = replace(log_of(x=["a", "b"]), sessions=Sessions(np.array([0, 2, 4, 8]), np.array([7, 8, 9])))
    assert by_session(log).user_columns.about["x"].to_list() == ["a", "a", "b"]
    dated = replace(log, times=np.array([0, 1, 6, 7, 0, 1, 2, 3]) * 10**6)
    split = splits.sessions(dated, 0.8, 0)
    assert sorted(zip(split.interactions.users.tolist(), split.interactions.user_columns.about["x"], strict=True)) == [
        (7, "a"),
        (8, "a"),
        (9, "b"),
    ]
    held = cold.hold_out(splits.last_item(log_of(x=["a", "b"])), 0.25, 0).interactions
    assert len(held.user_columns.about) == len(held.offsets) - 1


@given(
    ages=st.lists(st.integers(0, 99) | st.none(), min_size=2, max_size=30).filter(any),
    asked=st.integers(-5, 120) | st.none() | st.text(max_size=3),
)
def test_a_request_has_the_number_that_training_has(ages, asked):
    log = user_columns.chosen(log_of(age=pl.Series(ages, dtype=pl.Int64)), "age")
    columns = log.user_columns.chosen
    numbers = user_columns.per_user(log, columns)["age"]
    assert [user_columns.of_request({"age": age}, columns)[0]["age"] for age in ages] == numbers.tolist()
    assert ((numbers > 0) == [age is not None for age in ages]).all()
    assert 0 <= user_columns.of_request({"age": asked}, columns)[0]["age"] <= columns[0].size
    assert fingerprint(replace(log, digest=None)) == fingerprint(replace(log, digest=None, user_columns=None))


@pytest.mark.parametrize(
    ("values", "name", "wanted"),
    [
        (["F", " M", "F", "M ", "X", None], "c", [1, 2, 1, 2, 0, 0]),
        ([True, False, True, False], "c", [2, 1, 2, 1]),
        ([4, 4, 11, 11, 7], "c:category", [2, 2, 1, 1, 0]),
        ([4, 4, 11, 11, 7], "c", [1, 1, 3, 3, 2]),
        ([datetime.date(2000, 1, 1), None, datetime.date(2001, 1, 1)], "c", [1, 0, 2]),
    ],
)
def test_values_are_categories_or_bins(values, name, wanted):
    log = user_columns.chosen(log_of(c=values), name)
    assert user_columns.per_user(log, log.user_columns.chosen)["c"].tolist() == wanted
    assert user_columns.restored(user_columns.stored(log)) == log.user_columns.chosen


@pytest.mark.parametrize(
    ("values", "name", "said"),
    [
        (["a", "a"], "d", "users have no such column, there are c"),
        (["a", "b"], "c", "no value is shared by two or more users"),
        ([["a"], ["a"]], "c", "one text, number, date or boolean per user"),
        (["a", "a"], "c,c:category", "twice"),
        (["a", "a"], "c:kind", "only category"),
    ],
)
def test_what_no_model_could_learn_from_is_refused(values, name, said):
    with pytest.raises(UserError, match=said):
        user_columns.chosen(log_of(c=values), name)
    with pytest.raises(UserError, match="nothing is known of the users"):
        user_columns.chosen(from_sequences([[1, 2]]), name)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ([decimal.Decimal("0.25"), decimal.Decimal("0.50")] * 2, "c"),
        ([decimal.Decimal("0.25"), decimal.Decimal("0.50")] * 2, "c:category"),
        ([datetime.time(6), datetime.time(7)] * 2, "c"),
        ([datetime.timedelta(days=1), datetime.timedelta(days=2)] * 2, "c"),
        ([datetime.datetime(2020, 1, 1, 6), datetime.datetime(2021, 1, 1)] * 2, "c"),
        ([1.5, math.nan, 2.5, math.inf], "c"),
    ],
)
def test_what_a_log_says_of_a_user_is_what_a_request_may_say(values, name):
    log = user_columns.chosen(log_of(c=values), name)
    columns = log.user_columns.chosen
    numbers = user_columns.per_user(log, columns)["c"].tolist()
    told = [user_columns.values_of(log, user) for user in range(len(values))]
    assert [user_columns.of_request(each, columns)[0].get("c", 0) for each in told] == numbers
    assert [len(each) for each in told] == [number > 0 for number in numbers]


def test_requests_name_columns_that_there_are():
    columns = [Column("gender", values=("F", "M"))]
    assert user_columns.of_request({"gender": None}, columns) == ({"gender": 0}, [])
    for told, said in (({"age": 1}, "uses gender"), ({"gender": ["F"]}, "give a text"), ("F", "not a mapping")):
        with pytest.raises(UserError, match=said):
            user_columns.of_request(told, columns)
