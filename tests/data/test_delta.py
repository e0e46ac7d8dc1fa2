"""Laws of data.delta: a Delta table is prepared like a Parquet file of its live rows."""

import json
import shutil
import struct

import polars as pl
import prepared_folders
import pytest
from hypothesis import given, settings, strategies as st

from jaxrec import cli
from jaxrec.api import logs
from jaxrec.data import delta, sources
from jaxrec.system.errors import UserError

deltalake = pytest.importorskip("deltalake", reason="no deltalake: pip install 'jaxrec[delta]'")


def frame(first, rows):
    """Rows with distinct times, counted from `first`."""
    at = range(first, first + rows)
    told = {"user_id": [each % 3 for each in at], "item_id": [f"i{each * 7 % 5}" for each in at], "timestamp": at}
    return pl.DataFrame(told | {"country": [("DE", "F R", "it/ch")[each % 3] for each in at]})


CHANGES = st.sampled_from(["append", "overwrite", "overwrite part", "delete", "update", "optimize", "checkpoint"])


def change(path, kind, first, parts):
    """Changes a table; if rows are added, their times count from `first`."""
    table = deltalake.DeltaTable(path)
    if kind == "append":
        deltalake.write_deltalake(path, frame(first, 7), mode="append", partition_by=parts)
    elif kind == "overwrite":
        deltalake.write_deltalake(path, frame(first, 8), mode="overwrite", partition_by=parts)
    elif kind == "overwrite part":
        some = frame(first, 9).filter(pl.col("country") == "DE")
        deltalake.write_deltalake(path, some, mode="overwrite", predicate="country = 'DE'")
    elif kind == "delete":
        table.delete("timestamp % 4 = 1")
    elif kind == "update":
        table.update(updates={"item_id": "'i9'"}, predicate="timestamp % 5 = 2")
    elif kind == "optimize":
        table.optimize.compact()
    else:
        table.create_checkpoint()


def live(path):
    """The live rows, as deltalake itself reads them."""
    return pl.DataFrame(deltalake.DeltaTable(path).to_pyarrow_table())


@settings(max_examples=5)
@given(
    st.lists(CHANGES, min_size=1, max_size=5),
    st.sampled_from([None, ["country"]]),
    st.sampled_from(["user_id", "country"]),
)
def test_whatever_was_done_to_a_table_its_live_rows_are_prepared(tmp_path_factory, changes, parts, user):
    folder = tmp_path_factory.mktemp("lake")
    path = str(folder / "events")
    deltalake.write_deltalake(path, frame(0, 10), partition_by=parts)
    for number, kind in enumerate(changes, 1):
        change(path, kind, 100 * number, parts)
    live(path).write_parquet(folder / "live.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXREC_CACHE", str(folder / "cache"))
        found = logs.prepare(path, user=user, output=folder / "delta")
    wanted = logs.prepare(folder / "live.parquet", user=user, output=folder / "parquet")
    prepared_folders.same(found.interactions, wanted.interactions)
    assert found.fingerprint == wanted.fingerprint and found.interactions.name == path


def test_the_newest_version_is_read_and_tables_beside_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAXREC_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "events"
    deltalake.write_deltalake(str(path), frame(0, 10))
    (path / "items.csv").write_text("item_id,title\ni0,Zero\n")
    assert cli.main(["prepare", "--input", str(path), "--output", str(tmp_path / "out")]) == 0
    assert "a Delta table: the live rows of its version 0 are read" in capsys.readouterr().out
    first = sources.load(str(tmp_path / "out"))
    assert first.catalogue.about is not None and len(first.items) == 10
    deltalake.write_deltalake(str(path), frame(50, 4), mode="append")
    assert len(sources.load(str(path)).items) == 14
    shutil.rmtree(path)
    for first in (0, 50):  # another table with the same name and version
        deltalake.write_deltalake(str(path), frame(first, 3), mode="append")
    assert len(sources.load(str(path)).items) == 6
    assert len(list((tmp_path / "cache").rglob("*.parquet"))) == 1


def test_with_memory_the_same_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXREC_CACHE", str(tmp_path / "cache"))
    deltalake.write_deltalake(str(tmp_path / "events"), frame(0, 500), partition_by=["country"])
    whole, little = (
        logs.prepare(tmp_path / "events", output=tmp_path / name, memory=memory)
        for name, memory in (("whole", None), ("little", "1GiB"))
    )
    prepared_folders.same(whole.interactions, little.interactions)


