"""Small logs as people brought them, and the right outcome of each, through the commands as users type them."""

import json
import random
import re

import numpy as np
import polars as pl
import pytest

from jaxrec import cli
from jaxrec.data import prepared

NIGHT = 1_600_000_000


@pytest.fixture
def prepare(tmp_path, monkeypatch, capsys):
    """`prepare(input, *flags)` runs in a folder of its own: (status, what it printed, the interactions or None)."""
    monkeypatch.chdir(tmp_path)

    def run(path, *flags):
        capsys.readouterr()
        status = cli.main(["prepare", "--input", path, "--output", "out", *flags])
        said = capsys.readouterr()
        made = (tmp_path / "out").is_dir()
        assert made == (status == 0), "a refusal leaves nothing, and what is read is written"
        if status:
            assert status == 2 and said.err.startswith("jaxrec prepare: ") and "Traceback" not in said.err
        return status, said.err if status else said.out, prepared.load("out") if made else None

    return run


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def histories(data):
    """{user: items}, by external ids."""
    ids = np.append(np.zeros(1, data.catalogue.ids.dtype), data.catalogue.ids)
    parts = np.split(ids[data.items], data.offsets[1:-1])
    return {user: part.tolist() for user, part in zip(data.users.tolist(), parts, strict=True)}


def mixed_ids(folder):
    write(folder / "shards" / "1.csv", f"user,item,time\n1,10,{NIGHT}\n1,11,{NIGHT + 1}\n")
    rows = f"1.0,10.0,{NIGHT + 2}\n1.0,11.0,{NIGHT + 3}\n2.0,10.0,{NIGHT + 2}\n"
    write(folder / "shards" / "2.csv", f"user,item,time\n{rows}")


def test_ids_that_read_as_floats_beside_integers_are_refused(prepare, tmp_path):
    mixed_ids(tmp_path)
    status, said, _ = prepare("shards")
    assert status == 2 and "--ids integer" in said and "--ids text" in said and "1.0" in said


def test_such_ids_are_integers_where_that_is_asked(prepare, tmp_path):
    mixed_ids(tmp_path)
    status, said, data = prepare("shards", "--ids", "integer")
    assert status == 0, said
    assert histories(data) == {1: [10, 11, 10, 11], 2: [10]}


def test_such_ids_are_what_they_were_where_that_is_asked(prepare, tmp_path):
    mixed_ids(tmp_path)
    status, said, data = prepare("shards", "--ids", "text")
    assert status == 0, said
    assert histories(data) == {"1": ["10", "11"], "1.0": ["10.0", "11.0"], "2.0": ["10.0"]}


def test_ids_in_scientific_notation_are_refused(prepare, tmp_path):
    items = ["1.2345678901234568e+18", "1.2345678901234568e+18", "2.2345678901234568e+18"]
    rows = "".join(f"{user},{item},{NIGHT + at}\n" for at, (user, item) in enumerate(zip("aba", items, strict=True)))
    write(tmp_path / "pandas.csv", f"user,item,time\n{rows}")
    status, said, _ = prepare("pandas.csv")
    assert status == 2 and "digits" in said and "1.2345678901234568e+18" in said
    status, said, _ = prepare("pandas.csv", "--ids", "integer")
    assert status == 2 and "line 2: " in said, "rounded ids are not exact"
    status, said, data = prepare("pandas.csv", "--ids", "text")
    assert status == 0, said
    assert histories(data) == {"a": items[::2], "b": items[1:2]}


def test_floats_with_gaps_are_the_integers_that_they_were(prepare, tmp_path):
    times = range(NIGHT, NIGHT + 4)
    frame = pl.DataFrame({"user": [1.0, None, 2.0, 2.0], "item": [5, 6, 5, 6], "time": times})
    frame.write_parquet(tmp_path / "a.parquet")
    status, said, _ = prepare("a.parquet")
    assert status == 2 and "a.parquet, row 2: " in said and "user is empty" in said
    status, said, data = prepare("a.parquet", "--on-bad-row", "skip")
    assert status == 0 and "user: floats, all of them whole numbers, read as integers" in said
    assert histories(data) == {1: [5], 2: [5, 6]}


@pytest.mark.parametrize("named", ["daily/*/events.csv", "daily", "hive/*/*.parquet", "hive"])
def test_folders_of_days_are_shards(named, prepare, tmp_path):
    for day in (1, 2):
        rows = [("a", f"x{day}", NIGHT + day), ("b", "x1", NIGHT + 10 + day)]
        frame = pl.DataFrame(rows, ["user", "item", "time"], orient="row")
        for place in (tmp_path / "daily" / f"2020-01-0{day}", tmp_path / "hive" / f"day=2020-01-0{day}"):
            place.mkdir(parents=True)
        frame.write_csv(tmp_path / "daily" / f"2020-01-0{day}" / "events.csv")
        frame.write_parquet(tmp_path / "hive" / f"day=2020-01-0{day}" / "f83d8eef-0.parquet")
    status, said, data = prepare(named)
    assert status == 0, said
    assert histories(data) == {"a": ["x1", "x2"], "b": ["x1", "x1"]}
    if named.startswith("hive"):
        status, said, by_day = prepare(named, "--user", "day")
        assert status == 0, said
        assert histories(by_day) == {"2020-01-01": ["x1", "x1"], "2020-01-02": ["x2", "x1"]}


def test_an_inter_file_of_lists_is_histories(prepare, tmp_path):
    header = "session_id:token\titem_id_list:token_seq\titem_id:token\n"
    write(tmp_path / "seq.inter", f"{header}1\t1 2 3\t4\n2\t2 4\t1\n")
    status, said, data = prepare("seq.inter")
    assert status == 0, said
    assert histories(data) == {1: [1, 2, 3, 4], 2: [2, 4, 1]}


