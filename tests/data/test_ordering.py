"""Laws of data.ordering: shards are read in the order of their names, and splits in the order of their events."""

import random
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jaxrec.data.files.text import File
from jaxrec.data.ordering import NewestFirst, ordered
from jaxrec.data.reading import read
from jaxrec.system.errors import UserError

NAMES = {  # names in their right order -> the splits that are reported
    ("part-2.csv", "part-10.csv", "test.csv"): "",
    ("d=2/b.csv", "d=10/a.csv"): "",
    ("test-1.csv", "test-2.csv"): "",
    ("contest.csv", "latest.csv", "restrain.csv"): "",
    ("train.csv", "test.csv"): "train, test",
    ("extra.csv", "train.csv", "val.csv", "test.csv"): "train, validation, test",
    ("d.train.inter", "d.valid.inter", "d.test.inter"): "train, validation, test",
    ("validation.csv", "test.csv"): "validation, test",
    ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/test-0.parquet"): "train, test",
    ("train/b.csv", "dev/a.csv", "test/a.csv"): "train, validation, test",
    ("train_test/train.csv", "train_test/test.csv"): "train, test",
    ("Ratings_Train2.csv", "Ratings_Train10.csv", "Ratings_Test1.csv"): "train, test",
}


@pytest.mark.parametrize("names", NAMES, ids=" ".join)
@pytest.mark.parametrize("within", [False, True])
def test_splits_come_in_their_order_and_that_is_said(names, within):
    root = Path("test/in/train")  # names no split, as all files are in it
    files = [File(root / "a.zip", name) if within else File(root / name, root=root) for name in names]
    mixed, said = random.Random(0).sample(files, len(files)), []
    assert ordered(mixed, said.append) == files
    assert said == [f"files in the order of the splits in their names: {NAMES[names]}"] * bool(NAMES[names])


SAVED = {  # as `datasets` saves to disk, and as its hub stores them
    "ds/data-00000-of-00001.arrow": "abz",
    "dict/train/data-00000-of-00001.arrow": "ab",
    "dict/test/data-00000-of-00001.arrow": "z",
    "hub/data/train-00000-of-00001.parquet": "ab",
    "hub/data/test-00000-of-00001.parquet": "z",
    "hub/data/validation-00000-of-00001.parquet": "",
}


