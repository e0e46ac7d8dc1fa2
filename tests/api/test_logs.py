"""A table in memory gives the same data as its file, and is checked in the same way."""

import datetime

import numpy as np
import polars as pl
import pytest
from made_logs import COLUMNS, made_rows

import jaxrec
from jaxrec.data import sources
from jaxrec.data.interactions import fingerprint


def pandas_frame(frame):
    pytest.importorskip("pyarrow")
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(frame.to_dict(as_series=False))


def arrow_table(frame):
    pytest.importorskip("pyarrow")
    return frame.to_arrow()


def arrow_reader(frame):
    return arrow_table(frame).to_reader(max_chunksize=100)


class Stream:
    """An object that has the Arrow stream interface, and nothing else."""

    def __init__(self, frame):
        self.frame = frame

    def __arrow_c_stream__(self, requested_schema=None):
        return self.frame.__arrow_c_stream__(requested_schema)


KINDS = {
    "polars": lambda frame: frame,
    "stream": Stream,
    "pandas": pandas_frame,
    "pyarrow": arrow_table,
    "reader": arrow_reader,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_in_memory_is_the_same_data_as_its_csv(kind, tmp_path):
    frame = made_rows()
    frame.write_csv(tmp_path / "log.csv")
    options = COLUMNS | {"weight": "rating", "only": ["rating!=1"], "k_core": 3, "collapse_repeats": True}
    found, wanted = jaxrec.prepare(KINDS[kind](frame), **options), jaxrec.prepare(tmp_path / "log.csv", **options)
    assert found.fingerprint == wanted.fingerprint
    assert found.steps == wanted.steps and found.facts == wanted.facts
    assert fingerprint(sources.load(KINDS[kind](frame), {"columns": COLUMNS})) != found.fingerprint


@pytest.mark.parametrize("kind", ["polars", "pandas"])
def test_real_data_from_a_frame_are_those_of_the_file(kind, real_data):
    path = real_data("ml-100k") / "interactions.csv.gz"
    reader = pytest.importorskip("pandas") if kind == "pandas" else pl
    if kind == "pandas":
        pytest.importorskip("pyarrow")
    assert jaxrec.prepare(reader.read_csv(path)).fingerprint == jaxrec.prepare(path).fingerprint


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (lambda f: f.with_columns(pl.lit(None, pl.String).alias("sku")), {}, "sku is empty"),
        (lambda f: f.with_columns(pl.col("customer") + 0.5), {}, "column customer holds floats ("),
        (lambda f: f.with_columns(pl.lit("NA").alias("sku")), {}, "missing value"),
        (
            lambda f: f.with_columns(pl.lit("soon").alias("at")),
            {},
            "at is no time",
        ),
        (lambda f: f.head(0), {}, "polars DataFrame: no rows"),
        (lambda f: f, {"user": "nobody"}, "no such column; the columns are customer, sku, at, rating"),
        (lambda f: f, {"separator": ","}, "a table in memory is not a file: leave out separator"),
        (lambda f: f, {"on_bad_row": "drop"}, "choose one of error, skip"),
        (lambda f: f, {"k_core": 1_000}, "leaves 0 items"),
    ],
)
def test_a_frame_is_checked_as_a_file_is(change, options, said):
    with pytest.raises(jaxrec.UserError) as refused:
        jaxrec.prepare(change(made_rows()), **(COLUMNS | options))
    assert said in str(refused.value)


@pytest.mark.parametrize("kind", [set, frozenset])
def test_sets_are_no_histories(kind):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"user": [1, 2], "items": [kind("ab"), kind("b")]})
    with pytest.raises(jaxrec.UserError, match="column items holds sets, which have no order: give lists, in order"):
        jaxrec.prepare(frame)


def test_a_column_of_several_types_is_a_message():
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"user": [1, "a", 2.5], "item": [1, 2, 3]})
    with pytest.raises(jaxrec.UserError, match=r"pandas DataFrame: no Arrow table can be made of it .*one type"):
        jaxrec.prepare(frame)


def test_items_may_be_a_table_in_memory():
    about = pl.DataFrame({"sku": [f"i{v:02}" for v in range(50)], "title": [f"Title {v}" for v in range(50)]})
    log = jaxrec.prepare(made_rows(), items=about, **COLUMNS)
    assert log.interactions.catalogue.titles[7] == "Title 7"
    with pytest.raises(jaxrec.UserError, match="none of its ids is an item of the log"):
        jaxrec.prepare(made_rows(), items=about.with_columns((pl.lit("x") + pl.col("sku")).alias("sku")), **COLUMNS)


def test_a_log_is_written_and_goes_where_a_path_goes(tmp_path):
    log = jaxrec.prepare(made_rows(), output=tmp_path / "log", **COLUMNS)
    again = jaxrec.prepare(tmp_path / "log")
    assert again.fingerprint == log.fingerprint and log.dataset == again.dataset == str(tmp_path / "log")
    assert "40 │" in repr(log) and "split=last-item" in repr(log) and "customer" in repr(log)
    assert log._repr_html_().startswith("<pre") and "\x1b" not in log._repr_html_() + repr(log)
    found = jaxrec.evaluate("popularity", log)
    assert found.result["metrics"] == jaxrec.evaluate("popularity", str(tmp_path / "log")).metrics


