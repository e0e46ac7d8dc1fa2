"""Features of a catalogue: which values a column holds, who has them, and what is no feature."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, strategies as st

from jaxrec.data.attributes.features import BINS, build, parse, telling, usable
from jaxrec.data.interactions import Catalogue
from jaxrec.system.errors import UserError


def catalogue(**columns):
    about = pl.DataFrame(columns)
    return Catalogue(np.arange(len(about)), about)


def held(found, row):
    """The values in a row of Features, by name."""
    return [found.names[number - 1][1] for number in found.values[row] if number]


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        (["A|B", "B", "A", "", None], [["A", "B"], ["B"], ["A"], [], []]),
        (["3 1", "1 2", "2 3", "3"], [["1", "3"], ["1", "2"], ["2", "3"], ["3"]]),
        (["a, b", "b, c", "a, c", "b"], [["a", "b"], ["b", "c"], ["a", "c"], ["b"]]),
        (["Hair Care", "Skin Care", "Hair Care", "Skin Care"], [["Hair Care"], ["Skin Care"]] * 2),  # not four words
        ([["a", "b"], ["b"], ["a"], None], [["a", "b"], ["b"], ["a"], []]),
        ([True, False, True, False], [["true"], ["false"]] * 2),
        (["x", "x", "x", "y"], [["x"], ["x"], ["x"], []]),  # only one item has y
        (["A|A", "A", "A", "A"], [["A"]] * 4),
        (pl.Series(["p", "q", "p", "q"], dtype=pl.Categorical), [["p"], ["q"]] * 2),
    ],
)
def test_a_column_has_one_value_an_item_or_several(column, wanted):
    found = build(catalogue(kind=column), ["kind"])
    assert [held(found, row) for row in range(len(wanted))] == wanted


def test_values_of_two_columns_are_apart():
    found = build(catalogue(a=["x", "x", "y", "y"], b=["y", "y", "x", "x"]), ["a", "b"])
    assert found.names == [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")]
    assert found.values.tolist() == [[1, 4], [1, 4], [2, 3], [2, 3]]


@given(st.lists(st.integers(-1000, 1000) | st.floats(-5, 5), min_size=2, max_size=200), st.integers(2, 40))
def test_numbers_are_binned_by_quantiles(numbers, copies):
    """At most BINS bins, in the order of the numbers, each with a fair share of the items."""
    column = np.repeat(np.array(numbers, float), copies)
    found = build(catalogue(price=column), ["price"])
    bins = found.values[:, 0]
    order = np.argsort(column, kind="stable")
    ends = [float(value) for _, value in found.names]
    assert (bins > 0).all() and len(ends) <= BINS
    of = np.array([*ends, np.inf])[bins - 1]
    assert (np.diff(of[order]) >= 0).all() and (column <= of + 1e-9).all()
    assert np.bincount(bins).max() <= len(column) / BINS + np.unique(column, return_counts=True)[1].max() + 1


def test_few_numbers_are_values_of_their_own_and_codes_are_no_quantities():
    assert build(catalogue(year=[1990, 1990, 1995, 1995]), ["year"]).names == [("year", "1990"), ("year", "1995")]
    codes = list(range(100)) * 2
    assert len(build(catalogue(brand=codes), ["brand"]).names) == BINS
    assert len(build(catalogue(brand=codes), ["brand:category"]).names) == 100


def test_the_year_of_titles_is_asked_for_by_name():
    titles = ["Heat (1995)", "Toy Story (1995)", "Alien (1979)", "Brazil (1979)", "Untitled"]
    found = build(catalogue(title=titles), ["year"])
    assert [held(found, row) for row in range(5)] == [["1995"], ["1995"], ["1979"], ["1979"], []]


def test_what_only_unmet_items_have_is_left_out():
    """The embedding of such a value would never be trained."""
    whole = catalogue(genre=["A", "A", "B", "B", "A"])
    counted = whole.counted(np.array([3, 2, 1, 0, 0]))
    assert {value for _, value in build(whole, ["genre"]).names} == {"A", "B"}
    found = build(counted, ["genre"])
    assert {value for _, value in found.names} == {"A"} and found.values.tolist() == [[1], [1], [0], [0], [1]]


def test_vectors_are_standardised_and_of_length_about_one():
    vectors = np.random.default_rng(0).normal(3, 5, (200, 8))
    rows = [*vectors.tolist(), None]
    found = build(catalogue(image=pl.Series(rows, dtype=pl.List(pl.Float64))), ["image"])
    assert found.vectors.shape == (201, 8) and found.vectors.dtype == np.float32 and not found.vectors[-1].any()
    np.testing.assert_allclose(found.vectors[:-1].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose((found.vectors[:-1] ** 2).sum(1).mean(), 1, atol=1e-5)
    fixed = build(catalogue(image=pl.Series(vectors.tolist(), dtype=pl.Array(pl.Float32, 8))), ["image"])
    np.testing.assert_allclose(fixed.vectors, found.vectors[:-1], atol=1e-5)
    assert not fixed.values.shape[1] and not fixed.names


@pytest.mark.parametrize(
    ("columns", "name", "said"),
    [
        ({"genre": ["A", "A"]}, "colour", "config.features names colour: items have no such column, there are genre"),
        ({"title": ["A (1990)", "B (1991)"]}, "title", "no value is shared by 2 or more training items"),
        ({"genre": [None, None]}, "genre", "no value is shared"),
        ({"genre": ["A", "A"]}, "genre:number", "only category may follow the colon"),
        ({"at": [{"x": 1}, {"x": 1}]}, "at", "which holds Struct"),
        ({"image": [[1.0, 2.0], [3.0]]}, "image", "they have 1 to 2 numbers: give all items vectors of one length"),
        ({"image": [[1.0, 2.0], [3.0, float("nan")]]}, "image", "the one in row 2 is not finite: mend it"),
        ({"image": [[1.0, None], [3.0, 1.0]]}, "image", "the one in row 1 is not finite"),
        ({"price": [float("nan"), None]}, "price", "no value is shared"),
    ],
)
def test_what_is_no_feature_is_named_with_a_cure(columns, name, said):
    with pytest.raises(UserError) as caught:
        build(catalogue(**columns), [name])
    assert said in str(caught.value)


def test_without_a_table_of_items_one_is_asked_for():
    with pytest.raises(UserError, match=r"nothing is known of them: put a table such as items\.csv"):
        build(Catalogue(np.arange(3)), ["genre"])


@given(st.permutations(range(6)))
def test_they_follow_the_items_in_any_order(order):
    columns = {"genre": ["A|B", "B", "A", "C", "C", ""], "price": [1, 1, 2, 2, 3, 3]}
    found = build(catalogue(**columns), list(columns))
    other = build(catalogue(**{name: [column[at] for at in order] for name, column in columns.items()}), list(columns))
    assert other.names == found.names
    np.testing.assert_array_equal(other.values, found.values[list(order)])


def test_columns_are_named_with_commas():
    assert parse(" genres, year,") == ["genres", "year"] and parse("") == []


def test_usable_are_columns_that_some_items_share_but_ids():
    about = {"id2": [7, 8, 9, 10], "title": ["A (1990)", "B (1990)", "C", "D"], "genre": ["X", "X", "Y", "Y"]}
    assert usable(catalogue(**about)) == ["genre", "year"]
    assert usable(Catalogue(np.arange(2))) == []


def test_a_vector_that_no_model_could_compute_with_is_refused():
    """Even if it belongs to an item without training, which has no part in how the others are scaled."""
    vectors = catalogue(image=[[1.0, 0.0], [0.0, 2.0], [0.5, 1e300]])
    with pytest.raises(UserError, match="the one in row 3 is out of all proportion to the others: mend it"):
        build(vectors.counted(np.array([5, 5, 0])), parse("image"))


def test_bins_and_scales_are_those_of_the_items_that_train():
    """So items that are added later move none of them."""
    trained, counts = [1, 1, 2, 2, 3, 3, 4, 4], np.repeat([1, 0], [8, 90])

    def made(later):
        prices = [*trained, *[later] * 90]
        image = pl.Series([[float(price), 1.0 - price] for price in prices], dtype=pl.List(pl.Float64))
        return build(catalogue(price=prices, image=image).counted(counts), ["price", "image"])

    one, other = made(5), made(900)
    assert one.names == other.names == [("price", f"{price}") for price in (1, 2, 3, 4)]
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_array_equal(one.vectors[:8], other.vectors[:8])


def test_what_tells_is_counted_of_the_items_that_train():
    brands = [*["X"] * 4, *[None] * 20]
    whole = catalogue(brand=brands)
    assert telling(whole) == [] and telling(whole.counted(np.repeat([1, 0], [4, 20]))) == ["brand"]
