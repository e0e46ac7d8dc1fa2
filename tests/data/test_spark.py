"""Laws of data.spark: Spark writes the same prepared folder as `prepare` does from the same table.

The rules that its workers follow are tested without Spark; the rest in local mode, where PySpark is installed.
"""

import gzip
import json
import re
import shutil
from datetime import timedelta

import numpy as np
import polars as pl
import prepared_folders
import pytest

from jaxrec.api import logs
from jaxrec.data.filters import Options
from jaxrec.data.spark import __main__ as command, rows as reading
from jaxrec.data.spark.rows import Dialect, Rules, Shard
from jaxrec.system.errors import UserError

START = 1_500_000_000
TOP = b"user_id,item_id,timestamp,event\n"


def lines(*texts, block=0, begin=10):
    """Lines of a file, as Spark passes them to its workers."""
    places = {"file": 0, "block": block, "row": range(begin, begin + len(texts))}
    schema = {"line": pl.Binary, "file": pl.Int32, "block": pl.Int64, "row": pl.Int64}
    return pl.DataFrame({"line": [text.encode() for text in texts], **places}, schema)


def rules(**changes):
    names = TOP.decode().strip().split(",")
    given = {
        "columns": {"user": "user_id", "item": "item_id", "time": "timestamp"},
        "chosen": {"user": 0, "item": 1, "time": 2},
        "names": names,
        "shards": [Shard("file:/f.csv", "f.csv", {})],
        "dialect": Dialect(",", '"', len(names), True, False, TOP),
        "written": "numbers",
    }
    return Rules(**given | changes)


def cleaned(parts, **changes):
    """The rows that the workers make of some batches."""
    clean = reading.cleaner(rules(**changes), lambda frame: frame)
    return pl.concat(list(clean(part.to_arrow() for part in parts)))


def test_rows_keep_their_places_whatever_the_batches():
    texts = [TOP.decode().strip(), "1,x,5,a", "", "2,y,6,b", '"3","z, z",7,c', "4,,8,d"]
    whole = cleaned([lines(*texts)])
    good = whole.filter(pl.col("state") == reading.GOOD)
    assert (
        good["item"].to_list() == ["x", "y", "z, z"] and good["row"].is_sorted() and good["time"].to_list() == [5, 6, 7]
    )
    bad = whole.filter(pl.col("state") == reading.BAD)
    assert bad.select("row", "why", "text").rows() == [(15, "item_id is empty", "'4,,8,d'")]
    parts = [lines(text, begin=10 + at) for at, text in enumerate(texts)]
    assert cleaned(parts).filter(pl.col("state") == reading.GOOD)["item"].equals(good["item"])
    assert cleaned([lines(*texts[1:], block=64)])["item"].to_list() == whole["item"].to_list()  # without the header


def test_a_file_with_another_header_and_a_quote_over_lines_end_it():
    (other,) = cleaned([lines("item_id,user_id,timestamp,event", "1,x,5,a")])["why"]
    assert "begins with 'item_id,user_id" in other and "the same header" in other
    (quote,) = cleaned([lines(TOP.decode().strip(), '1,"x', 'y",5,a')])["why"]
    assert "a quote that does not end in its line" in quote
    assert (
        cleaned([lines(TOP.decode().strip(), '1,"x,5,a')], dialect=rules().dialect._replace(quote=""))["item"][0]
        == '"x'
    )


def test_rows_left_out_are_counted_and_folders_are_columns():
    keyed = [Shard("file:/day=2/f.csv", "f.csv", {"day": "2"})]
    names = [*rules().names, "day"]
    changes = {"shards": keyed, "names": names, "only": ("event=a",), "columns": rules().columns | {"session": "day"}}
    found = cleaned(
        [lines(TOP.decode().strip(), "1,x,5,a", "2,y,6,b")], **changes, chosen=rules().chosen | {"session": 4}
    )
    counts = found.filter(pl.col("state") == reading.ONLY)["text"][0]
    assert json.loads(counts) == [[1, {"a": 1, "b": 1}]]
    assert found.filter(pl.col("state") == reading.GOOD).select("user", "session").rows() == [("1", "2")]