def test_a_log_has_the_name_of_its_place_where_it_is_all_that_lies_there(tmp_path):
    (path := tmp_path / "log.csv").write_text("user,item,time\n1,a,1\n1,b,2\n1,c,3\n2,a,1\n2,b,2\n")
    items, users = pl.DataFrame({"item": ["a"], "title": ["A"]}), pl.DataFrame({"user": [1], "age": [3]})
    for options in ({}, {"max_length": 9}):
        assert jaxrec.prepare(path, **options).dataset == str(path)
    read = [{"only": "item!=c"}, {"ids": "text"}, {"item": "item"}, {"on_bad_row": "skip"}, {"quote": "none"}]
    read += [{"separator": ","}, {"format": "table"}, {"allow_large": True}, {"items": items}, {"users": users}]
    for options in ({"max_length": 2}, *read):
        assert jaxrec.prepare(path, **options).dataset == f"{path}, prepared in memory"


def timestamp(text):
    return pytest.importorskip("pandas").Timestamp(text)


def dated_rows():
    """Rows, half of them from before CUT."""
    rows = made_rows()
    at = pl.int_range(pl.len()) % 40 * 86_400 + int(datetime.datetime(2017, 9, 11, 12, tzinfo=datetime.UTC).timestamp())
    return rows.with_columns(at=at)


CUT = "2017-10-01"


@pytest.mark.parametrize(
    "of",
    [
        datetime.date.fromisoformat,
        datetime.datetime.fromisoformat,
        lambda text: datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC),
        np.datetime64,
        lambda text: np.datetime64(text, "ns"),
        timestamp,
    ],
    ids=["date", "datetime", "zoned", "datetime64", "nanoseconds", "pandas"],
)
@pytest.mark.parametrize("name", ["since", "until"])
def test_a_date_may_be_text_or_a_date(name, of, tmp_path):
    wanted = jaxrec.prepare(dated_rows(), **COLUMNS, **{name: CUT})
    found = jaxrec.prepare(dated_rows(), **COLUMNS, **{name: of(CUT)}, output=tmp_path / "log")
    assert found.fingerprint == wanted.fingerprint != jaxrec.prepare(dated_rows(), **COLUMNS).fingerprint
    assert jaxrec.prepare(tmp_path / "log").fingerprint == wanted.fingerprint


def test_a_single_condition_and_numbers_of_numpy_are_taken(tmp_path):
    wanted = jaxrec.prepare(made_rows(), **COLUMNS, only=["rating=1,2,3"], k_core=2, sample=0.5)
    options = {"only": "rating=1,2,3", "k_core": np.int64(2), "sample": np.float32(0.5)}
    found = jaxrec.prepare(made_rows(), **COLUMNS, **options, output=tmp_path / "log")
    assert found.fingerprint == wanted.fingerprint and found.steps == wanted.steps


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"k_core": "5"}, "k_core is '5', of the type str: give a whole number"),
        ({"min_length": 2.5}, "min_length is 2.5, of the type float: give a whole number"),
        ({"max_length": True}, "max_length is True, of the type bool: give a whole number"),
        ({"sample": "0.1"}, "sample is '0.1', of the type str: give a number"),
        ({"since": 2017}, "since 2017: not a date: give 2014-04-01"),
        ({"until": "soon"}, "until soon: not a date"),
        ({"only": {"rating": 5}}, "only is {'rating': 5}: write conditions as text, only='rating=5'"),
        ({"only": ["rating=5", 3]}, "write conditions as text"),
        ({"items": made_rows().lazy()}, "items is a polars LazyFrame, which has no rows yet: collect() the LazyFrame"),
        ({"users": [1, 2]}, "users is of the type list: give a path, or a table in memory"),
    ],
)
def test_other_values_are_refused_with_what_to_give(options, said):
    with pytest.raises(jaxrec.UserError) as caught:
        jaxrec.prepare(made_rows(), **COLUMNS, **options)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (made_rows().lazy(), "data is a polars LazyFrame, which has no rows yet: collect() the LazyFrame"),
        (
            [["a", "b"]],
            "data is of the type list: give a path, or a table in memory, of polars, pandas (2.2 or newer) or pyarrow",
        ),
        (3, "data is of the type int: give a path"),
    ],
)
def test_data_that_are_neither_a_path_nor_a_table_are_refused(data, said):
    for read in (jaxrec.prepare, lambda data: jaxrec.evaluate("popularity", data)):
        with pytest.raises(jaxrec.UserError) as caught:
            read(data)
        assert said in str(caught.value)


def test_an_item_that_fills_lists_up_is_told_of_and_left_out_as_that_says(tmp_path):
    lists = [[5, 8, 6, 0], [7, 0, 0, 0], [6, 5, 0, 0]]
    pl.DataFrame({"user": [1, 2, 3], "items": lists}).write_parquet(tmp_path / "a.parquet")
    told = [note for note in jaxrec.prepare(tmp_path / "a.parquet").notes if "item 0 is in 6 of them" in note]
    assert len(told) == 1 and "--only 'COLUMN!=0'" in told[0]
    found = jaxrec.prepare(tmp_path / "a.parquet", only="items!=0", k_core=1)
    assert found.facts["interactions"] == 6 and not any("item 0" in note for note in found.notes)