@pytest.mark.parametrize("path", ["ds", "dict", "dict/*", "hub", "hub/data/*.parquet"])
@pytest.mark.parametrize("format", [None, "table"])
def test_data_sets_of_hugging_face_are_read_without_what_lies_beside_them(tmp_path, path, format):
    for name, items in SAVED.items():
        (file := tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        frame = pl.DataFrame({"user": ["u"] * len(items), "item": list(items)}, schema_overrides={"item": pl.String})
        frame.write_parquet(file) if file.suffix == ".parquet" else frame.write_ipc_stream(file)
        for beside in ("state.json", "dataset_info.json"):
            file.with_name(beside).write_text('{"splits": ["train", "test"]}')
    (tmp_path / "dict" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    data = read(tmp_path / path, format)
    assert [str(data.catalogue.ids[item - 1]) for item in data.items] == ["a", "b", "z"]


DATED = {  # names in the order of their dates -> whether sorting by name gives another order
    ("12-31-2019/a.csv", "01-02-2020/a.csv"): True,
    ("31-12-2019.csv", "01-01-2020.csv"): True,
    ("31122019.csv", "01012020.csv"): True,
    ("log.31.12.2019.csv", "log.1.1.2020.csv"): True,
    ("jan/a.csv", "feb/a.csv", "dec/a.csv"): True,
    ("2019/dec.csv", "2020/jan.csv", "2020/feb.csv"): True,
    ("events_Dec2019.csv", "events_Jan2020.csv", "events_March2020.csv"): False,
    ("events_Jan2020.csv", "events_March2020.csv", "events_Dec2020.csv"): True,
    (
        "01-02-2020.csv",
        "01-03-2020.csv",
        "02-02-2020.csv",
    ): True,  # month first; with the day first, the order differs
    ("01-01-2020.csv", "01-13-2020.csv", "02-01-2020.csv"): False,
    ("01-01-2020.csv", "02-01-2020.csv"): False,
    ("12-2019.csv", "01-2020.csv"): True,
    ("log_11.2019.csv", "log_12.2019.csv", "log_1.2020.csv"): True,
    ("Q4-2019/a.csv", "Q1-2020/a.csv"): True,
    ("KW52_2019.csv", "KW1_2020.csv"): True,
    ("part-1_2019.csv", "part-2_2019.csv"): False,
    ("2019-12.csv", "2020-01.csv"): False,
    ("2019-12-31.csv", "2020-01-01.csv"): False,
    ("2020-01-09-2020-01-15.csv", "2020-02-01_2020-02-07.csv"): False,
    ("20191231.csv", "20200101.csv"): False,
    ("2020/01/b.csv", "2020/02/a.csv"): False,
    ("Monday.csv", "Tuesday.csv", "Wednesday.csv", "Thursday.csv", "Friday.csv"): True,
    ("week1/log_mon.csv", "week1/log_tues.csv", "week1/log_Thurs.csv", "week2/log_mon.csv"): True,
    ("mon/a.csv", "tue/a.csv"): False,
    ("sat.csv", "sun.csv"): True,  # Sunday first; with Monday first, the order is the same
    ("2020-01-04-Sat.csv", "2020-01-05-Sun.csv", "2020-01-06-Mon.csv"): False,
    ("week1 Wed.csv", "week2 Mon.csv"): False,
    ("monitor.csv", "sunny.csv", "fridge.csv"): False,
    ("fri.csv", "other.csv"): False,
    ("marble.csv", "mayor.csv", "aprils.csv"): False,
    ("jan.csv", "other.csv", "dec.csv"): False,  # one is no date
    ("train_dec.csv", "test_jan.csv"): False,
}


@pytest.mark.parametrize("names", DATED, ids=" ".join)
def test_without_times_dates_in_names_are_in_their_order_or_refused(tmp_path, names):
    texts = {name: f"user,item\nu,{at}\n" for at, name in enumerate(names)}
    for name, text in texts.items():
        (file := tmp_path / "log" / name).parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    if not DATED[names]:
        assert len(read(tmp_path / "log").items) == len(names)
        return
    with pytest.raises(UserError, match=r"no column is read as the time.* may not be that of their dates .*: rename"):
        read(tmp_path / "log")
    assert len(read(tmp_path / "log", columns={"time": "none"}).items) == len(names)
    for at, name in enumerate(names):
        (file := tmp_path / "cured" / f"date=2019-12-{at + 1:02}" / "a.csv").parent.mkdir(parents=True)
        file.write_text(texts[name])
        (tmp_path / "log" / name).write_text(f"user,item,time\nu,{at},{1_500_000_000 + at}\n")
    for log in ("cured", "log"):
        data = read(tmp_path / log)
        assert data.catalogue.ids[data.items - 1].tolist() == [*range(len(names))]


def test_the_nearest_folder_says_the_split():
    root = Path("logs")
    files = [File(root / name, root=root) for name in ("valid-2020/train/a.csv", "valid-2020/test/a.csv")]
    assert ordered(files[::-1], lambda line: None) == files


@pytest.mark.parametrize("by_user", [False, True])
@pytest.mark.parametrize("tied", [1, 3])
def test_a_log_whose_rows_are_newest_first_is_told_of_if_some_are_of_one_time(tmp_path, by_user, tied):
    oldest_first = [(user, item, 86_400 * (item // tied)) for item in range(12) for user in range(20)]
    oldest_first = sorted(oldest_first) if by_user else oldest_first
    orders = {
        "oldest first": oldest_first,
        "mixed": random.Random(0).sample(oldest_first, len(oldest_first)),
        "newest first": oldest_first[::-1],
    }
    for name, rows in orders.items():
        pl.DataFrame(rows, ["user", "item", "time"], orient="row").write_csv(tmp_path / "log.csv")
        said = []
        data = read(tmp_path / "log.csv", columns={"time": "time"}, say=said.append)
        told = [note for note in said if "newest first" in note]
        assert len(told) == (name == "newest first" and tied > 1)
        assert all("160 have the same time as their user's row before" in note for note in told)
        if tied == 1:
            assert data.items.tolist() == [*range(1, 13)] * 20


@pytest.mark.parametrize("seed", range(5))
def test_a_mixed_log_in_which_few_rows_follow_one_of_their_own_user_is_not_newest_first(tmp_path, seed):
    rows = [(user, item, 86_400 * (item // 2)) for item in range(6) for user in range(500)]
    rows = random.Random(seed).sample(rows, len(rows))
    pl.DataFrame(rows, ["user", "item", "time"], orient="row").write_csv(tmp_path / "log.csv")
    said = []
    read(tmp_path / "log.csv", columns={"time": "time"}, say=said.append)
    assert not [note for note in said if "newest first" in note]


def noted(rows):
    users, times = (np.array(each) for each in zip(*rows, strict=True))
    order, found = np.lexsort((times, users)), NewestFirst()
    found.add(users, times)
    found.add_sorted(np.unique(users, return_counts=True)[1], times[order])
    return found.notes("time")


def test_a_few_rows_after_one_of_their_own_user_say_nothing():
    for seed in range(50):
        rows = [(user, time // 2) for user in range(100) for time in range(4)]
        assert not noted(random.Random(seed).sample(rows, len(rows)))


def test_rows_of_two_users_are_not_of_one_time():
    """Where one user's newest row and the next user's oldest have the same time, that is no tie."""
    assert not noted([(user, user % 2 + time) for user in range(40) for time in (2, 1)])
    assert noted([(user, time) for user in range(40) for time in (2, 1, 1)])[0].count("40 have the same time")