@pytest.mark.parametrize("days", [[1.0, None, float("nan")], [1, None, None]])
def test_types_are_codes_as_in_prepare(days):
    names, places = ["user_id", "item_id", "day"], {"file": [0] * 3, "block": [0] * 3, "row": [0, 1, 2]}
    part = pl.DataFrame({"c0": ["a"] * 3, "c1": ["x", "y", "z"], "c2": days} | places)
    roles = {"user": 0, "item": 1, "type": 2}
    changes = {
        "dialect": None,
        "names": names,
        "chosen": roles,
        "columns": {role: names[at] for role, at in roles.items()},
    }
    assert cleaned([part], **changes)["type"].to_list() == ["1", "", ""]
    kept = cleaned([part], **changes, only=("day=1",)).filter(pl.col("state") == reading.GOOD)
    assert kept["item"].to_list() == ["x"]
    (refused,) = cleaned([part.with_columns(c2=pl.lit(timedelta(1)))], **changes)["why"]
    assert "column day holds Duration" in refused


def test_ids_are_read_as_the_first_rows_of_all_say():
    part = lines(TOP.decode().strip(), "1.0,x,5,a", "b,y,6,a")
    integer = cleaned([part], ids="integer", integer={"user": True, "item": False})
    assert integer.filter(pl.col("state") == reading.GOOD).select("user", "item").rows() == [("1", "x")]
    assert "user_id is not exactly an integer" in integer["why"].to_list()[-1]
    assert cleaned([part], ids="integer", integer={"user": False, "item": False})["user"].to_list() == ["1.0", "b"]


def test_the_flags_are_those_of_prepare(capsys):
    assert command.run(["--input", "a", "--output", "b", "--conf", "x"]) == 2
    assert "jaxrec.data.spark: " in capsys.readouterr().err


@pytest.fixture(scope="module")
def spark():
    """A session with two threads that reads files in small parts."""
    pytest.importorskip("pyspark", reason="no pyspark: pip install 'jaxrec[spark]'")
    if not shutil.which("java"):
        pytest.skip("no Java for Spark")
    settings = {"master": "local[2]", "ui.enabled": "false", "ui.showConsoleProgress": "false"}
    settings |= {"sql.shuffle.partitions": "2"}
    settings |= {"sql.files.maxPartitionBytes": "8192", "sql.files.openCostInBytes": "64"}
    session = command._session([f"spark.{key}={value}" for key, value in settings.items()])
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


def shop(seed=0, rows=900, start=START):
    """A log with ties, repeats, sessions and duplicates, in the order that its file has."""
    random = np.random.default_rng(seed)
    users = random.integers(0, 30, rows)
    frame = pl.DataFrame(
        {
            "user_id": users,
            "item_id": [f"é{v}" if v % 3 else f"B{v}" for v in random.integers(0, 40, rows)],
            "timestamp": start + random.integers(0, 60, rows) * 600,
            "stars": random.integers(1, 6, rows).astype(np.float64),
            "event": random.choice(["view", " buy", "", "cart"], rows),
            "visit": users * 10 + random.integers(0, 2, rows),
        }
    )
    return pl.concat([frame, frame.sample(50, seed=seed)])


