"""Scores are read as intended, or refused with the file, row and column."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import jaxrec
from jaxrec.system.errors import UserError

LOG = pl.DataFrame({"user": [1] * 4 + [2] * 4, "item": [1, 2, 3, 4, 4, 3, 2, 1], "time": [*range(4)] * 2})

WHOLE = {
    "users": np.ones((2, 3)),
    "user_ids": np.array([1, 2]),
    "items": np.ones((4, 3)),
    "item_ids": np.arange(1, 5),
}


def write(path: Path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"users": None, "user": np.ones((2, 3))}, "no array users among user_ids, items, item_ids, user: write"),
        ({"user_ids": np.array(["a", None], object)}, "user_ids holds Python objects, which are not unpickled"),
        ({"users": np.ones((2, 0)), "items": np.ones((4, 0))}, "give both the same length, at least 1"),
        ({"users": np.full((2, 3), 1e300)}, "users row 0 holds a number that is not finite"),
        ({"users": np.ones((2, 2))}, "users have 2 numbers and those of items 3"),
        ({"user_ids": np.array([1])}, "users has 2 rows and user_ids 1"),
        ({"item_ids": np.array([1, 2, 3, 3])}, "item_ids holds 3, 3, which are the same id: give each id one vector"),
        ({"items": np.full((4, 3), np.nan)}, "items row 0 holds a number that is not finite"),
        ({"items": np.array(["x"] * 4)}, "give numbers with 2"),
        (
            {"user_ids": np.array([8, 9])},
            "none of its users is asked for in the data: it has 8, 9, and the data have 1, 2",
        ),
    ],
)
def test_an_archive_that_is_wrong_is_told_of(changed, said, tmp_path):
    arrays = {name: array for name, array in (WHOLE | changed).items() if array is not None}
    with pytest.raises(UserError, match=said):
        jaxrec.judge(write(tmp_path / "scores.npz", **arrays), LOG)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("user,item\n1,4\n", "no column rank or score among user, item"),
        ("user,item,rank\n1,4,1\n2,,1\n", "line 3: '2,,1': no item: give its id"),
        ("user,item,rank\n1,4,first\n", "line 2: '1,4,first': rank is not a finite number"),
        ("user,item,score\n1,4,nan\n", "score is not a finite number"),
        ("user,item,rank\n7,4,1\n", "none of its users is asked for in the data"),
        ("user,item,rank\n1,nine,1\n", "none of its items is asked for in the data"),
        ("user,item,rank\n1,4,1,5\n", "4 fields where the first line has 3"),
    ],
)
def test_a_table_that_is_wrong_is_told_of(text, said, tmp_path):
    (tmp_path / "lists.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        jaxrec.judge(tmp_path / "lists.csv", LOG)


def test_integers_that_a_table_wrote_as_floats_are_known(tmp_path):
    """As in a table whose column once had a gap, with a column of row numbers in front."""
    (tmp_path / "lists.csv").write_text(",user_id,item_id,rank\n0,1.0,4,1\n1,2.0,1.00,1\n")
    assert jaxrec.judge(tmp_path / "lists.csv", LOG).metrics["hr@1"] == 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"user_ids": np.array([1.0, np.nan])}, "user_ids row 1 is a float that is not an integer"),
        ({"user_ids": np.array([1.0, 2.0**53])}, "user_ids row 1 is .* too large to be exact: give its id"),
        ({"item_ids": np.array([1, 2, 3, 2.0**24 + 2], np.float32)}, "item_ids row 3 is .* too large to be exact"),
        ({"item_ids": np.array(["1", "2", "3", "3.0"])}, "item_ids holds 3, 3.0, which are the same id"),
        ({"user_ids": ["1", None]}, "user_ids row 1 is missing: give its id, or leave the row out"),
        ({"user_ids": {1, 2}}, "user_ids has 0 axes: give one id per row, in the vectors' order"),
        ({"user_ids": [1, "b", object()]}, "user_ids is object, or of mixed types: give integers, or text"),
        ({"user_ids": np.array([1, 2], "M8[s]")}, r"user_ids is datetime64\[s\], or of mixed types"),
        ({"users": [[1.0, 2.0, 3.0], [1.0]]}, "users has rows of several lengths: give all rows the same length"),
    ],
)
def test_arrays_in_memory_that_are_wrong_are_told_of(changed, said):
    with pytest.raises(UserError, match=said):
        jaxrec.judge(WHOLE | changed, LOG)


def test_integers_in_an_array_of_objects_are_ids():
    """As in a column of pandas that may have gaps."""
    changed = {
        "user_ids": np.array([2, 1], object),
        "users": np.array([[0.0], [1.0]]),
        "items": np.arange(4.0)[:, None],
    }
    wanted = jaxrec.judge(WHOLE | changed | {"user_ids": [2, 1]}, LOG).metrics
    assert jaxrec.judge(WHOLE | changed, LOG).metrics == wanted


def test_a_lone_array_and_what_is_no_scores_are_told_of(tmp_path):
    with open(tmp_path / "lone.npz", "wb") as file:
        np.save(file, np.ones((2, 3)))
    with pytest.raises(
        UserError, match=r"lone\.npz: a single array, saved by np.save: write it by np.savez with users"
    ):
        jaxrec.judge(tmp_path / "lone.npz", LOG)
    for scores in (5, None, [1, 2], np.ones(3)):
        with pytest.raises(UserError, match=f"scores of type {type(scores).__name__}: name an .npz"):
            jaxrec.judge(scores, LOG)


@pytest.mark.parametrize("column", [[1.0] * 4, ["x"] * 4, [["x"]] * 4, [[[1.0]]] * 4])
def test_a_folder_whose_vectors_are_no_numbers_is_told_of(column, tmp_path):
    pl.DataFrame({"id": [1, 2], "vector": [[1.0], [2.0]]}).write_parquet(tmp_path / "users.parquet")
    pl.DataFrame({"id": [1, 2, 3, 4], "vector": column}).write_parquet(tmp_path / "items.parquet")
    with pytest.raises(UserError, match=r"items\.parquet: vector holds .*: give every row a list of numbers"):
        jaxrec.judge(tmp_path, LOG)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"user": [1.0, float("nan")]}, "row 2: .*: user is a float that is not an integer"),
        ({"item": [4.0, 0.5]}, "row 2: .*: item is a float that is not an integer"),
        ({"item": [4.0, 2.0**53]}, "row 2: .*: item is .* too large to be exact: give its id"),
        ({"rank": [True, False]}, "column rank holds Boolean: give each row one item and one number"),
        ({"rank": [[1], [2]]}, r"column rank holds List\(Int64\): give each row one item and one number"),
        ({"Rank": [1, 2]}, "columns rank, Rank could all be the rank: rename all but one"),
        ({"User": [1, 2]}, "columns user, User could all be the user"),
    ],
)
def test_a_table_in_memory_that_is_wrong_is_told_of(changed, said):
    table = {"user": [1, 2], "item": [4, 1], "rank": [1, 1]} | changed
    with pytest.raises(UserError, match=said):
        jaxrec.judge(pl.DataFrame(table), LOG)
