"""Laws of data.interactions: numbering, ids, the fingerprint."""

import tempfile
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, strategies as st

from jaxrec.data.interactions import Catalogue, Sessions, as_ids, by_session, describe, fingerprint, from_sequences
from jaxrec.system.errors import UserError

ids = st.one_of(st.integers(-5, 20), st.sampled_from(["a", "b", "ab", "07", "x y", "é", "10"]))
histories = st.lists(st.lists(ids, min_size=1, max_size=6), min_size=1, max_size=5)


def external(data) -> list[list]:
    """The histories, in external ids."""
    bounds = zip(data.offsets[:-1], data.offsets[1:], strict=True)
    return [data.catalogue.ids[data.items[start:stop] - 1].tolist() for start, stop in bounds]


@given(histories)
def test_histories_come_back_as_they_went_in(lists):
    data = from_sequences(lists)
    assert [[str(item) for item in history] for history in external(data)] == [list(map(str, h)) for h in lists]
    assert data.items.dtype == np.int32 and data.offsets.dtype == np.int64
    assert data.users.tolist() == list(range(1, len(lists) + 1))


@given(histories)
def test_item_numbers_follow_the_sorted_ids_without_gaps(lists):
    data = from_sequences(lists)
    assert data.catalogue.ids.tolist() == sorted(set(data.catalogue.ids.tolist()))
    assert set(data.items.tolist()) == set(range(1, len(data.catalogue.ids) + 1))


def test_integers_sort_as_numbers_and_keep_their_number():
    assert from_sequences([[3, 10, 2], [1, 4, 5, 6, 7, 8, 9]]).items.tolist() == [3, 10, 2, 1, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("odd", ["07", "+7", "-0", "7.0", "a", "9223372036854775808", "1_0", "٣", ""])
def test_one_token_that_is_no_plain_integer_makes_all_strings(odd):
    assert as_ids(pl.Series(["7", odd])).tolist() == ["7", odd]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_plain_integers_are_integers_up_to_the_ends_of_int64(numbers):
    found = as_ids(pl.Series([str(number) for number in numbers]))
    assert found.dtype == np.int64 and found.tolist() == numbers


@given(histories, histories)
def test_the_fingerprint_is_that_of_the_histories(one, other):
    def as_text(lists):
        return [[str(item) for item in history] for history in lists]

    same = fingerprint(from_sequences(one)) == fingerprint(from_sequences(other))
    assert same == (as_text(one) == as_text(other))


def test_the_fingerprint_knows_every_part():
    data = from_sequences([[1, 2, 3], [2, 3]], users=["ab", "c"])
    timed = replace(data, times=np.arange(5))
    changed = {
        "same": replace(
            data, name="elsewhere", catalogue=data.catalogue._replace(about=pl.DataFrame({"title": ["x", "y", "z"]}))
        ),
        "item": from_sequences([[1, 2, 3], [2, 1]], users=["ab", "c"]),
        "order": from_sequences([[1, 3, 2], [2, 3]], users=["ab", "c"]),
        "border": from_sequences([[1, 2], [3, 2, 3]], users=["ab", "c"]),
        "user": from_sequences([[1, 2, 3], [2, 3]], users=["a", "bc"]),
        "users swapped": from_sequences([[2, 3], [1, 2, 3]], users=["c", "ab"]),
        "item id": from_sequences([[1, 2, 4], [2, 4]], users=["ab", "c"]),
        "times": timed,
        "times from nowhere": replace(timed, relative=True),
        "weights": replace(data, weights=np.arange(5, dtype=np.float32)),
        "sessions": replace(data, sessions=Sessions(np.array([0, 2, 3, 5]), np.array([1, 2, 3]))),
        "other sessions": replace(data, sessions=Sessions(np.array([0, 1, 3, 5]), np.array([1, 2, 3]))),
        "training sessions": replace(data, train_sessions=1),
        "item id as text": replace(data, catalogue=data.catalogue._replace(ids=np.array(["1", "2", "3"]))),
    }
    prints = {name: fingerprint(each) for name, each in changed.items()}
    assert prints.pop("same") == fingerprint(data)
    assert len({fingerprint(data), *prints.values()}) == len(prints) + 1, prints


def test_the_fingerprint_is_fixed_and_that_of_a_memory_map(tmp_path):
    data = from_sequences([[1, 2, 3], ["a", "é"]], users=["u", "v"])
    # workdirs store it, so the same data must have the same fingerprint for years to come
    assert fingerprint(data) == "d7d0d0a49d6fb65f18957bd06177cf2760d72427df87e44756f1f1836f091c2f"
    data.items.tofile(tmp_path / "items.bin")
    assert fingerprint(replace(data, items=np.memmap(tmp_path / "items.bin", np.int32, "r"))) == fingerprint(data)
    wide = replace(data, items=data.items.astype(np.int64), users=data.users.astype("<U9"))
    assert fingerprint(wide) == fingerprint(data)


def test_describe_counts():
    facts = describe(from_sequences([[1, 2, 3, 4], [1], [2, 2, 2, 2]]))
    assert (facts["users"], facts["items"], facts["interactions"]) == (3, 4, 9)
    assert facts["length"]["min"] == 1 and facts["length"]["50%"] == 4 and facts["length"]["mean"] == 3
    assert facts["density"] == 9 / 12


def test_users_are_given_once_each():
    assert from_sequences([[1, 2], [3]], users=[30, 4]).users.tolist() == [30, 4]
    with pytest.raises(UserError, match="2 histories but 1 users"):
        from_sequences([[1, 2], [3]], users=[30])
    with pytest.raises(UserError, match="same user"):
        from_sequences([[1, 2], [3]], users=[30, 30])
    with pytest.raises(UserError, match="same user"):
        from_sequences([[1, 2], [3]], users=[30, "30"])


@given(histories)
def test_a_catalogue_comes_back_from_parquet(lists):
    catalogue = from_sequences([*lists, [1]]).catalogue
    named = catalogue._replace(
        about=pl.DataFrame({"title": [f"<{id}>" for id in catalogue.ids], "year": catalogue.ids})
    )
    with tempfile.TemporaryDirectory() as folder:
        for each in (catalogue, named):
            each.save(f"{folder}/catalogue.parquet")
            back = Catalogue.load(f"{folder}/catalogue.parquet")
            assert back.ids.dtype.kind == each.ids.dtype.kind and back.ids.tolist() == each.ids.tolist()
            assert back.titles == each.titles and (back.about is None) == (each.about is None)
    few = named.take([len(named.ids), 1])
    assert few.ids.tolist() == [named.ids[-1], named.ids[0]]
    assert few.titles == [f"<{named.ids[-1]}>", f"<{named.ids[0]}>"]


def test_titles_and_genres_are_of_the_first_column_that_is_called_so():
    about = pl.DataFrame(
        {"Name": ["x", "y"], "TITLE": ["a", None], "title": ["c", "d"], "Genres": [["A", None, "B"], None]}
    )
    found = Catalogue(np.arange(2), about)
    assert found.titles == ["a", ""] and found.genres == ["A|B", ""]
    assert found._replace(about=about.drop("TITLE", "title")).titles == ["x", "y"]


def test_a_session_stands_in_the_place_of_a_user():
    data = from_sequences([[1, 2, 3], [2, 3]], users=["a", "b"])
    assert by_session(data) is data
    parted = by_session(replace(data, sessions=Sessions(np.array([0, 2, 3, 5]), np.array([7, 8, 9])), digest="x"))
    assert fingerprint(parted) == fingerprint(from_sequences([[1, 2], [3], [2, 3]], users=[7, 8, 9]))
