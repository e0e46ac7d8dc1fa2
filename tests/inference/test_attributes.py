"""Filters find the items that brute force finds, for columns of every type, and report what can't be compared."""

import datetime
import re

import numpy as np
import polars as pl
import pytest
from hypothesis import given, strategies as st

from jaxrec.inference import attributes
from jaxrec.inference.attributes import BOUNDS, Attributes, items_with
from jaxrec.system.errors import UserError

DAY = datetime.date(2020, 1, 1)
KINDS = {
    pl.Int64: st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3) | st.integers(2**53 - 2, 2**53 + 2),
    pl.Int8: st.integers(-128, 127),
    pl.UInt64: st.integers(0, 2**63 - 1) | st.integers(0, 3),
    pl.Float64: st.floats(allow_nan=True) | st.sampled_from([0.5, 1.0, 2.5]),
    pl.Float32: st.sampled_from([0.5, 49.9, 1e-3, 7.0]),
    pl.Date: st.integers(-3, 3).map(lambda days: DAY + datetime.timedelta(days)),
    pl.Datetime("ms"): st.integers(-3, 3).map(
        lambda h: datetime.datetime(1969, 12, 31) + datetime.timedelta(hours=9 * h)
    ),
}
COMPARE = {
    "below": lambda a, b: a < b,
    "above": lambda a, b: a > b,
    "at_least": lambda a, b: a >= b,
    "at_most": lambda a, b: a <= b,
}


def is_value(value):
    return value is not None and value == value and value not in (float("inf"), float("-inf"))


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("listed", [False, True])
@given(data=st.data())
def test_bounds_and_values_find_what_brute_force_finds(kind, listed, data):
    one = KINDS[kind]
    held = data.draw(st.lists(st.none() | (st.lists(one, max_size=3) if listed else one), max_size=8))
    column = pl.Series("x", held, pl.List(kind) if listed else kind)
    parts = [[v for v in ((row or []) if listed else [row]) if is_value(v)] for row in held]
    about, known = Attributes(column.to_frame()), sorted({v for row in parts for v in row})
    other = data.draw(st.sampled_from(known) if known else one)
    bounds = data.draw(
        st.dictionaries(st.sampled_from(BOUNDS), st.sampled_from([other]) | one.filter(is_value), min_size=1)
    )
    (got,) = about.pools({"x": bounds})
    fits = lambda v: all(COMPARE[bound](v, limit) for bound, limit in bounds.items())
    assert got.tolist() == [at + 1 for at, row in enumerate(parts) if any(map(fits, row))] and got.dtype == np.int32
    for value in known[:3]:
        wanted = [at + 1 for at, row in enumerate(parts) if value in row]
        assert about.pools({"x": value})[0].tolist() == wanted
        texts = value.isoformat() if isinstance(value, datetime.date) else str(value)
        if "e" not in texts:
            assert about.pools({"x": texts})[0].tolist() == wanted
    wanted = [at + 1 for at, row in enumerate(parts) if set(row) & set(known[:2])]
    assert about.pools({"x": known[:2]})[0].tolist() == wanted


@given(st.lists(st.none() | st.lists(st.sampled_from(["a", "b", "1994", "é x", ""])).map("|".join), max_size=8))
def test_texts_have_each_of_their_parts(held):
    schema = {"x": pl.String, "y": pl.List(pl.String)}
    about = Attributes(
        pl.DataFrame({"x": held, "y": [None if t is None else t.split("|") for t in held]}, schema, strict=False)
    )
    for value in ("a", 1994, "é x"):
        wanted = [at + 1 for at, text in enumerate(held) if str(value) in (text or "").split("|")]
        for name in ("x", "y") if wanted else ():
            assert about.pools({name: value})[0].tolist() == wanted
            assert about.pools({name: [value, value]})[0].tolist() == wanted