def test_at_an_address_the_live_files_alone_are_fetched(store, tmp_path):
    path = tmp_path / "events"
    deltalake.write_deltalake(str(path), frame(0, 10), partition_by=["country"])
    deltalake.write_deltalake(str(path), frame(100, 10), mode="overwrite", partition_by=["country"])
    (path / "items.csv").write_text("item_id,title\ni0,Zero\n")
    store.put(str(path), "/bucket/events", recursive=True)
    here, there = logs.prepare(path), logs.prepare("memory://bucket/events")
    prepared_folders.same(here.interactions, there.interactions)
    assert there.interactions.name == "memory://bucket/events" and there.interactions.catalogue.about is not None
    fetched = [name.name for name in (tmp_path / "cache" / "stores").rglob("part-*.parquet")]
    assert sorted(fetched) == sorted(name.rsplit("/", 1)[-1] for name in delta.files(path)) and len(fetched) == 3
    deltalake.write_deltalake(str(path), frame(200, 10), mode="append", partition_by=["country"])
    store.put(str(path) + "/", "/bucket/events/", recursive=True)
    assert len(logs.prepare("memory://bucket/events").interactions.items) == 20


Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"


def deletion_vector(rows):
    """An inline deletion vector of a few rows, as the Delta protocol defines it: a 64-bit Roaring bitmap, in Z85."""
    bitmap = struct.pack("<IIHHI", 12346, 1, 0, len(rows) - 1, 16) + struct.pack(f"<{len(rows)}H", *rows)
    data = struct.pack("<IQI", 1681511377, 1, 0) + bitmap
    padded = data + bytes(-len(data) % 4)
    groups = [struct.unpack(">I", padded[at : at + 4])[0] for at in range(0, len(padded), 4)]
    text = "".join(Z85[group // 85**power % 85] for group in groups for power in range(4, -1, -1))
    return {
        "storageType": "i",
        "pathOrInlineDv": text,
        "sizeInBytes": len(data),
        "cardinality": len(rows),
    }


def of_features(path, features, **changes):
    """Adds a version to a table that only readers with these features can read, with changes to its only file."""
    log = path / "_delta_log"
    actions = [json.loads(line) for line in (log / f"{0:020}.json").read_text().splitlines()]
    (add,) = [each["add"] for each in actions if "add" in each]
    protocol = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features}
    removed = {"path": add["path"], "deletionTimestamp": 0, "dataChange": True}
    actions = [{"protocol": protocol}, {"remove": removed}, {"add": add | changes}]
    (log / f"{1:020}.json").write_text("".join(json.dumps(each) + "\n" for each in actions))


@pytest.mark.parametrize("parts", [None, ["country"]])
@pytest.mark.parametrize("name", ["events", "é b#?*"])
def test_rows_that_a_deletion_vector_removes_are_not_read(tmp_path, monkeypatch, name, parts):
    monkeypatch.setenv("JAXREC_CACHE", str(tmp_path / "cache"))
    path = tmp_path / name / "a log"
    path.parent.mkdir()
    rows = frame(0, 30).filter(pl.col("country") == "F R")  # all in one file
    deltalake.write_deltalake(str(path), rows, partition_by=parts)
    assert [(path / name).is_file() for name in delta.files(path)] == [True]
    prepared_folders.same(logs.prepare(path).interactions, logs.prepare(rows).interactions)
    of_features(path, ["deletionVectors"], deletionVector=deletion_vector([1, 4, 9]))
    kept = pl.concat([rows[:1], rows[2:4], rows[5:9]])
    prepared_folders.same(logs.prepare(path).interactions, logs.prepare(kept).interactions)


def test_what_fails_is_said_of_the_file_that_fails(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXREC_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "events"
    deltalake.write_deltalake(str(path), frame(0, 10))
    full = pl.exceptions.ComputeError("parquet: underlying IO error: No space left on device (os error 28)")
    with monkeypatch.context() as patch:
        patch.setattr(pl.LazyFrame, "sink_parquet", lambda *_: (_ for _ in ()).throw(full))
        with pytest.raises(UserError, match=r"rows.parquet: can't be written \(No space left on device\): make room"):
            logs.prepare(path)
    (path / delta.files(path)[0]).unlink()
    with pytest.raises(UserError, match=r"events: a Delta table that can't be read here \(No such file.*: prepare it"):
        logs.prepare(path)


def test_what_is_not_understood_is_refused_with_a_cure(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXREC_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "events"
    deltalake.write_deltalake(str(path), frame(0, 10))
    of_features(path, ["columnMapping"])
    with pytest.raises(UserError, match=r"can't be read here.*prepare it with python -m jaxrec\.data\.spark"):
        logs.prepare(path)
    (tmp_path / "empty" / "_delta_log").mkdir(parents=True)
    with pytest.raises(UserError, match="can't be read here"):
        logs.prepare(tmp_path / "empty")
    monkeypatch.setitem(__import__("sys").modules, "deltalake", None)
    with pytest.raises(UserError, match=r"reading it needs deltalake: pip install 'jaxrec\[delta\]'"):
        logs.prepare(path)