PLAIN_QUOTES = [("u1", '"Heroes'), ("u1", "a"), ("u2", "b"), ("u2", 'c"'), ("u3", "d")]


def test_fields_that_span_lines_are_said(prepare, tmp_path):
    rows = "".join(f"{user}\t{item}\t{NIGHT + at}\n" for at, (user, item) in enumerate(PLAIN_QUOTES))
    write(tmp_path / "swallow.tsv", f"user\titem\ttime\n{rows}")
    status, said, _ = prepare("swallow.tsv", "--on-bad-row", "skip")
    assert re.search(r"span|several lines", said) and "--quote none" in said
    status, said, data = prepare("swallow.tsv", "--quote", "none")
    assert status == 0, said
    assert histories(data) == {"u1": ['"Heroes', "a"], "u2": ["b", 'c"'], "u3": ["d"]}


def test_the_share_of_rows_at_the_time_of_the_row_before_is_said(prepare, tmp_path):
    chance = random.Random(9)
    rows = [
        (user, item, f"2020-01-{1 + at // 12:02}")
        for user in range(400)
        for at, item in enumerate(chance.sample(range(300), 24))
    ]
    rows = sorted(rows, key=lambda row: (row[0], row[2], row[1]))
    write(tmp_path / "ties.csv", "user,item,date\n" + "".join(f"{u},{i},{d}\n" for u, i, d in rows))
    status, said, _ = prepare("ties.csv")
    assert status == 0 and "92%" in said


def test_a_log_in_zstandard_is_read(prepare, tmp_path):
    text = f"user,item,time\na,x,{NIGHT}\na,y,{NIGHT + 1}\n".encode()
    raw = b"\x28\xb5\x2f\xfd\x20" + bytes([len(text)]) + (len(text) << 3 | 1).to_bytes(3, "little") + text
    (tmp_path / "c.csv.zst").write_bytes(raw)  # a frame of one uncompressed block
    status, said, data = prepare("c.csv.zst")
    assert status == 0, said
    assert histories(data) == {"a": ["x", "y"]}


def test_a_line_that_names_the_separator_is_no_row(prepare, tmp_path):
    write(tmp_path / "excel.csv", f"sep=;\nuser;item;time\na;b;{NIGHT}\na;c;{NIGHT + 1}\n")
    status, said, data = prepare("excel.csv")
    assert status == 0, said
    assert histories(data) == {"a": ["b", "c"]}


def test_words_for_a_missing_value_are_no_ids(prepare, tmp_path):
    rows = [("1", "NA", 0), ("1", "nan", 1), ("NULL", "10", 3), ("1", "NULL", 1)]
    write(tmp_path / "na.csv", "user,item,time\n" + "".join(f"{u},{i},{NIGHT + t}\n" for u, i, t in rows))
    status, said, _ = prepare("na.csv")
    assert status == 2 and "line 2" in said and "--keep-na-ids" in said and "4 such rows" in said
    status, said, _ = prepare("na.csv", "--on-bad-row", "skip")
    assert status == 2 and "all 4 rows" in said
    status, said, data = prepare("na.csv", "--keep-na-ids")
    assert status == 0, said
    assert histories(data) == {"1": ["NA", "nan", "NULL"], "NULL": ["10"]}


def test_dates_with_slashes_are_read(prepare, tmp_path):
    write(tmp_path / "slash.csv", "user,item,time\na,x,2020/01/01 05:06:00\na,y,2020/01/02 15:06:07\n")
    status, said, data = prepare("slash.csv")
    assert status == 0, said
    assert np.array(data.times, "datetime64[us]").astype(str).tolist() == [
        "2020-01-01T05:06:00.000000",
        "2020-01-02T15:06:07.000000",
    ]


CONFIG = """
from ml_collections import ConfigDict


def get_config():
    return ConfigDict(
        {
            "dataset": "refill.csv", "split": "last-item", "objective": "next-item", "seed": 0, "epochs": 8,
            "batch": 16, "length": 24, "row": 24, "positions": "from_start", "eval_every": 4, "patience": 0,
            "model": {"name": "sasrec", "dim": 32, "layers": 1, "heads": 1, "dropout": 0.1, "init": "normal"},
            "loss": {"name": "softmax", "negatives": 0}, "optim": {"name": "adam", "learning_rate": 3e-3},
        }
    )
"""


@pytest.mark.slow
def test_targets_that_repeat_are_ranked_with_nothing_left_out(tmp_path, monkeypatch, capsys):
    """Users pick uniformly among 8 items of their own: no model has HR@1 above 1/8."""
    chance = random.Random(5)
    rows = []
    for user in range(400):
        own = chance.sample(range(200), 8)
        rows += [f"{user},{chance.choice(own)},{NIGHT + user * 100 + at}\n" for at in range(25)]
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "refill.csv", "user,item,time\n" + "".join(rows))
    write(tmp_path / "sas.py", CONFIG)
    assert cli.main(["train", "--config", "sas.py", "--workdir", "w"]) == 0
    capsys.readouterr()
    assert cli.main(["evaluate", "--workdir", "w", "--json", "result.json"]) == 0
    said = capsys.readouterr().out
    assert said.index("full, seen kept") < said.rindex("full")
    assert re.search(r"of 400 targets repeat", " ".join(said.split()))
    result = json.loads((tmp_path / "result.json").read_text())
    kept = result["also"]["full, seen kept"]
    low, _ = kept["ci95"]["hr@1"]
    assert low <= 1 / 8
    assert result["metrics"]["hr@1"] > kept["metrics"]["hr@1"]