ABOUT = pl.DataFrame(
    {
        "year": [1994, None, 1990, 1994],
        "price": [1.5, float("nan"), float("inf"), 49.9],
        "in_stock": [True, False, None, True],
        "genres": ["Drama|War", "", None, "War"],
        "since": [DAY, None, datetime.date(1969, 5, 5), DAY],
        "seen": pl.Series([datetime.datetime(2020, 1, 1, 12), *[None] * 3]).dt.replace_time_zone("Europe/Berlin"),
        "shape": [{"a": 1}] * 4,
        "code": [f"c{v}" for v in range(4)],
        "nothing": [None] * 4,
        "kind": pl.Series(["a", "b", None, "a"], dtype=pl.Categorical),
        "cost": pl.Series(["1.10", "2.2", None, "3"]).cast(pl.Decimal(10, 2)),
        "many": ["a|b", "c", "d", "e"],
        "flag\x1b[31m": ["x", "y", "z", "w"],
    }
)


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        ({"year": 1994, "price": {"below": 50}, "in_stock": True}, [1, 4]),
        ({"year": "1994"}, [1, 4]),
        ({"year": 1994.0}, [1, 4]),
        ({"year": np.int16(1990)}, [3]),
        ({"year": np.array([1990, 1994])}, [1, 3, 4]),
        ({"year": {"below": 10**400}}, [1, 3, 4]),
        ({"year": {"at_least": float("-inf"), "below": 1993.5}}, [3]),
        ({"year": {"above": 1994, "below": 1990}}, []),
        ({"year": []}, []),
        ({"price": {"at_most": np.float32(49.9) * 2}}, [1, 4]),
        ({"price": {"above": "1.5"}}, [4]),
        ({"in_stock": "false"}, [2]),
        ({"in_stock": [True, False]}, [1, 2, 4]),
        ({"in_stock": np.True_}, [1, 4]),
        ({"since": {"at_least": "2020-01-01", "below": datetime.datetime(2020, 1, 1, 0, 0, 1)}}, [1, 4]),
        ({"since": np.datetime64("1969-05-05")}, [3]),
        ({"seen": {"at_most": "2020-01-01T11:00:00Z"}}, [1]),
        ({"seen": {"below": "2020-01-01T11:00:00"}}, []),
        ({"kind": {"a"}}, [1, 4]),
        ({"cost": {"above": 1.1}}, [2, 4]),
        ({"genres": ("War", "Drama")}, [1, 4]),
    ],
)
def test_a_filter_finds(where, wanted):
    pools = Attributes(ABOUT).pools(where)
    assert sorted(set.intersection(*[set(pool.tolist()) for pool in pools])) == wanted


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"genre": "War"}, "items have no attribute 'genre': there are year, price, in_stock"),
        ({"year": 1800}, "no item's year is 1800: there are 1990, 1994"),
        ({"year": "01994"}, "year is '01994', and items have integers there: there are 1990, 1994"),
        ({"year": True}, "year is True, and items have integers there"),
        ({"year": None}, "year is None, and items have integers there"),
        ({"year": {"below": None}}, "year: below is None: a bound is one number or date"),
        ({"year": {"below": [5]}}, "year: below is [5]: a bound is one number or date"),
        ({"year": {"under": 5}}, "year: the bounds are below, above, at_least, at_most, and this has 'under'"),
        ({"year": {}}, "and this has none of them"),
        ({"year": 10**400}, "no item's year is an integer of many digits"),
        ({"price": float("nan")}, "price is nan, and items have numbers there: there are 1.5, 49.9"),
        ({"price": "nan"}, "price is 'nan', and items have numbers there"),
        ({"in_stock": 1}, "in_stock is 1, and items have true or false there: there are false, true"),
        ({"in_stock": {"below": 1}}, "in_stock is true or false, and bounds are for numbers and dates"),
        ({"genres": {"below": "X"}}, "genres is text, and bounds are for numbers and dates: there are Drama, War"),
        ({"genres": True}, "genres is True, and items have text there"),
        ({"genres": "drama"}, "no item's genres is 'drama': there are Drama, War"),
        ({"since": 5}, "since is 5, and items have dates there: there are 1969-05-05, 2020-01-01"),
        ({"since": {"above": "soon"}}, "since: above is 'soon', and items have dates there"),
        ({"shape": 1}, "shape holds Struct"),
        ({"nothing": "x"}, "no item's nothing is 'x': there are none"),
        ({"flag\x1b[31m": "\x1b[31m"}, r"no item's flag\x1b[31m is '\x1b[31m': there are w, x, y, z"),
        ({5: 1}, "items have no attribute 5"),
        (["year"], "should be a dictionary"),
    ],
)
def test_what_does_not_fit_is_said(where, said):
    with pytest.raises(UserError, match=rf"^history 3: where: .*{re.escape(said)}"):
        Attributes(ABOUT).pools(where, "history 3: ")


def test_a_message_lists_a_few_of_many_values():
    many = pl.DataFrame({"number": range(1000), "text": [f"v{v:03}" + "x" * 500 for v in range(1000)]})
    with pytest.raises(UserError, match=r"they go from 0 to 999$"):
        Attributes(many).pools({"number": 1000})
    with pytest.raises(UserError, match=r"there are v000x+ .* and 970 more$") as error:
        Attributes(many).pools({"text": "v"})
    assert len(str(error.value)) < 4000
    with pytest.raises(UserError, match="the catalogue has none"):
        Attributes(None).pools({"year": 1})


def test_few_and_many_items_come_in_order():
    column = pl.Series([[v % 7, v % 11] for v in range(2000)])
    attribute = attributes.index(column, "x")
    for bounds in ({"at_least": 9}, {"at_least": 0}, {"above": 10}):
        got = items_with(attribute, "x", bounds)
        assert got.tolist() == [
            v + 1 for v in range(2000) if COMPARE[next(iter(bounds))](max(v % 7, v % 11), min(bounds.values()))
        ]