def write_csv(folder):
    """Writes shards in the order of the numbers in their names, the second compressed, beside a table of items."""
    folder.mkdir()
    frame = shop()
    for at, part in enumerate(frame.iter_slices(-(-len(frame) // 3))):
        text = part.write_csv().encode()
        (folder / (f"part {9 + at}.csv" + ".gz" * (at == 1))).write_bytes(gzip.compress(text) if at == 1 else text)
    pl.DataFrame({"item_id": ["B0", "é1"], "title": ["None", "Une"]}).write_csv(folder / "items.csv")
    (folder / "_SUCCESS").write_text("")
    return folder


def write_parquet(folder):
    """Writes a folder per day, with columns in folder names; the times are datetimes, the ids integers."""
    frame = shop(1).with_columns(
        pl.from_epoch("timestamp").cast(pl.Datetime("us")),
        item_id=pl.col("item_id").str.extract(r"(\d+)").cast(pl.Int32),
    )
    for day, part in zip(("2024-01-02", "2024-01-10"), frame.iter_slices(600), strict=True):
        (folder / f"day={day}" / "region=a%2Fb").mkdir(parents=True)
        part.write_parquet(folder / f"day={day}" / "region=a%2Fb" / "part [1].parquet", row_group_size=100)
    return folder


def write_tsv(path):
    """Writes times as days like 20140401, and one user id that is text among integers."""
    frame = shop(2).with_columns(
        timestamp=20_140_401 + pl.col("item_id").str.len_chars(), user_id=pl.col("user_id").cast(pl.String)
    )
    frame = frame.with_columns(pl.col("user_id").replace("3", " three "))
    frame.write_csv(path, separator="\t")
    return path


def write_types(path):
    """Writes what Parquet has beside text and integers: decimals, times with a time zone, categories, whole floats."""
    times = pl.from_epoch("timestamp").cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
    frame = shop(5).with_columns(times.dt.convert_time_zone("Europe/Paris"), pl.col("item_id").cast(pl.Categorical))
    frame.with_columns(pl.col("user_id").cast(pl.Decimal(10, 2)), visit=pl.col("visit").cast(pl.Float64)).write_parquet(
        path
    )
    return path


def write_fractions(path):
    """Writes times with fractions of a second, and integer ids as floats, as some programs write them."""
    own = pl.col("user_id").cast(pl.Float64).cast(pl.String)
    shop(6).with_columns(own, pl.col("timestamp") + 0.25).write_parquet(path)
    return path


WRITERS = {"log": write_csv, "days": write_parquet, "numbers.tsv": write_tsv}
WRITERS |= {"types.parquet": write_types, "fractions.parquet": write_fractions}
ROLES = {"weight": "stars", "type": "event", "session": "visit"}
CASES = {
    "csv": ("log", ROLES, {}, {}),
    "csv, without times": ("log", {"time": "none"}, {"only": ["event=view,cart"]}, {"collapse_repeats": True}),
    "csv, sessions for users": ("log", {"user": "none", "session": "visit"}, {}, {"k_core": 5}),
    "csv, filters": (
        "log",
        ROLES,
        {"only": ["stars!=5.0"]},
        {
            "drop_duplicates": True,
            "sample": 0.8,
            "collapse_repeats": True,
            "session_gap": 20,
            "max_length": 30,
            "k_core": 4,
        },
    ),
    "csv, of dates": (
        "log",
        ROLES,
        {},
        {"since": "2017-07-14T05:00:00", "until": "2017-07-14T10:00:00", "min_rating": 2},
    ),
    "parquet": ("days", {"session": "day"}, {}, {"collapse_repeats": True}),
    "parquet, filters": ("days", ROLES, {"only": ["region=a/b"]}, {"session_gap": 30, "min_length": 20}),
    "types": ("types.parquet", ROLES, {}, {}),
    "fractions": ("fractions.parquet", {"item": "visit"}, {"ids": "integer"}, {}),
    "tsv": ("numbers.tsv", {}, {}, {"max_length": 40}),
    "tsv, ids as text": ("numbers.tsv", {"item": "visit"}, {"ids": "text"}, {}),
}


def both(spark, path, tmp_path, columns, options=None, filters=None):
    """(the folder that `prepare` wrote, the one that Spark wrote, what each printed or why it refused)."""
    from jaxrec.data.spark.job import prepare

    options, found = options or {}, []
    one, other = tmp_path / "one", tmp_path / "other"
    plain = lambda say: logs.prepare(str(path), output=one, say=say, **columns, **options, **(filters or {}))
    skip = {"skip_bad_rows": options.get("on_bad_row") == "skip"}
    own = {name: value for name, value in options.items() if name != "on_bad_row"} | skip
    sparks = lambda say: prepare(
        spark, str(path), other, columns=columns, options=Options(**filters or {}), say=say, **own
    )
    for run in (plain, sparks):
        said = []
        try:
            run(said.append)
            found.append(said)
        except UserError as error:
            found.append(str(error))
    return one, other, found


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_spark_writes_what_prepare_writes(spark, tmp_path, case):
    name, columns, options, filters = CASES[case]
    path = WRITERS[name](tmp_path / name)
    one, other, said = both(spark, path, tmp_path, columns, options, filters)
    assert all(isinstance(each, list) for each in said), said
    prepared_folders.same(*map(prepared_folders.loaded, (one, other)))
    metas = [json.loads((folder / "meta.json").read_text()) for folder in (one, other)]
    for key in ("fingerprint", "facts", "steps", "options", "reading", "columns", "files"):
        assert metas[0][key] == metas[1][key], key
    assert (metas[0]["interactions"] > 100) and (filters == {} or len(metas[0]["steps"]) > 1)
    assert {path.name for path in tmp_path.iterdir()} == {name, "one", "other"}, "nothing is left behind"


TABLES = {
    "bad rows": "user,item,time\n1,a,5\n2,,6\n3,b,x\n,c,7\n4,d,8,9\n5,e,9\n",
    "no column": "a,b\n1,2\n",
    "floats": "user,item\n1.0,a\n1,b\n2,c\n",
    "scientific": "user,item\n1e+05,a\n2,b\n",
    "units": "user,item,time\n1,a,1500000000\n2,b,1500000000000\n",
    "one item": "user,item\n1,a\n2,a\n",
    "not UTF-8": b"user,item\n1,a\n2,\xe9\n",
    "all bad": "user,item\n,a\n,b\n",
    "a value that never occurs": "user,item,event\n1,a,view\n2,b,buy\n",
    "times without a name": "user,item,moment\n1,a,2014-04-01\n2,b,2014-04-02\n",
    "empty": "",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", TABLES)
def test_spark_refuses_what_prepare_refuses_in_its_words(spark, tmp_path, kind):
    path = tmp_path / "log.csv"
    text = TABLES[kind]
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    options = {"only": ["event=sold"]} if "never" in kind else {"on_bad_row": "skip"} if kind == "all bad" else {}
    _, _, (one, other) = both(spark, path, tmp_path, {}, options)
    assert isinstance(one, str) and re.sub(r", [^ ]*, line \d+\)", ")", one) == other  # Spark can't name that line


@pytest.mark.slow
def test_bad_rows_are_skipped_and_told(spark, tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(TABLES["bad rows"])
    one, other, (_, said) = both(spark, path, tmp_path, {}, {"on_bad_row": "skip"})
    prepared_folders.same(*map(prepared_folders.loaded, (one, other)))
    assert said[-5] == "4 bad rows skipped, the first:" and "line 3" in said[-4]


@pytest.mark.slow
def test_a_table_of_another_kind_is_read_as_it_lies(spark, tmp_path):
    """Spark loads formats like Delta by their packages, as it does ORC here; a DataFrame is taken as it is."""
    from jaxrec.data.spark.job import prepare

    frame = shop(3).unique(["user_id", "timestamp"], maintain_order=True)
    table = spark.createDataFrame(frame.to_arrow(compat_level=pl.CompatLevel.oldest()))
    table.write.format("orc").save(str(tmp_path / "lake"))
    log = logs.prepare(frame, output=tmp_path / "one", items="")
    for at, (data, format) in enumerate([(str(tmp_path / "lake"), "orc"), (table, None)]):
        prepare(spark, data, tmp_path / f"{at}", format=format)
        assert json.loads((tmp_path / f"{at}" / "meta.json").read_text())["fingerprint"] == log.fingerprint


@pytest.mark.slow
def test_lists_and_mixtures_are_refused(spark, tmp_path):
    (tmp_path / "a").mkdir()
    pl.DataFrame({"user": [1], "item": [[1, 2]]}).write_parquet(tmp_path / "a" / "x.parquet")
    from jaxrec.data.spark.job import prepare

    with pytest.raises(UserError, match="item: lists or records, which are not read here"):
        prepare(spark, str(tmp_path / "a"), tmp_path / "out")
    (tmp_path / "a" / "y.csv").write_text("user,item\n1,2\n")
    with pytest.raises(UserError, match="files of csv, parquet lie together"):
        prepare(spark, str(tmp_path / "a"), tmp_path / "out")
    with pytest.raises(UserError, match="no such file or folder"):
        prepare(spark, str(tmp_path / "nowhere"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_command(spark, tmp_path, capsys):
    path = write_csv(tmp_path / "log")
    flags = ["--weight", "stars", "--k-core", "5"]
    assert command.run(["--input", str(path), "--output", str(tmp_path / "out"), *flags]) == 0
    assert "train on it: --config.dataset=" in capsys.readouterr().out
    assert prepared_folders.loaded(tmp_path / "out").weights is not None
