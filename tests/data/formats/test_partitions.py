"""Laws of data.formats.partitions: keys in folder names are columns, and must agree with columns of the files."""

import datetime as dt
import zipfile

import polars as pl
import pytest
from trees import HEADER, KINDS, LOG, ONE, TWO, parquet, rows, tree

from jaxrec.data.reading import read
from jaxrec.system.errors import UserError


@pytest.mark.parametrize("path", ["h", "h/*/*/*.parquet", "h/*", "*/*/*", "h.zip"])
def test_partitions_are_columns_of_every_role(tmp_path, path):
    files = {"day=2020-01-02/user=b%20c/x.parquet": TWO, "day=2020-01-01/user=a/x.parquet": ONE}
    tree(tmp_path / "h", {name: parquet(HEADER.replace("user", "what") + text) for name, text in files.items()})
    with zipfile.ZipFile(tmp_path / "h.zip", "w") as archive:
        for name in files:
            archive.write(tmp_path / "h" / name, name)
    said = []
    wanted = [("a", "5"), ("a", "6"), ("b c", "5"), ("b c", "7")]
    data = read(tmp_path / path, columns={"time": "day"}, say=said.append)
    assert sorted(rows(tmp_path / path, columns={"time": "day"})) == wanted
    assert "columns: user = user, item = item, time = day; in the names of folders: day, user" in said
    assert sorted({*data.times.tolist()}) == [1_577_836_800_000_000, 1_577_923_200_000_000]
    assert sorted(rows(tmp_path / path, columns={"item": "user", "user": "item"})) == sorted((b, a) for a, b in wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_a_partition_and_a_column_of_one_name_agree_or_are_refused(tmp_path, kind):
    text = lambda day: KINDS[kind](f"user,item,day\n1,5,{day}\n1,6,{day}\n")
    tree(tmp_path, {f"good/day=01/x.{kind}": text(1), f"bad/day=01/x.{kind}": text(2)})
    assert rows(tmp_path / "good", columns={"time": "day"}) == LOG[:2]
    with pytest.raises(UserError, match=r"(line|row) \d: .*day is 01 by the folder's name: mend"):
        read(tmp_path / "bad")


MIDNIGHT, NOON = dt.datetime(2020, 1, 2), dt.datetime(2020, 1, 2, 12)
UTC = MIDNIGHT.replace(tzinfo=dt.UTC)
KEYS = {  # folder: (values of the column that agree, values that don't)
    "2020-01-02": (["2020-01-02", dt.date(2020, 1, 2), MIDNIGHT, UTC], ["2020-01-03", dt.date(2020, 1, 3), NOON, "a"]),
    "2020-01-02%2012%3A00%3A00": (["2020-01-02 12:00:00", NOON], [MIDNIGHT, dt.date(2020, 1, 2), dt.time(12)]),
    "a": (["a", b"a"], ["b", 1, 1.0, b"\xff", dt.timedelta(1), True]),
    "1": (["1", "01", 1, 1.0], ["2", 2, 1.5, float("nan"), MIDNIGHT, b"\xff"]),
}


@pytest.mark.parametrize("key", KEYS)
def test_a_partition_and_a_column_of_any_type_agree_or_are_refused(tmp_path, key):
    path = tmp_path / f"day={key}" / "x.parquet"
    path.parent.mkdir()
    write = lambda days: pl.DataFrame({"user": [1, 1], "item": [5, 6], "day": days}).write_parquet(path)
    agree, other = KEYS[key]
    for day in agree:
        write([day, day])
        assert rows(tmp_path, columns={"time": "none"}) == LOG[:2]
        write([day, None])
        with pytest.raises(UserError, match=r"row 2: .*day is .* by the folder's name: mend"):
            read(tmp_path, columns={"time": "none"})
    for day in other:
        write([day, day])
        with pytest.raises(UserError, match=r"day is .* by the folder's name: mend"):
            read(tmp_path, columns={"time": "none"})


def test_a_partition_without_a_value_is_missing(tmp_path):
    tree(
        tmp_path,
        {"user=__HIVE_DEFAULT_PARTITION__/x.csv": b"item,time\n5,1\n", "user=7/x.csv": b"item,time\n5,1\n6,2\n"},
    )
    with pytest.raises(UserError, match="user is empty"):
        read(tmp_path)
    assert rows(tmp_path, skip_bad_rows=True) == [("7", "5"), ("7", "6")]


def test_a_key_may_begin_as_names_of_files_that_are_none_do(tmp_path):
    tree(tmp_path, {"_day=2020-01-01/x.csv": ONE, "_day=2020-01-02/x.csv": TWO, "_temporary/x.csv": ONE})
    assert rows(tmp_path, columns={"time": "_day"}) == LOG
