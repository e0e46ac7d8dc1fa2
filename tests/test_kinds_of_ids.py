"""Small logs of the kinds that people have, each with its right outcome, through the command prepare."""

import random

import polars as pl
import pytest

from jaxrec import cli
from jaxrec.data import prepared


@pytest.fixture
def run(tmp_path, capsys):
    """`run(path, *flags)`: the exit status, what was said, and the prepared data, None where it was refused."""

    def prepare(path, *flags):
        capsys.readouterr()
        status = cli.main(["prepare", "--input", str(path), "--output", str(tmp_path / "out"), *flags])
        said = capsys.readouterr()
        assert "Traceback" not in said.err and (tmp_path / "out").exists() == (status == 0)
        return status, said.out + said.err, prepared.load(tmp_path / "out") if status == 0 else None

    return prepare


def test_shards_of_integers_and_of_floats(tmp_path, run):
    folder = tmp_path / "shards"
    folder.mkdir()
    (folder / "1.csv").write_text("user,item,time\n1,10,1600000000\n1,11,1600000001\n")
    rows = "1.0,10.0,1600000002\n1.0,11.0,1600000003\n2.0,10.0,1600000002\n"
    (folder / "2.csv").write_text(f"user,item,time\n{rows}")
    status, said, _ = run(folder)
    assert status == 2 and "2.csv: column item holds floats (10.0) beside 10 (in " in said
    _, _, data = run(folder, "--ids", "integer")
    assert (data.users.tolist(), data.catalogue.ids.tolist(), len(data.items)) == ([1, 2], [10, 11], 5)


def test_shards_as_they_stand(tmp_path, run):
    (tmp_path / "a.csv").write_text("user,item\n1,10\n1.0,10.0\n")
    _, _, data = run(tmp_path / "a.csv", "--ids", "text")
    assert (data.users.tolist(), data.catalogue.ids.tolist()) == (["1", "1.0"], ["10", "10.0"])


@pytest.mark.parametrize("cure", ["text", "integer"])
def test_ids_in_scientific_notation(tmp_path, run, cure):
    path = tmp_path / "pandas.csv"
    path.write_text("user,item,time\na,1.2345678901234568e+18,1600000000\na,2.2345678901234568e+18,1600000006\n")
    status, said, _ = run(path)
    assert status == 2 and "pandas.csv: column item holds ids in scientific notation" in said
    status, said, data = run(path, "--ids", cure)
    if cure == "text":
        assert data.catalogue.ids.tolist() == ["1.2345678901234568e+18", "2.2345678901234568e+18"]
    else:
        assert status == 2 and "line 2: " in said and "item is not exactly an integer" in said


def test_a_column_of_floats_with_gaps(tmp_path, run):
    frame = pl.DataFrame(
        {"user": [1.0, None, 2.0, 2.0], "item": [5, 6, 5, 6], "time": range(1_600_000_000, 1_600_000_004)}
    )
    frame.write_parquet(tmp_path / "a.parquet")
    status, said, _ = run(tmp_path / "a.parquet")
    assert status == 2 and "a.parquet, row 2: " in said and "user is empty" in said
    _, said, data = run(tmp_path / "a.parquet", "--on-bad-row", "skip")
    assert data.users.tolist() == [1, 2] and "user: floats, all of them whole numbers, read as integers" in said


def test_words_for_what_is_missing(tmp_path, run):
    path = tmp_path / "na.csv"
    path.write_text("user,item,time\n1,NA,1600000000\n1,nan,1600000001\nNULL,10,1600000003\n1,NULL,1600000001\n")
    status, said, _ = run(path)
    assert status == 2 and "line 2: '1,NA,1600000000': item is a missing value: --keep-na-ids" in said
    assert "(4 such rows in all)" in said
    status, said, _ = run(path, "--on-bad-row", "skip")
    assert status == 2 and "all 4 rows are bad" in said
    _, _, data = run(path, "--keep-na-ids")
    assert data.users.tolist() == ["1", "NULL"] and data.catalogue.ids.tolist() == ["10", "NA", "NULL", "nan"]


def test_dates_with_slashes(tmp_path, run):
    path = tmp_path / "slashdate.csv"
    path.write_text("user,item,time\na,x,2020/01/01 05:06:00\na,y,2020/01/02 15:06:07\n")
    _, said, data = run(path)
    assert "2020-01-01 05:06:00 to 2020-01-02 15:06:07 UTC" in said
    assert data.times.astype("datetime64[us]").astype(str).tolist() == [
        "2020-01-01T05:06:00.000000",
        "2020-01-02T15:06:07.000000",
    ]


def test_days_are_times_of_many_rows(tmp_path, run):
    chance = random.Random(9)
    rows = [
        (user, item, f"2020-01-{1 + at // 12:02}")
        for user in range(40)
        for at, item in enumerate(chance.sample(range(300), 24))
    ]
    lines = (",".join(map(str, row)) for row in sorted(rows, key=lambda row: (row[0], row[2], row[1])))
    (tmp_path / "ties.csv").write_text("\n".join(["user,item,date", *lines]))
    assert "92% of the rows have the time of the row before: their order is the file's" in run(tmp_path / "ties.csv")[1]
